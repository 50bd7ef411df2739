/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same guest stopped on one engine and continued on another and back gives the same results as on either alone.
 * Arguments: two engines. The state travels as bytes of a saved section, the memory by copy. */
#include "guest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "compare.h"
#include "state/section.h"
#include "x86/xsave.h"

#define ROUNDS 40
#define PORT_ROUND 0xf5 /* the guest tells of a round done; GUEST_PORT_DONE: of the last */

static const struct engine_type *engines[2];

/* Integer, SSE2 and x87 values that live across the rounds, stores, and an exception to CPL 0 and back in each round. */
GUEST(code_work, "movabs $0x9e3779b97f4a7c15, %rax\n"
                 "mov $0x200000, %edi\n"
                 "mov $40, %r12d\n"
                 "fninit\n"
                 "fldpi\n"
                 "fld1\n"
                 "pxor %xmm0, %xmm0\n"
                 "pxor %xmm1, %xmm1\n"
                 "pxor %xmm6, %xmm6\n"
                 "1: mov $2000, %ecx\n"
                 "2: imul $0x5851f42d, %rax, %rax\n"
                 "ror $13, %rax\n"
                 "add %rax, %rbx\n"
                 "adc %rcx, %rdx\n"
                 "xor %rbx, (%rdi,%rcx,8)\n"
                 "movq %rax, %xmm2\n"
                 "paddq %xmm2, %xmm0\n"
                 "pshufd $0x4e, %xmm0, %xmm3\n"
                 "pxor %xmm3, %xmm1\n"
                 "cvtsi2sd %ecx, %xmm4\n"
                 "sqrtsd %xmm4, %xmm5\n"
                 "addsd %xmm5, %xmm6\n"
                 "fadd %st(1), %st\n"
                 "fsqrt\n"
                 "dec %ecx\n"
                 "jnz 2b\n"
                 "ud2\n"
                 "lea (%rdi,%rcx,8), %rsi\n"
                 "add $0x1238, %rdi\n"
                 "mov $64, %ecx\n"
                 "push %rdi\n"
                 "rep movsq\n"
                 "pop %rdi\n"
                 "mov %r12d, %eax\n"
                 "out %al, $0xf5\n"
                 "mov %rbx, %rax\n"
                 "dec %r12d\n"
                 "jnz 1b\n"
                 "cmp %rdx, %rbx\n" GUEST_DONE "3: jmp 3b\n");
GUEST(code_work_handler, "addq $2, (%rsp)\n"
                         "inc %r15\n"
                         "iretq\n");
#define HANDLER 0x180000

static struct guest *work_new(const struct engine_type *type)
{
    struct guest *guest = guest_new(type, 1, 0);
    struct x86_state state;

    assert_int_equal(memory_write(guest->memory, HANDLER, code_work_handler,
                                  (uint64_t)(code_work_handler_end - code_work_handler)),
                     0);
    guest_set_gate(guest, X86_UD, HANDLER);
    guest_load(guest, code_work, code_work_end, 3);
    state = guest_get_state(guest, 0);
    state.rflags = 2 | X86_IF;
    guest_set_state(guest, 0, &state);
    return guest;
}

static void copy_memory(struct guest *from, struct guest *to)
{
    const struct memory_region *region = memory_find(from->memory, 0);

    assert_int_equal(memory_write(to->memory, 0, region->host, region->size), 0);
}

