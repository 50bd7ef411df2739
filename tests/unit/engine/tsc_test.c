/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's time stamp counter with a frequency that is not the host's: rate, offset, wrap, what guest code reads, kvmclock. */
#include "check.h"

#include <errno.h>
#include <signal.h>

#include "base/bits.h"
#include "base/clock.h"
#include "engine/dbt/mirror.h"
#include "engine/dbt/vcpu.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"

enum { CODE = 0x1000, DATA = 0x2000, STACK = 0x4000, CLOCK_PAGE = 0x5000, TABLES = 0x8000, RAM = 0x10000, CPUS = 2 };
#define USER 0x400000u /* where RAM is in user space */

static struct guest {
    const struct engine_type *type;
    struct memory *memory;
    struct engine_vm *vm;
    struct engine_vcpu *vcpu[CPUS];
    struct engine_tsc host;
} guest;

static uint64_t on_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    return 0;
}

static void on_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    guest.type->vcpu_kick(guest.vcpu[0]);
}

static int on_acknowledge(void *ctx, unsigned cpu)
{
    return -1;
}

static void make_guest(const char *options, unsigned percent)
{
    static struct cpuid_table supported, cpuid;
    struct engine_config config = {
        .cpus = CPUS, .options = options,
        .hooks = {.port_read = on_read, .port_write = on_write, .interrupt_acknowledge = on_acknowledge}};

    memset(&guest, 0, sizeof(guest));
    assert_int_equal(engine_choose("dbt", &guest.type, NULL, 0, NULL), 0);
    assert_int_equal(guest.type->host_tsc(&guest.host, NULL), 0);
    assert_true(guest.host.scales);
    config.tsc_khz = guest.host.khz / 100 * percent;
    assert_int_equal(guest.type->supported_cpuid(&supported, NULL), 0);
    assert_int_equal(memory_new(&guest.memory, NULL), 0);
    assert_int_equal(memory_add(guest.memory, 0, RAM, false, NULL), 0);
    assert_int_equal(cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = CPUS,
                                                         .tsc_khz = config.tsc_khz}, &cpuid, NULL), 0);
    config.memory = guest.memory;
    assert_int_equal(guest.type->vm_new(&config, &guest.vm, NULL), 0);
    assert_int_equal(guest.type->tsc_khz(guest.vm), config.tsc_khz);
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(guest.type->vcpu_new(guest.vm, i, &cpuid, &guest.vcpu[i], NULL), 0);
}

static void free_guest(void)
{
    for (unsigned i = 0; i < CPUS; i++)
        guest.type->vcpu_free(guest.vcpu[i]);
    guest.type->vm_free(guest.vm);
    memory_free(guest.memory);
}

/* 32-bit code without paging. */
static void set_state(uint64_t clock_page)
{
    static struct x86_state state;

    assert_int_equal(guest.type->vcpu_get_state(guest.vcpu[0], &state, NULL), 0);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = i == X86_CS ? 8 : 16, .s = 1, .present = 1,
                                                .type = i == X86_CS ? 0xb : 3, .db = 1, .g = 1};
    state.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
    state.rip = CODE;
    state.gpr[X86_RSP] = STACK;
    state.msr.kvm_system_time = clock_page;
    assert_int_equal(guest.type->vcpu_set_state(guest.vcpu[0], &state, NULL), 0);
}

static uint64_t at(uint64_t address)
{
    uint8_t bytes[8];

    assert_int_equal(memory_read(guest.memory, address, bytes, sizeof(bytes)), 0);
    return load_le64(bytes);
}

/* Code that has rdtsc and nop from its sixth byte on; rdtscp stands in their place if asked for. */
static void put_code(const uint8_t *code, size_t size, bool rdtscp)
{
    assert_int_equal(memory_write(guest.memory, CODE, code, size), 0);
    if (rdtscp)
        assert_int_equal(memory_write(guest.memory, CODE + 5, (const uint8_t[]){0x0f, 0x01, 0xf9}, 3), 0);
}

