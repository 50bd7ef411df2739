/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock-step mode: it finds translations that were spoilt here, and nothing in those that were not. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "engine/dbt/lockstep_state.h"
#include "engine/dbt/tlb.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"
#include "x86/xsave.h"

enum { CODE = 0x1000, DATA = 0x2000, STACK = 0x4000, RAM = 0x10000, STOP_PORT = 0x80 };

static struct guest {
    const struct engine_type *type;
    struct memory *memory;
    struct engine_vm *vm;
    struct engine_vcpu *vcpu;
    char report[LOCKSTEP_REPORT_SIZE];
    unsigned stops;
} guest;

static uint64_t on_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    return 0;
}

static void on_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    guest.stops++;
    guest.type->vcpu_kick(guest.vcpu);
}

static int on_acknowledge(void *ctx, unsigned cpu)
{
    return -1;
}

static void on_notice(void *ctx, const char *sentence)
{
    size_t used = strlen(guest.report);

    snprintf(guest.report + used, sizeof(guest.report) - used, "%s\n", sentence);
}

static void make_guest(const char *options)
{
    static struct cpuid_table supported, cpuid;
    struct engine_config config = {.cpus = 1, .options = options,
                                   .hooks = {.port_read = on_read, .port_write = on_write,
                                             .interrupt_acknowledge = on_acknowledge, .notice = on_notice}};

    memset(&guest, 0, sizeof(guest));
    assert_int_equal(engine_choose("dbt", &guest.type, NULL, 0, NULL), 0);
    assert_int_equal(guest.type->supported_cpuid(&supported, NULL), 0);
    assert_int_equal(memory_new(&guest.memory, NULL), 0);
    assert_int_equal(memory_add(guest.memory, 0, RAM, false, NULL), 0);
    assert_int_equal(cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = 1, .tsc_khz = 1000000},
                                 &cpuid, NULL), 0);
    config.memory = guest.memory;
    assert_int_equal(guest.type->vm_new(&config, &guest.vm, NULL), 0);
    assert_int_equal(guest.type->vcpu_new(guest.vm, 0, &cpuid, &guest.vcpu, NULL), 0);
}

static void free_guest(void)
{
    guest.type->vcpu_free(guest.vcpu);
    guest.type->vm_free(guest.vm);
    memory_free(guest.memory);
}

/* 32-bit code without paging. */
static void set_state(void)
{
    static struct x86_state state;

    x86_state_reset(&state, true);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = i == X86_CS ? 8 : 16, .s = 1, .present = 1,
                                                .type = i == X86_CS ? 0xb : 3, .db = 1, .g = 1};
    state.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
    store_le16(state.xsave + X86_XSAVE_FCW, 0x37f); /* masked, as the mode of the translation to spoil has it */
    store_le32(state.xsave + X86_XSAVE_MXCSR, 0x1f80);
    store_le64(state.xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_X87 | X86_XSTATE_SSE);
    state.rip = CODE;
    state.gpr[X86_RSP] = STACK;
    assert_int_equal(guest.type->vcpu_set_state(guest.vcpu, &state, NULL), 0);
}

static void write_code(const uint8_t *code, size_t size)
{
    assert_int_equal(memory_write(guest.memory, CODE, code, size), 0);
    set_state();
}

static struct exit run(void)
{
    struct exit stop;

    guest.type->vcpu_run(guest.vcpu, &stop);
    return stop;
}

/* Replaces a byte in the host code of the translation at CODE, which must be there once. */
static void spoil(uint8_t byte, uint8_t by)
{
    struct dbt_vcpu *v = (struct dbt_vcpu *)guest.vcpu;
    struct translation *t = dbt_translations_find(v);
    unsigned found = 0;

    for (uint8_t *at = t->direct; at < t->lockstep->host_end; at++)
        if (*at == byte) {
            *at = by;
            found++;
        }
    assert_int_equal(found, 1);
}

static uint32_t word(uint64_t address)
{
    uint8_t bytes[4];

    assert_int_equal(memory_read(guest.memory, address, bytes, sizeof(bytes)), 0);
    return load_le32(bytes);
}

