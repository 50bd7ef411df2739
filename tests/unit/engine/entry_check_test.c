/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry checks: nothing is found where all is well, and each way in that should have been taken away. */
#include "guest.h"

#include "engine/dbt/entry_check.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translation.h"

enum { FUNCTION = 0x3000, TABLES = 0x8000, OTHER = 0xe000 };

/* Calls FUNCTION by way of a register, so through the jump table, and stops after each call. */
static const uint8_t caller[] = {
    0xbb, 0x00, 0x30, 0x00, 0x00, /*        mov ebx, FUNCTION */
    0xff, 0xd3,                   /* again: call ebx */
    0xe6, STOP_PORT,              /*        out STOP_PORT, al */
    0xeb, 0xfa,                   /*        jmp again */
};
static const uint8_t function[] = {0x40, 0xc3}; /* inc eax; ret */

static struct dbt_vcpu *vcpu(void)
{
    return (struct dbt_vcpu *)guest.vcpu;
}

static void begin(const char *options, bool paging)
{
    guest_make(options);
    for (uint32_t page = 0; page < RAM / 4096; page++) {
        uint8_t entry[4];

        store_le32(entry, page * 4096 | 7);
        assert_int_equal(memory_write(guest.memory, TABLES + 4096 + 4 * page, entry, sizeof(entry)), 0);
    }
    assert_int_equal(memory_write(guest.memory, TABLES, (const uint8_t[]){0x07, 0x90, 0, 0}, 4), 0);
    assert_int_equal(memory_write(guest.memory, FUNCTION, function, sizeof(function)), 0);
    assert_int_equal(memory_write(guest.memory, OTHER, function, sizeof(function)), 0);
    guest_write_code(caller, sizeof(caller));
    guest_set_state(paging ? TABLES : 0);
}

static void run_turns(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        assert_int_equal(guest_run().kind, EXIT_KICKED);
}

static void expect(const char *fault)
{
    struct exit stop = guest_run();

    assert_int_equal(stop.kind, EXIT_ERROR);
    assert_non_null(strstr(stop.message, "translation of 3000 at physical 3000"));
    assert_non_null(strstr(stop.message, fault));
    assert_non_null(strstr(guest.report, fault));
    assert_int_equal(guest_run().kind, EXIT_ERROR); /* it stays so */
    guest_free();
}

static void test_good_code(void **state)
{
    begin("checks=on", true);
    run_turns(10);
    assert_true(dbt_entry_check_count(vcpu()) > 20);
    assert_int_equal(vcpu()->gpr[X86_RAX], 10);
    assert_string_equal(guest.report, "");
    guest_free();
    begin("checks=off", true);
    run_turns(10);
    assert_int_equal(dbt_entry_check_count(vcpu()), 0);
    guest_free();
}

/* Bytes change behind everybody's back. */
static void test_changed_code(void **state)
{
    begin("checks=on", false);
    run_turns(3);
    memset(memory_pointer(guest.memory, FUNCTION, 1), 0x48, 1);
    atomic_fetch_add(&vcpu()->mail_sent, 1); /* as if somebody had just said so */
    run_turns(1);
    atomic_store(&vcpu()->mail_done, atomic_load(&vcpu()->mail_sent));
    expect("the code there has changed");
}

static void test_told_of_changed_code(void **state)
{
    begin("checks=on", false);
    run_turns(3);
    assert_int_equal(memory_write(guest.memory, FUNCTION, (const uint8_t[]){0x48}, 1), 0); /* dec eax */
    run_turns(3);
    assert_int_equal(vcpu()->gpr[X86_RAX], 0);
    guest_free();
}

static void test_invalid(void **state)
{
    begin("checks=on", false);
    run_turns(3);
    dbt_translation_at(vcpu(), FUNCTION, FUNCTION, dbt_translation_mode(vcpu()))->valid = false;
    expect("no longer valid");
}

static void test_other_mode(void **state)
{
    begin("checks=on", false);
    run_turns(3);
    dbt_translation_at(vcpu(), FUNCTION, FUNCTION, dbt_translation_mode(vcpu()))->mode |= MODE_EM;
    expect("another mode");
}

static void remap(uint32_t entry)
{
    uint8_t bytes[4];

    store_le32(bytes, entry);
    assert_int_equal(memory_write(guest.memory, TABLES + 4096 + FUNCTION / 4096 * 4, bytes, sizeof(bytes)), 0);
}

/* Page tables that change without a flush: as on a processor, what was before may be used. Behind the flush it may not. */
static void test_mapping(void **state)
{
    static const struct {
        uint32_t entry;
        const char *fault;
    } changes[] = {{OTHER | 7, "another page is mapped there"}, {0, "nothing to execute there"}};

    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        const void *way;

        begin("checks=on", true);
        run_turns(3);
        remap(changes[i].entry);
        run_turns(3);
        way = vcpu()->jump_table[0][dbt_jump_slot(FUNCTION)];
        dbt_tlb_flush_page(vcpu(), FUNCTION);
        vcpu()->jump_table[0][dbt_jump_slot(FUNCTION)] = way; /* as if it had been forgotten */
        expect(changes[i].fault);
    }
    begin("checks=on", true);
    run_turns(3);
    remap(OTHER | 7);
    dbt_tlb_flush_page(vcpu(), FUNCTION);
    run_turns(3);
    guest_free();
}

/* What the TLB says counts at once. */
static void test_tlb(void **state)
{
    begin("checks=on", true);
    run_turns(3);
    vcpu()->space->tlb[vcpu()->tlb_mode].translation[TLB_INDEX(FUNCTION)].physical = OTHER;
    expect("the TLB has another page there");
    begin("checks=on", true);
    run_turns(3);
    vcpu()->space->tlb[vcpu()->tlb_mode].translation[TLB_INDEX(FUNCTION)].executable = false;
    expect("the TLB forbids execution there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_code), cmocka_unit_test(test_changed_code), cmocka_unit_test(test_told_of_changed_code),
        cmocka_unit_test(test_invalid), cmocka_unit_test(test_other_mode), cmocka_unit_test(test_mapping), cmocka_unit_test(test_tlb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