/* What RDTSC or RDTSCP gives the guest, the last of a thousand times. */
static uint64_t read_in_guest(bool rdtscp)
{
    static const uint8_t plain[] = {0xbb, 0xe8, 3, 0, 0, 0x0f, 0x31, 0x90, 0xa3, 0, 0x20, 0, 0, 0x89, 0x15, 4, 0x20, 0, 0,
                                    0x4b, 0x75, 0xef, 0xe6, 0x80};
    struct exit stop;

    put_code(plain, sizeof(plain), rdtscp);
    set_state(0);
    guest.type->vcpu_run(guest.vcpu[0], &stop);
    assert_int_equal(stop.kind, EXIT_KICKED);
    return at(DATA);
}

/* Four levels of tables with one entry each, and RAM's pages in the last: for user code. */
static void write_tables(void)
{
    static const uint64_t entries[][2] = {
        {TABLES, TABLES + 0x1000}, {TABLES + 0x1000, TABLES + 0x2000}, {TABLES + 0x2000 + USER / 0x200000 * 8, TABLES + 0x3000}};
    uint8_t bytes[8];

    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        store_le64(bytes, entries[i][1] | 7);
        assert_int_equal(memory_write(guest.memory, entries[i][0], bytes, sizeof(bytes)), 0);
    }
    for (unsigned i = 0; i < RAM / 4096; i++) {
        store_le64(bytes, i * 4096 | 7);
        assert_int_equal(memory_write(guest.memory, TABLES + 0x3000 + 8 * i, bytes, sizeof(bytes)), 0);
    }
}

static void set_user_state(void)
{
    static struct x86_state state;

    assert_int_equal(guest.type->vcpu_get_state(guest.vcpu[0], &state, NULL), 0);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = i == X86_CS ? 0x1b : 0x23, .s = 1, .present = 1, .dpl = 3,
                                                .type = i == X86_CS ? 0xb : 3, .l = i == X86_CS, .db = i != X86_CS, .g = 1};
    state.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
    state.cr3 = TABLES;
    state.cr4 = X86_CR4_PAE;
    state.msr.efer = X86_EFER_LME | X86_EFER_LMA;
    state.rflags = 2 | X86_IOPL; /* for the OUT that ends it */
    state.rip = USER + CODE;
    state.gpr[X86_RSP] = (uint64_t)MIRROR_LIBRARIES << MIRROR_WINDOW_SHIFT | STACK; /* as high as a stack is; nothing uses it */
    assert_int_equal(guest.type->vcpu_set_state(guest.vcpu[0], &state, NULL), 0);
}

/* The same in 64-bit user code, which looks itself whether it goes back; then 0. */
static uint64_t read_in_user_space(bool rdtscp)
{
    static const uint8_t plain[] = {
        0xbb, 0xe8, 0x03, 0x00, 0x00,                                     /*        mov ebx, 1000 */
        0x0f, 0x31, 0x90, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0,       /* again: rdtsc; nop; shl rdx, 32; or rax, rdx */
        0x48, 0x3b, 0x04, 0x25, 0x00, 0x20, 0x40, 0x00, 0x72, 0x0e,       /*        cmp rax, [USER + DATA]; jb back */
        0x48, 0x89, 0x04, 0x25, 0x00, 0x20, 0x40, 0x00,                   /*        mov [USER + DATA], rax */
        0xff, 0xcb, 0x75, 0xe0, 0xe6, 0x80,                               /*        dec ebx; jnz again; out 0x80, al */
        0x31, 0xc0, 0x48, 0x89, 0x04, 0x25, 0x00, 0x20, 0x40, 0x00, 0xe6, 0x80, /* back: the same with 0 */
    };
    struct exit stop;

    put_code(plain, sizeof(plain), rdtscp);
    write_tables();
    set_user_state();
    guest.type->vcpu_run(guest.vcpu[0], &stop);
    if (stop.kind != EXIT_KICKED)
        fail_msg("%u: %s", stop.kind, stop.message);
    return at(DATA);
}