static const uint8_t loop_code[] = {
    0xb9, 100, 0, 0, 0,                     /*       mov ecx, 100 */
    0x31, 0xc0,                             /*       xor eax, eax */
    0x01, 0xc8,                             /* again: add eax, ecx */
    0x50,                                   /*       push eax */
    0x8f, 0x05, 0x00, 0x20, 0x00, 0x00,     /*       pop dword [DATA] */
    0x49,                                   /*       dec ecx */
    0x75, 0xf4,                             /*       jnz again */
    0xe6, STOP_PORT,                        /*       out STOP_PORT, al */
    0xeb, 0xfe,                             /*       jmp . */
};

static void test_good_code(void **state)
{
    static const char *const options[] = {"lockstep=on", "lockstep=3", "lockstep=on,flags=exact"};

    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        make_guest(options[i]);
        write_code(loop_code, sizeof(loop_code));
        assert_int_equal(run().kind, EXIT_KICKED);
        assert_int_equal(guest.stops, 1);
        assert_int_equal(word(DATA), 5050);
        assert_string_equal(guest.report, "");
        free_guest();
    }
}

static void test_wrong_register(void **state)
{
    static const uint8_t code[] = {0x83, 0xc0, 0x5a, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* add eax, 0x5a */
    struct exit stop;

    make_guest("lockstep=on");
    write_code(code, sizeof(code));
    spoil(0x5a, 0x5b);
    stop = run();
    assert_int_equal(stop.kind, EXIT_ERROR);
    assert_non_null(strstr(stop.message, "the code at 1000 "));
    assert_non_null(strstr(guest.report, "add eax, 0x5A"));
    assert_non_null(strstr(guest.report, "rax:  before 0000000000000000  interpreter 000000000000005a  translation 000000000000005b"));
    assert_int_equal(guest.stops, 0);
    assert_int_equal(run().kind, EXIT_ERROR); /* it stays so */
    free_guest();
}

static void test_wrong_store(void **state)
{
    static const uint8_t code[] = {0xc6, 0x05, 0x00, 0x20, 0x00, 0x00, 0x5a, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* mov byte [DATA], 0x5a */

    make_guest("lockstep=on");
    write_code(code, sizeof(code));
    spoil(0x5a, 0x5b);
    assert_int_equal(run().kind, EXIT_ERROR);
    assert_non_null(strstr(guest.report, "memory at physical 2000:  before 00  interpreter 5a  translation 5b"));
    assert_int_equal(word(DATA), 0); /* trials leave no trace */
    free_guest();
}

/* Wrong flags are a fault when they are read, in another translation here. */
static void test_wrong_flags(void **state)
{
    static const uint8_t reads[] = {0xf9, 0xeb, 0x00, 0x11, 0xc0, 0xe6, STOP_PORT, 0xeb, 0xfe};  /* stc; jmp .+0; adc eax, eax */
    static const uint8_t doesnt[] = {0xf9, 0xeb, 0x00, 0x01, 0xc0, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* stc; jmp .+0; add eax, eax */

    make_guest("lockstep=on");
    write_code(reads, sizeof(reads));
    spoil(0xf9, 0xf8); /* clc */
    assert_int_equal(run().kind, EXIT_ERROR);
    assert_non_null(strstr(guest.report, "flags CF, which the instruction at 1003 reads, were left wrong by the translation at 1000"));
    free_guest();

    make_guest("lockstep=on");
    write_code(doesnt, sizeof(doesnt));
    assert_int_equal(run().kind, EXIT_KICKED);
    free_guest();
}

static void test_options(void **state)
{
    struct engine_config config = {.cpus = 1, .options = "tier=interp,lockstep=on"};
    const struct engine_type *type;
    struct engine_vm *vm;
    struct err err = ERR_INIT;

    assert_int_equal(engine_choose("dbt", &type, NULL, 0, NULL), 0);
    assert_int_equal(memory_new(&config.memory, NULL), 0);
    assert_int_equal(type->vm_new(&config, &vm, &err), -EINVAL);
    assert_non_null(strstr(err.message, "tier=interp makes none"));
    config.options = "lockstep=often";
    assert_int_equal(type->vm_new(&config, &vm, &err), -EINVAL);
    assert_non_null(strstr(err.message, "\"often\""));
    memory_free(config.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_code), cmocka_unit_test(test_wrong_register), cmocka_unit_test(test_wrong_store),
        cmocka_unit_test(test_wrong_flags), cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
