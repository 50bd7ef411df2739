/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every engine must do: run, serve ports and MMIO, ring doorbells, be kicked, fail well. Argument: the engine. */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/fd.h"

static void run_at(unsigned cpl, const uint8_t *code, const uint8_t *end, uint64_t expected_rax)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct x86_state state;

    guest_load(guest, code, end, cpl);
    guest_run(guest, EXIT_KICKED);
    state = guest_get_state(guest, 0);
    assert_int_equal(state.gpr[X86_RAX], expected_rax);
    assert_int_equal(state.rip, GUEST_CODE + (uint64_t)(end - code) - 2); /* behind the OUT, before the UD2 */
    assert_int_equal(state.segment[X86_CS].dpl, cpl);
    guest_free(guest);
}

GUEST(code_count, "xor %eax, %eax\n"
                  "mov $100, %ecx\n"
                  "1: add %rcx, %rax\n"
                  "dec %ecx\n"
                  "jnz 1b\n" GUEST_DONE "ud2\n");

static void test_run_kernel(void **ctx)
{
    run_at(0, code_count, code_count_end, 5050);
}

static void test_run_user(void **ctx)
{
    run_at(3, code_count, code_count_end, 5050);
}

GUEST(code_ports, "mov $0x1234, %dx\n"
                  "mov $0x11223344, %eax\n"
                  "out %al, (%dx)\n"
                  "out %ax, (%dx)\n"
                  "out %eax, (%dx)\n"
                  "in (%dx), %eax\n"
                  "mov %rax, %r8\n"
                  "mov $-1, %rax\n"
                  "in (%dx), %al\n"
                  "mov %rax, %r9\n"
                  "mov $-1, %rax\n"
                  "in (%dx), %ax\n"
                  "mov %rax, %r10\n" GUEST_DONE "ud2\n");

static void ports_at(unsigned cpl)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct x86_state state;

    guest->answer = 0xcafebabe;
    guest_load(guest, code_ports, code_ports_end, cpl);
    guest_run(guest, EXIT_KICKED);
    state = guest_get_state(guest, 0);
    guest_expect_access(guest, 0, true, true, 0x1234, 1, 0x44);
    guest_expect_access(guest, 1, true, true, 0x1234, 2, 0x3344);
    guest_expect_access(guest, 2, true, true, 0x1234, 4, 0x11223344);
    guest_expect_access(guest, 3, true, false, 0x1234, 4, 0xcafebabe);
    assert_int_equal(guest->access_count, 6);
    assert_int_equal(state.gpr[X86_R8], 0xcafebabe);
    assert_int_equal(state.gpr[X86_R9], UINT64_C(0xffffffffffffffbe));
    assert_int_equal(state.gpr[X86_R10], UINT64_C(0xffffffffffffbabe));
    assert_int_equal(guest->done_value, 0xbe);
    guest_free(guest);
}

static void test_ports_kernel(void **ctx)
{
    ports_at(0);
}

static void test_ports_user(void **ctx)
{
    ports_at(3);
}

GUEST(code_string_ports, "mov $0x80, %dx\n"
                         "mov $0x200000, %esi\n"
                         "mov $5, %ecx\n"
                         "cld\n"
                         "rep outsw\n"
                         "mov $0x201000, %edi\n"
                         "mov $3, %ecx\n"
                         "rep insl\n" GUEST_DONE "ud2\n");

static void test_string_ports(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    static const uint16_t words[] = {1, 0x203, 0x405, 0x607, 0x809};

    guest->answer = 0x12345678;
    assert_int_equal(memory_write(guest->memory, GUEST_DATA, words, sizeof(words)), 0);
    guest_load(guest, code_string_ports, code_string_ports_end, 0);
    guest_run(guest, EXIT_KICKED);
    for (unsigned i = 0; i < 5; i++)
        guest_expect_access(guest, i, true, true, 0x80, 2, words[i]);
    /* An engine may read ahead (KVM does, when it emulates), but the guest sees three values. */
    assert_true(guest->access_count >= 8);
    assert_int_equal(guest_read64(guest, 0x201000), UINT64_C(0x1234567812345678));
    assert_int_equal(guest_read64(guest, 0x201008), 0x12345678);
    guest_free(guest);
}

GUEST(code_mmio, "mov $0xd0000000, %ebx\n"
                 "movabs $0x1122334455667788, %rax\n"
                 "mov %al, 1(%rbx)\n"
                 "mov %ax, 2(%rbx)\n"
                 "mov %eax, 4(%rbx)\n"
                 "mov %rax, 8(%rbx)\n"
                 "mov 16(%rbx), %r8\n"
                 "mov 24(%rbx), %r9d\n"
                 "movzwl 28(%rbx), %r10d\n"
                 "movsbl 30(%rbx), %r11d\n" GUEST_DONE "ud2\n");

