/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of dirty pages holds exactly the pages that were written. Arguments: the engine, and its options. */
#include "guest.h"

#include <pthread.h>

#include "base/bits.h"

/* Writes a byte to every page at rdi, rdi + rsi, ... rcx times, then is done; when run again, does so again. */
GUEST(code_writer, "0: mov %rdi, %rbx\n"
                   "mov %rcx, %rdx\n"
                   "1: incb (%rbx)\n"
                   "add %rsi, %rbx\n"
                   "dec %rdx\n"
                   "jnz 1b\n" GUEST_DONE "jmp 0b\n");

/* Pages that the guest of this test writes to, and nobody else: RAM from GUEST_DATA on. */
static bool is_watched(uint64_t page)
{
    return page >= GUEST_DATA / MEMORY_PAGE_SIZE && page < GUEST_RAM / MEMORY_PAGE_SIZE;
}

static void prepare(struct guest *guest, unsigned cpl, uint64_t address, uint64_t step, uint64_t count)
{
    struct x86_state state;

    guest_load(guest, code_writer, code_writer_end, cpl);
    state = guest_get_state(guest, 0);
    state.gpr[X86_RDI] = address;
    state.gpr[X86_RSI] = step;
    state.gpr[X86_RCX] = count;
    guest_set_state(guest, 0, &state);
}

/* Fetches, and expects the pages written by `count` steps, and one more when also_page is not 0. */
static void expect_pages(struct guest *guest, uint64_t address, uint64_t step, uint64_t count, uint64_t also_page)
{
    uint64_t *bitmap = test_calloc(memory_bitmap_words(guest->memory), sizeof(uint64_t));
    uint64_t pages = 0, found = 0;
    struct err err = ERR_INIT;

    if (guest->type->dirty_fetch(guest->vm, bitmap, &pages, &err) < 0)
        fail_msg("dirty_fetch: %s", err.message);
    for (uint64_t page = 0; page < GUEST_RAM / MEMORY_PAGE_SIZE; page++) {
        uint64_t offset = page * MEMORY_PAGE_SIZE - address;
        bool expected = count > 0 && page * MEMORY_PAGE_SIZE >= align_down(address, MEMORY_PAGE_SIZE) &&
                        (offset + (address & 0xfff)) % step == 0 && (offset + (address & 0xfff)) / step < count;
        bool dirty = (bitmap[page / 64] >> (page % 64)) & 1;

        found += dirty;
        if (is_watched(page) && dirty != (expected || page == also_page))
            fail_msg("page %#llx is %sdirty", (unsigned long long)page, dirty ? "" : "not ");
    }
    assert_int_equal(found, pages);
    test_free(bitmap);
}

static void start(struct guest *guest)
{
    struct err err = ERR_INIT;

    if (guest->type->dirty_start(guest->vm, &err) < 0)
        fail_msg("dirty_start: %s", err.message);
}

static void write_at(unsigned cpl)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_DIRTY_LOG);
    const uint64_t step = 3 * MEMORY_PAGE_SIZE, address = GUEST_DATA + 0x123;

    prepare(guest, cpl, address, step, 50);
    guest_run(guest, EXIT_KICKED); /* before the log starts: not in it */
    start(guest);
    expect_pages(guest, 0, MEMORY_PAGE_SIZE, 0, 0);
    guest_run(guest, EXIT_KICKED);
    expect_pages(guest, address, step, 50, 0);
    expect_pages(guest, 0, MEMORY_PAGE_SIZE, 0, 0);
    guest_run(guest, EXIT_KICKED); /* the pages were watched again */
    expect_pages(guest, address, step, 50, 0);
    assert_int_equal(memory_write(guest->memory, GUEST_DATA + 0x400000, "x", 1), 0); /* a device's write counts too */
    guest_run(guest, EXIT_KICKED);
    expect_pages(guest, address, step, 50, (GUEST_DATA + 0x400000) / MEMORY_PAGE_SIZE);
    guest->type->dirty_stop(guest->vm);
    guest_run(guest, EXIT_KICKED);
    start(guest); /* what was written in between is not in the new log */
    expect_pages(guest, 0, MEMORY_PAGE_SIZE, 0, 0);
    guest_run(guest, EXIT_KICKED);
    expect_pages(guest, address, step, 50, 0);
    guest->type->dirty_stop(guest->vm);
    guest_free(guest);
}

static void test_kernel_writes(void **ctx)
{
    write_at(0);
}

static void test_user_writes(void **ctx)
{
    write_at(3);
}

/* More pages between two fetches than any ring holds, so that it runs full on the way: every page of 40 MiB. */
static void test_many_pages(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_DIRTY_LOG);
    const uint64_t pages = (GUEST_RAM - GUEST_DATA) / MEMORY_PAGE_SIZE;

    prepare(guest, 3, GUEST_DATA, MEMORY_PAGE_SIZE, pages);
    start(guest);
    for (unsigned i = 0; i < 4; i++)
        guest_run(guest, EXIT_KICKED);
    expect_pages(guest, GUEST_DATA, MEMORY_PAGE_SIZE, pages, 0);
    expect_pages(guest, 0, MEMORY_PAGE_SIZE, 0, 0);
    guest->type->dirty_stop(guest->vm);
    guest_free(guest);
}

/* Nothing wakes it: interrupts are off. */
GUEST(code_halt, "cli\n"
                 "hlt\n"
                 "1: incb 0x200000\n" /* GUEST_DATA */
                 "jmp 1b\n");

#define HALT_ROUNDS 3000u

struct halted {
    struct guest *guest;
    _Atomic bool ended;
};

static void *run_again_and_again(void *ctx)
{
    struct halted *halted = ctx;

    for (unsigned i = 0; i < HALT_ROUNDS; i++) {
        struct exit exit;

        halted->guest->type->vcpu_run(halted->guest->vcpu[0], &exit);
    }
    halted->ended = true;
    return NULL;
}

/* What the log has to tell a CPU is no reason for it to leave HLT, whenever it comes. */
static void test_halted(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_DIRTY_LOG);
    struct halted halted = {.guest = guest};
    pthread_t thread;

    guest_load(guest, code_halt, code_halt_end, 0);
    start(guest);
    assert_int_equal(pthread_create(&thread, NULL, run_again_and_again, &halted), 0);
    for (unsigned i = 0; !halted.ended; i++) {
        expect_pages(guest, 0, MEMORY_PAGE_SIZE, 0, 0);
        if (i % 16 == 0) /* it falls asleep again while the next ones are fetched */
            guest->type->vcpu_kick(guest->vcpu[0]);
    }
    pthread_join(thread, NULL);
    assert_int_equal(guest_get_state(guest, 0).run_state, X86_HALTED);
    guest->type->dirty_stop(guest->vm);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_writes),
        cmocka_unit_test(test_user_writes),
        cmocka_unit_test(test_many_pages),
        cmocka_unit_test(test_halted),
    };

    return GUEST_MAIN(argc, argv, tests);
}
