/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two vCPUs that come to new code at the same moment, on one processor of the host: neither may hold the other up for ever. */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"
#include "x86/xsave.h"

enum { CPUS = 2, PAGES = 500, COUNTER = 0x1000, CODE = 0x2000, CROSSING = 0xffd, RAM = CODE + (PAGES + 1) * 4096, STOP_PORT = 0x80 };
enum { PATIENCE_S = 100 }; /* of a hang; it takes less than a second */

static const struct engine_type *type;
static struct memory *memory;
static struct engine_vm *vm;
static struct engine_vcpu *vcpu[CPUS];

static uint64_t on_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    return 0;
}

static void on_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    type->vcpu_kick(vcpu[cpu]);
}

static int on_acknowledge(void *ctx, unsigned cpu)
{
    return -1;
}

/* Each page has the end of the instruction that crosses into it, a place where the vCPUs wait for one another, and a jump to the next
 * such instruction: both find it new, and both pages of it are to be watched. */
static void write_page(unsigned number)
{
    uint8_t code[] = {
        0, 0,                                              /*        of mov eax, 0 */
        0xf0, 0xff, 0x05, 0x00, COUNTER >> 8, 0, 0,        /*        lock inc dword [COUNTER] */
        0xf3, 0x90,                                        /* again: pause */
        0x81, 0x3d, 0x00, COUNTER >> 8, 0, 0, 0, 0, 0, 0,  /*        cmp dword [COUNTER], all of them */
        0x72, 0xf2,                                        /*        jb again */
        0xe9, 0, 0, 0, 0,                                  /*        jmp CROSSING */
    };
    const uint8_t crossing[] = {0xb8, 0, 0}, stop[] = {0xe6, STOP_PORT}; /* out STOP_PORT, al */
    uint64_t page = CODE + number * UINT64_C(4096);

    store_le32(code + 17, CPUS * (number + 1));
    store_le32(code + 24, CROSSING - sizeof(code));
    assert_int_equal(memory_write(memory, page, code, sizeof(code)), 0);
    if (number < PAGES)
        assert_int_equal(memory_write(memory, page + CROSSING, crossing, sizeof(crossing)), 0);
    else
        assert_int_equal(memory_write(memory, page + 2, stop, sizeof(stop)), 0);
}

static void make(const char *options)
{
    static struct cpuid_table supported, cpuid;
    static struct x86_state state;
    struct engine_config config = {.cpus = CPUS, .options = options,
                                   .hooks = {.port_read = on_read, .port_write = on_write, .interrupt_acknowledge = on_acknowledge}};

    assert_int_equal(engine_choose("dbt", &type, NULL, 0, NULL), 0);
    assert_int_equal(type->supported_cpuid(&supported, NULL), 0);
    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(memory_add(memory, 0, RAM, false, NULL), 0);
    for (unsigned i = 0; i <= PAGES; i++)
        write_page(i);
    assert_int_equal(cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = CPUS, .tsc_khz = 1000000},
                                 &cpuid, NULL), 0);
    config.memory = memory;
    assert_int_equal(type->vm_new(&config, &vm, NULL), 0);
    x86_state_reset(&state, true);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = i == X86_CS ? 8 : 16, .s = 1, .present = 1,
                                                .type = i == X86_CS ? 0xb : 3, .db = 1, .g = 1};
    state.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
    store_le64(state.xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_X87 | X86_XSTATE_SSE);
    state.rip = CODE;
    for (unsigned i = 0; i < CPUS; i++) {
        assert_int_equal(type->vcpu_new(vm, i, &cpuid, &vcpu[i], NULL), 0);
        assert_int_equal(type->vcpu_set_state(vcpu[i], &state, NULL), 0);
    }
}

static void *run(void *ctx)
{
    static struct exit stop[CPUS];
    struct engine_vcpu **own = ctx;

    type->vcpu_run(*own, &stop[own - vcpu]);
    return &stop[own - vcpu];
}

static uint32_t pages_reached(void)
{
    return load_le32(memory_pointer(memory, COUNTER, 4)) / CPUS;
}

static void run_together(const char *options)
{
    pthread_t thread[CPUS];
    struct timespec deadline;
    void *stop;

    make(options);
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run, &vcpu[i]), 0);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += PATIENCE_S;
    for (unsigned i = 0; i < CPUS; i++) {
        if (pthread_clockjoin_np(thread[i], &stop, CLOCK_MONOTONIC, &deadline) == ETIMEDOUT)
            fail_msg("vCPU %u has not come through page %u of %u", i, pages_reached(), PAGES);
        assert_int_equal(((struct exit *)stop)->kind, EXIT_KICKED);
    }
    assert_int_equal(pages_reached(), PAGES);
    for (unsigned i = 0; i < CPUS; i++)
        type->vcpu_free(vcpu[i]);
    type->vm_free(vm);
    memory_free(memory);
}

static void test_translated(void **state)
{
    run_together(NULL);
}

static void test_interpreted(void **state)
{
    run_together("tier=interp");
}

/* The threads take over where this one may run. */
static int share_a_processor(void **state)
{
    cpu_set_t here;

    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    return sched_setaffinity(0, sizeof(here), &here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_translated), cmocka_unit_test(test_interpreted)};

    return cmocka_run_group_tests(tests, share_a_processor, NULL);
}