static void mmio_at(unsigned cpl)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct x86_state state;

    guest->answer = UINT64_C(0x8877665544332291);
    guest_load(guest, code_mmio, code_mmio_end, cpl);
    guest_run(guest, EXIT_KICKED);
    state = guest_get_state(guest, 0);
    guest_expect_access(guest, 0, false, true, GUEST_MMIO + 1, 1, 0x88);
    guest_expect_access(guest, 1, false, true, GUEST_MMIO + 2, 2, 0x7788);
    guest_expect_access(guest, 2, false, true, GUEST_MMIO + 4, 4, 0x55667788);
    guest_expect_access(guest, 3, false, true, GUEST_MMIO + 8, 8, UINT64_C(0x1122334455667788));
    guest_expect_access(guest, 4, false, false, GUEST_MMIO + 16, 8, UINT64_C(0x8877665544332291));
    guest_expect_access(guest, 5, false, false, GUEST_MMIO + 24, 4, 0x44332291);
    guest_expect_access(guest, 6, false, false, GUEST_MMIO + 28, 2, 0x2291);
    guest_expect_access(guest, 7, false, false, GUEST_MMIO + 30, 1, 0x91);
    assert_int_equal(guest->access_count, 8);
    assert_int_equal(state.gpr[X86_R8], UINT64_C(0x8877665544332291));
    assert_int_equal(state.gpr[X86_R9], 0x44332291);
    assert_int_equal(state.gpr[X86_R10], 0x2291);
    assert_int_equal(state.gpr[X86_R11], 0xffffff91);
    guest_free(guest);
}

static void test_mmio_kernel(void **ctx)
{
    mmio_at(0);
}

static void test_mmio_user(void **ctx)
{
    mmio_at(3);
}

GUEST(code_rom, "mov $0xf0000000, %ebx\n"
                "mov (%rbx), %r8\n"
                "movq $0, (%rbx)\n"
                "mov (%rbx), %r9\n" GUEST_DONE "ud2\n");

static void test_rom(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    const uint64_t content = UINT64_C(0x0123456789abcdef);
    struct x86_state state;

    memcpy(memory_find(guest->memory, GUEST_ROM)->host, &content, sizeof(content));
    guest_load(guest, code_rom, code_rom_end, 0);
    guest_run(guest, EXIT_KICKED);
    state = guest_get_state(guest, 0);
    assert_int_equal(state.gpr[X86_R8], content);
    assert_int_equal(state.gpr[X86_R9], content);
    assert_int_equal(guest->access_count, 0);
    guest_free(guest);
}

GUEST(code_doorbells, "mov $0xd0001000, %ebx\n"
                      "mov $7, %eax\n"
                      "mov %eax, (%rbx)\n"   /* matches */
                      "mov %ax, 8(%rbx)\n"   /* any value, 2 bytes */
                      "mov $8, %eax\n"
                      "mov %eax, (%rbx)\n"   /* another value: the hook */
                      "mov $0x600, %dx\n"
                      "out %ax, (%dx)\n"     /* port doorbell */
                      "out %ax, (%dx)\n" GUEST_DONE "ud2\n");

static void test_doorbells(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IOEVENTFD);
    struct engine_doorbell bell[3] = {
        {.address = 0xd0001000, .size = 4, .match = true, .value = 7},
        {.address = 0xd0001008, .size = 2},
        {.port = true, .address = 0x600, .size = 2},
    };

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(eventfd_new(&bell[i].fd), 0);
        assert_int_equal(guest->type->doorbell_add(guest->vm, &bell[i]), 0);
    }
    assert_int_equal(guest->type->doorbell_add(guest->vm, &bell[0]), -EEXIST);
    guest_load(guest, code_doorbells, code_doorbells_end, 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest_eventfd_take(bell[0].fd), 1);
    assert_int_equal(guest_eventfd_take(bell[1].fd), 1);
    assert_int_equal(guest_eventfd_take(bell[2].fd), 2);
    assert_int_equal(guest->access_count, 1);
    guest_expect_access(guest, 0, false, true, 0xd0001000, 4, 8);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(guest->type->doorbell_remove(guest->vm, &bell[i]), 0);
        assert_int_equal(guest->type->doorbell_remove(guest->vm, &bell[i]), -ENOENT);
    }
    guest_load(guest, code_doorbells, code_doorbells_end, 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->access_count, 6);
    for (unsigned i = 0; i < 3; i++)
        fd_close(&bell[i].fd);
    guest_free(guest);
}

GUEST(code_spin, "1: inc %rax\n"
                 "jmp 1b\n");

struct runner {
    struct guest *guest;
    unsigned rounds;
    _Atomic unsigned returned;
    _Atomic bool failed;
};