/* Each way in which an engine comes to a value, at frequencies below and above the host's. */
static const char *const options[] = {"tier=interp", NULL, "flags=exact", "checks=on", "lockstep=on", "mirror=always"};

static struct sigaction on_segv; /* the mirror's, in whose place cmocka puts its own before each test */

static void test_user_code(void **state)
{
    static const unsigned percents[] = {70, 100, 137, 400};

    sigaction(SIGSEGV, &on_segv, NULL);
    for (unsigned o = 0; o < ARRAY_SIZE(options); o++)
        for (unsigned p = 0; p < ARRAY_SIZE(percents); p++) {
            const struct dbt_vcpu *v;

            make_guest(options[o], percents[p]);
            v = (struct dbt_vcpu *)guest.vcpu[0];
            for (unsigned k = 0; k < 4; k++) {
                uint64_t before = guest.type->vcpu_tsc(guest.vcpu[0]), seen = read_in_user_space(k & 1);

                assert_true(seen > before);
                assert_true(guest.type->vcpu_tsc(guest.vcpu[0]) > seen);
            }
            if (options[o] != NULL && strcmp(options[o], "mirror=always") == 0)
                assert_true(v->statistics[STATISTIC_MIRRORS] > 0 && v->statistics[STATISTIC_MIRROR_PAGES] > 0);
            free_guest();
        }
}

static void test_guest_code(void **state)
{
    static const unsigned percents[] = {70, 100, 137, 400};

    for (unsigned o = 0; o < ARRAY_SIZE(options); o++)
        for (unsigned p = 0; p < ARRAY_SIZE(percents); p++) {
            make_guest(options[o], percents[p]);
            for (unsigned k = 0; k < 4; k++) {
                uint64_t before = guest.type->vcpu_tsc(guest.vcpu[0]), seen = read_in_guest(k & 1);

                assert_true(seen > before);
                assert_true(guest.type->vcpu_tsc(guest.vcpu[0]) > seen);
            }
            free_guest();
        }
}

/* Code that was translated at one frequency runs at another. */
static void test_change(void **state)
{
    uint32_t registers[4];
    uint64_t before, seen;
    uint64_t values[CPUS];

    make_guest(NULL, 70);
    read_in_guest(false);
    assert_int_equal(guest.type->tsc_set_khz(guest.vm, guest.host.khz / 100 * 300, NULL), 0);
    assert_int_equal(guest.type->tsc_khz(guest.vm), guest.host.khz / 100 * 300);
    cpuid_query(&((struct dbt_vcpu *)guest.vcpu[1])->cpuid, 0x40000010, 0, registers);
    assert_int_equal(registers[0], guest.host.khz / 100 * 300);
    memset(values, 0, sizeof(values));
    guest.type->tsc_set(guest.vm, values);
    before = guest.type->vcpu_tsc(guest.vcpu[0]);
    seen = read_in_guest(false);
    assert_true(seen > before && guest.type->vcpu_tsc(guest.vcpu[0]) > seen);
    free_guest();
}

/* Host time and the counter at one moment. */
static void read_both(int64_t *ret_ns, uint64_t *ret_tsc)
{
    int64_t took;

    do {
        int64_t start = host_monotonic_ns();

        *ret_tsc = guest.type->vcpu_tsc(guest.vcpu[0]);
        *ret_ns = host_monotonic_ns();
        took = *ret_ns - start;
    } while (took > 20000);
}

