/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock-step mode: it finds translations that were spoilt here, and nothing in those that were not. */
#include "guest.h"

#include <errno.h>

#include "engine/dbt/lockstep_state.h"
#include "engine/dbt/tlb.h"

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
        guest_make(options[i]);
        guest_write_code(loop_code, sizeof(loop_code));
        assert_int_equal(guest_run().kind, EXIT_KICKED);
        assert_int_equal(guest.stops, 1);
        assert_int_equal(word(DATA), 5050);
        assert_string_equal(guest.report, "");
        guest_free();
    }
}

static void test_wrong_register(void **state)
{
    static const uint8_t code[] = {0x83, 0xc0, 0x5a, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* add eax, 0x5a */
    struct exit stop;

    guest_make("lockstep=on");
    guest_write_code(code, sizeof(code));
    spoil(0x5a, 0x5b);
    stop = guest_run();
    assert_int_equal(stop.kind, EXIT_ERROR);
    assert_non_null(strstr(stop.message, "the code at 1000 "));
    assert_non_null(strstr(guest.report, "add eax, 0x5A"));
    assert_non_null(strstr(guest.report, "rax:  before 0000000000000000  interpreter 000000000000005a  translation 000000000000005b"));
    assert_int_equal(guest.stops, 0);
    assert_int_equal(guest_run().kind, EXIT_ERROR); /* it stays so */
    guest_free();
}

static void test_wrong_store(void **state)
{
    static const uint8_t code[] = {0xc6, 0x05, 0x00, 0x20, 0x00, 0x00, 0x5a, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* mov byte [DATA], 0x5a */

    guest_make("lockstep=on");
    guest_write_code(code, sizeof(code));
    spoil(0x5a, 0x5b);
    assert_int_equal(guest_run().kind, EXIT_ERROR);
    assert_non_null(strstr(guest.report, "memory at physical 2000:  before 00  interpreter 5a  translation 5b"));
    assert_int_equal(word(DATA), 0); /* trials leave no trace */
    guest_free();
}

/* Wrong flags are a fault when they are read, in another translation here. */
static void test_wrong_flags(void **state)
{
    static const uint8_t reads[] = {0xf9, 0xeb, 0x00, 0x11, 0xc0, 0xe6, STOP_PORT, 0xeb, 0xfe};  /* stc; jmp .+0; adc eax, eax */
    static const uint8_t doesnt[] = {0xf9, 0xeb, 0x00, 0x01, 0xc0, 0xe6, STOP_PORT, 0xeb, 0xfe}; /* stc; jmp .+0; add eax, eax */

    guest_make("lockstep=on");
    guest_write_code(reads, sizeof(reads));
    spoil(0xf9, 0xf8); /* clc */
    assert_int_equal(guest_run().kind, EXIT_ERROR);
    assert_non_null(strstr(guest.report, "flags CF, which the instruction at 1003 reads, were left wrong by the translation at 1000"));
    guest_free();

    guest_make("lockstep=on");
    guest_write_code(doesnt, sizeof(doesnt));
    assert_int_equal(guest_run().kind, EXIT_KICKED);
    guest_free();
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