static void *run_until_kicked(void *ctx)
{
    struct runner *runner = ctx;

    for (unsigned i = 0; i < runner->rounds; i++) {
        struct exit exit;

        runner->guest->type->vcpu_run(runner->guest->vcpu[0], &exit);
        if (exit.kind != EXIT_KICKED)
            runner->failed = true;
        runner->returned++;
    }
    return NULL;
}

/* Each kick must end one run, whether it comes before, in or behind the entry; a lost one shows as a test that hangs for a
 * second per round. */
static void kick_rounds(const uint8_t *code, const uint8_t *end, unsigned cpl, unsigned rounds)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct runner runner = {.guest = guest, .rounds = rounds};
    pthread_t thread;

    guest_load(guest, code, end, cpl);
    assert_int_equal(pthread_create(&thread, NULL, run_until_kicked, &runner), 0);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned waited = 0;

        usleep(i % 7 * 50);
        guest->type->vcpu_kick(guest->vcpu[0]);
        while (runner.returned <= i && waited++ < 10000)
            usleep(100);
        if (runner.returned <= i) {
            guest->type->vcpu_kick(guest->vcpu[0]);
            fail_msg("kick %u was lost", i);
        }
    }
    pthread_join(thread, NULL);
    assert_false(runner.failed);
    guest_free(guest);
}

static void test_kick_spinning(void **ctx)
{
    kick_rounds(code_spin, code_spin_end, 3, 200);
}

GUEST(code_halt, "sti\n"
                 "1: hlt\n"
                 "jmp 1b\n");

static void test_kick_halted(void **ctx)
{
    kick_rounds(code_halt, code_halt_end, 0, 200);
}

static void test_kick_before_run(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);

    guest_load(guest, code_spin, code_spin_end, 3);
    guest->type->vcpu_kick(guest->vcpu[0]);
    guest->type->vcpu_kick(guest->vcpu[0]);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest_get_state(guest, 0).rip, GUEST_CODE);
    guest_free(guest);
}

GUEST(code_triple, "ud2\n");

static void test_triple_fault(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct x86_state state;

    guest_load(guest, code_triple, code_triple_end, 0);
    state = guest_get_state(guest, 0);
    state.idtr.limit = 0;
    guest_set_state(guest, 0, &state);
    guest_run(guest, EXIT_SHUTDOWN);
    guest_free(guest);
}

/* From CPL 3 through the IDT to CPL 0 and back by IRETQ. The handler lies at GUEST_DATA. */
GUEST(code_fault, "mov $5, %ebx\n"
                  "ud2\n"
                  "add $100, %ebx\n" GUEST_DONE "ud2\n");
GUEST(code_fault_handler, "addq $2, (%rsp)\n" /* behind the UD2 */
                          "add $1000, %ebx\n"
                          "iretq\n");

static void test_exception_from_user(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    struct x86_state state;

    assert_int_equal(memory_write(guest->memory, GUEST_DATA, code_fault_handler,
                                  (uint64_t)(code_fault_handler_end - code_fault_handler)),
                     0);
    guest_set_gate(guest, X86_UD, GUEST_DATA);
    guest_load(guest, code_fault, code_fault_end, 3);
    guest_run(guest, EXIT_KICKED);
    state = guest_get_state(guest, 0);
    assert_int_equal(state.gpr[X86_RBX], 1105);
    assert_int_equal(state.segment[X86_CS].selector, GUEST_CS3);
    assert_int_equal(state.gpr[X86_RSP], GUEST_STACK);
    guest_free(guest);
}

static void test_statistics(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    char text[2000] = "before\n";

    if (guest_engine->print_statistics == NULL) {
        guest_free(guest);
        SKIP("engine %s prints no statistics", guest_engine->name);
    }
    guest_engine->print_statistics(guest->vm, text, sizeof(text));
    assert_memory_equal(text, "before\n", 7);
    assert_true(strlen(text) > 7);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_kernel),
        cmocka_unit_test(test_run_user),
        cmocka_unit_test(test_ports_kernel),
        cmocka_unit_test(test_ports_user),
        cmocka_unit_test(test_string_ports),
        cmocka_unit_test(test_mmio_kernel),
        cmocka_unit_test(test_mmio_user),
        cmocka_unit_test(test_rom),
        cmocka_unit_test(test_doorbells),
        cmocka_unit_test(test_kick_spinning),
        cmocka_unit_test(test_kick_halted),
        cmocka_unit_test(test_kick_before_run),
        cmocka_unit_test(test_triple_fault),
        cmocka_unit_test(test_exception_from_user),
        cmocka_unit_test(test_statistics),
    };

    return GUEST_MAIN(argc, argv, tests);
}