static void test_rate(void **state)
{
    static const unsigned percents[] = {10, 70, 137};

    for (unsigned p = 0; p < ARRAY_SIZE(percents); p++) {
        int64_t start_ns, end_ns;
        uint64_t start, end;
        double khz;

        make_guest(NULL, percents[p]);
        read_both(&start_ns, &start);
        do
            read_both(&end_ns, &end);
        while (end_ns - start_ns < 50000000);
        khz = (double)(end - start) * 1e6 / (double)(end_ns - start_ns);
        assert_true(khz > guest.host.khz / 100.0 * percents[p] * 0.995 && khz < guest.host.khz / 100.0 * percents[p] * 1.005);
        free_guest();
    }
}

static void test_all_at_once(void **state)
{
    const uint64_t wrapping[CPUS] = {UINT64_MAX - 1000, UINT64_MAX - 600};
    uint64_t values[CPUS], later[CPUS];

    make_guest(NULL, 70);
    guest.type->tsc_set(guest.vm, wrapping);
    guest.type->tsc_get(guest.vm, values);
    assert_int_equal(values[1] - values[0], 400); /* they stand to each other as they did */
    while (guest.type->tsc_get(guest.vm, later), later[0] - wrapping[0] < 2000)
        ;
    assert_true(later[0] < UINT64_MAX / 2 && later[0] - wrapping[0] > values[0] - wrapping[0]); /* over the end, and on */
    assert_int_equal(later[1] - later[0], 400);
    free_guest();
}

/* Two months, against the exact quotient; and never back from one host tick to the next. */
static void test_exactness(void **state)
{
    struct dbt_vm vm = {.tsc_khz = 1817295, .host_khz = 2596136};
    uint64_t months = UINT64_C(2596136) * 1000 * 86400 * 60, last = 0;

    vm.tsc_multiplier = (uint64_t)(((unsigned __int128)vm.tsc_khz << TSC_FRACTION_BITS) / vm.host_khz);
    for (uint64_t host = months; host < months + 1000; host++) {
        uint64_t exact = (uint64_t)((unsigned __int128)host * vm.tsc_khz / vm.host_khz), scaled = dbt_tsc_scale(&vm, host);

        assert_true(scaled <= exact && exact - scaled < 100); /* 55 ns */
        assert_true(scaled >= last);
        last = scaled;
    }
}

/* The time that a guest computes from its page, as pvclock says. */
static uint64_t time_of_page(uint64_t tsc)
{
    uint64_t delta = tsc - at(CLOCK_PAGE + 8), mul = at(CLOCK_PAGE + 24) & UINT32_MAX;
    int8_t shift = (int8_t)(at(CLOCK_PAGE + 24) >> 32);

    delta = shift < 0 ? delta >> -shift : delta << shift;
    return at(CLOCK_PAGE + 16) + (uint64_t)((unsigned __int128)delta * mul >> 32);
}

static void test_kvmclock(void **state)
{
    static const unsigned percents[] = {70, 100, 250};

    for (unsigned p = 0; p < ARRAY_SIZE(percents); p++) {
        uint64_t before = 0, after = 0, told = 0;
        int64_t start;

        make_guest(NULL, percents[p]);
        assert_int_equal(guest.type->clock_set(guest.vm, UINT64_C(5000000000)), 0);
        set_state(CLOCK_PAGE | 1);
        start = host_monotonic_ns();
        for (unsigned i = 0; host_monotonic_ns() - start < 20000000 || i < 1000; i++) {
            uint64_t last = told;

            guest.type->clock_get(guest.vm, &before);
            told = time_of_page(guest.type->vcpu_tsc(guest.vcpu[0]));
            guest.type->clock_get(guest.vm, &after);
            assert_true(told >= last);
            assert_true(told <= after);       /* so that a clock that is held and goes on never jumps back */
            assert_true(told + 2000 >= before); /* 100 ppm of 20 ms */
        }
        free_guest();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_code), cmocka_unit_test(test_user_code), cmocka_unit_test(test_change), cmocka_unit_test(test_rate),
        cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_exactness), cmocka_unit_test(test_kvmclock),
    };

    dbt_mirror_prepare();
    sigaction(SIGSEGV, NULL, &on_segv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