static void copy_state(struct guest *from, struct guest *to)
{
    struct x86_state state = guest_get_state(from, 0);
    struct buffer stream = BUFFER_INIT(1 << 16);
    struct section_reader reader;
    struct section section;

    assert_int_equal(section_write(&stream, "cpu", 0, 1, x86_state_fields, &state), 0);
    section_reader_init(&reader, stream.data, stream.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    x86_state_reset(&state, true);
    assert_int_equal(section_read(&section, x86_state_fields, &state, sizeof(state), NULL), 0);
    guest_set_state(to, 0, &state);
    buffer_fini(&stream);
}

/* The guest has done its last OUT: it is at the JMP behind it. */
static bool is_finished(struct guest *guest)
{
    return guest_get_state(guest, 0).rip == GUEST_CODE + (uint64_t)(code_work_end - code_work) - 2;
}

/* Differences that mean nothing: the x87 pointers (AMD keeps them only with an exception), time, what a host refuses. */
static bool tolerate(void *ctx, const char *name, uint64_t expected, uint64_t found)
{
    return strncmp(name, "msr.", 4) == 0 && strcmp(name, "msr.efer") != 0;
}

static void expect_equal(struct guest *a, struct guest *b)
{
    struct x86_state state[2] = {guest_get_state(a, 0), guest_get_state(b, 0)};
    const struct memory_region *memory[2] = {memory_find(a->memory, 0), memory_find(b->memory, 0)};

    for (unsigned i = 0; i < 2; i++) {
        compare_normalize_xsave(&state[i]);
        memset(state[i].xsave + 6, 0, 18); /* FOP, FIP, FDP */
    }
    assert_int_equal(state[0].gpr[X86_R15], ROUNDS);
    assert_int_equal(compare_states(&state[0], &state[1], tolerate, NULL), 0);
    assert_memory_equal(memory[0]->host + GUEST_DATA, memory[1]->host + GUEST_DATA, GUEST_RAM - GUEST_DATA);
}

static struct guest *run_alone(const struct engine_type *type)
{
    struct guest *guest = work_new(type);

    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->access_count, ROUNDS);
    return guest;
}

static void test_alone(void **ctx)
{
    struct guest *a = run_alone(engines[0]), *b = run_alone(engines[1]);

    expect_equal(a, b);
    guest_free(a);
    guest_free(b);
}

struct kicker {
    _Atomic(struct guest *) running; /* NULL while none does: a kick would then only end the next run at once */
    _Atomic bool end;
};

static void *kick_often(void *ctx)
{
    struct kicker *kicker = ctx;

    for (unsigned i = 0; !kicker->end; i++) {
        struct guest *guest;

        usleep(2000 + i % 5 * 300);
        guest = kicker->running;
        if (guest != NULL)
            guest->type->vcpu_kick(guest->vcpu[0]);
    }
    return NULL;
}

static void run_until_kicked(struct kicker *kicker, struct guest *guest)
{
    kicker->running = guest;
    guest_run(guest, EXIT_KICKED);
    kicker->running = NULL;
}

/* Stops behind each round, and wherever else a kick happens to fall, moves, goes on. */
static void test_switching(void **ctx)
{
    struct guest *alone = run_alone(engines[0]);
    struct guest *guest[2] = {work_new(engines[0]), work_new(engines[1])};
    struct kicker kicker = {NULL};
    unsigned now = 0, moves = 0;
    pthread_t thread;

    guest[0]->kick_port = guest[1]->kick_port = PORT_ROUND;
    assert_int_equal(pthread_create(&thread, NULL, kick_often, &kicker), 0);
    run_until_kicked(&kicker, guest[0]);
    while (!is_finished(guest[now]) && moves < 2000) {
        copy_memory(guest[now], guest[!now]);
        copy_state(guest[now], guest[!now]);
        now = !now;
        moves++;
        run_until_kicked(&kicker, guest[now]);
    }
    kicker.end = true;
    pthread_join(thread, NULL);
    printf("%u moves\n", moves);
    assert_true(is_finished(guest[now]));
    assert_true(moves >= ROUNDS);
    expect_equal(alone, guest[now]);
    guest_free(guest[0]);
    guest_free(guest[1]);
    guest_free(alone);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alone), cmocka_unit_test(test_switching)};
    struct err err = ERR_INIT;

    if (argc != 3) {
        fprintf(stderr, "usage: %s ENGINE ENGINE\n", argv[0]);
        return 2;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (engine_choose(argv[1 + i], &engines[i], NULL, 0, &err) < 0) {
            printf("SKIPPED: %s\n", err.message);
            return 77;
        }
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
