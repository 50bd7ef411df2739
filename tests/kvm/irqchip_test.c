/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts of engines that have the controllers inside: MSI, irqfd, lines through IOAPIC and PIC, NMI, INIT and SIPI,
 * and the saved state of all of them. Argument: the engine. */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/fd.h"
#include "engine/kvm/internal.h"

#define VECTOR 0x41
#define HANDLER GUEST_DATA /* where test_load_handler() puts it */
#define MSI_ADDRESS (GUEST_LAPIC | 0 << 12)

/* Turns the local APIC on, tells that it waits, and sleeps; the handler counts in r15 and ends the interrupt. */
GUEST(code_sleeper, "mov $0xfee00000, %ebx\n"
                    "movl $0x1ff, 0xf0(%rbx)\n"
                    "xor %r15d, %r15d\n" GUEST_DONE "1: sti\n"
                    "hlt\n"
                    "cli\n"
                    "mov %r15d, %eax\n" GUEST_DONE "jmp 1b\n");
GUEST(code_handler, "inc %r15d\n"
                    "movl $0, 0xb0(%rbx)\n"
                    "iretq\n");

static void load_handler(struct guest *guest, unsigned vector, const uint8_t *code, const uint8_t *end)
{
    assert_int_equal(memory_write(guest->memory, HANDLER, code, (uint64_t)(end - code)), 0);
    guest_set_gate(guest, vector, HANDLER);
}

static struct guest *sleeper_new(void)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);

    load_handler(guest, VECTOR, code_handler, code_handler_end);
    guest_load(guest, code_sleeper, code_sleeper_end, 0);
    guest_run(guest, EXIT_KICKED); /* to where the APIC is on */
    return guest;
}

static void test_msi(void **ctx)
{
    struct guest *guest = sleeper_new();

    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(guest->type->msi(guest->vm, MSI_ADDRESS, VECTOR), 0);
        guest_run(guest, EXIT_KICKED);
        assert_int_equal(guest->done_value, i);
    }
    guest_free(guest);
}

static void *send_msi_later(void *ctx)
{
    struct guest *guest = ctx;

    usleep(20000);
    guest->type->msi(guest->vm, MSI_ADDRESS, VECTOR);
    return NULL;
}

static void test_msi_wakes_halted(void **ctx)
{
    struct guest *guest = sleeper_new();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, send_msi_later, guest), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 1);
    pthread_join(thread, NULL);
    guest_free(guest);
}

static void test_irqfd(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP | ENGINE_IRQFD);
    int fd, other;

    assert_int_equal(eventfd_new(&fd), 0);
    assert_int_equal(eventfd_new(&other), 0);
    guest_free(guest);
    guest = sleeper_new();
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 3, -1, 0, 0), -ENOENT);
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 3, fd, MSI_ADDRESS, 0x99), 0);
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 3, fd, MSI_ADDRESS, VECTOR), 0); /* a changed message */
    eventfd_signal(fd);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 1);
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 3, other, MSI_ADDRESS, VECTOR), 0); /* another eventfd */
    eventfd_signal(other);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 2);
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 3, -1, 0, 0), 0);
    eventfd_signal(other);
    eventfd_signal(fd);
    assert_int_equal(guest->type->msi(guest->vm, MSI_ADDRESS, VECTOR), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 3); /* by the MSI alone */
    assert_int_equal(guest->type->irqfd_msi(guest->vm, 1u << 30, fd, MSI_ADDRESS, VECTOR), -ENOSPC);
    fd_close(&fd);
    fd_close(&other);
    guest_free(guest);
}

/* Line 4 through an IOAPIC entry that a saved state brought. */
static void test_ioapic_line(void **ctx)
{
    struct guest *guest = sleeper_new();
    struct irqchip_state state;
    struct err err = ERR_INIT;

    assert_int_equal(guest->type->irqchip_get(guest->vm, &state, &err), 0);
    state.ioapic.redirection[4] = VECTOR; /* edge, fixed, APIC 0 */
    state.ioapic.redirection[2] = VECTOR; /* the PIT's line 0 arrives here */
    state.pic[0].imr = state.pic[1].imr = 0xff;
    assert_int_equal(guest->type->irqchip_set(guest->vm, &state, &err), 0);
    assert_int_equal(guest->type->irq_line(guest->vm, 4, true), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 1);
    assert_int_equal(guest->type->irq_line(guest->vm, 4, false), 0);
    assert_int_equal(guest->type->irq_line(guest->vm, 4, true), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 2);
    assert_int_equal(guest->type->irq_line(guest->vm, 0, true), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 3);
    assert_true(guest->type->irq_line(guest->vm, IOAPIC_PINS, true) < 0);
    guest_free(guest);
}

/* Line 5 through the PIC and LINT0 in ExtINT mode, as firmware leaves them. */
static void test_pic_line(void **ctx)
{
    struct guest *guest = sleeper_new();
    struct irqchip_state state;
    struct lapic_state lapic;
    struct err err = ERR_INIT;

    assert_int_equal(guest->type->irqchip_get(guest->vm, &state, &err), 0);
    state.pic[0] = (struct pic_state){.vector_base = VECTOR & 0xf8, .imr = 0xfd};
    assert_int_equal(guest->type->irqchip_set(guest->vm, &state, &err), 0);
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &lapic, &err), 0);
    lapic.lvt[LAPIC_LVT_LINT0] = 0x700;
    assert_int_equal(guest->type->lapic_set(guest->vcpu[0], &lapic, &err), 0);
    assert_int_equal(guest->type->irq_line(guest->vm, VECTOR & 7, true), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 1);
    assert_int_equal(guest->type->irqchip_get(guest->vm, &state, &err), 0);
    assert_int_equal(state.pic[0].isr, 1 << (VECTOR & 7)); /* no EOI was sent to it */
    guest_free(guest);
}

GUEST(code_nmi, "1: hlt\n"
                "jmp 1b\n");
GUEST(code_nmi_handler, "mov $2, %al\n" GUEST_DONE "iretq\n");

static void test_nmi(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);

    if (guest->type->vcpu_nmi == NULL) {
        guest_free(guest);
        SKIP("engine %s has no NMI", guest_engine->name);
    }
    load_handler(guest, X86_NMI, code_nmi_handler, code_nmi_handler_end);
    guest_load(guest, code_nmi, code_nmi_end, 0);
    guest->type->vcpu_nmi(guest->vcpu[0]);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 2);
    guest_free(guest);
}

/* CPU 0 sends INIT and SIPI (vector 8) to all others; what they write tells that they came up in real mode at 0x8000. */
GUEST(code_start_others, "mov $0xfee00000, %ebx\n"
                         "movl $0x1ff, 0xf0(%rbx)\n"
                         "movl $0xc4500, 0x300(%rbx)\n"
                         "movl $0xc4608, 0x300(%rbx)\n"
                         "1: mov 0x7000, %eax\n"
                         "test %eax, %eax\n"
                         "pause\n"
                         "jz 1b\n" GUEST_DONE);
GUEST(code_other, ".code16\n"
                  "mov %cs, %ax\n"
                  "mov %ax, %bx\n"
                  "xor %ax, %ax\n"
                  "mov %ax, %ds\n"
                  "mov %bx, 0x7000\n"
                  "1: hlt\n"
                  "jmp 1b\n"
                  ".code64\n");

static void *run_second(void *ctx)
{
    struct guest *guest = ctx;
    struct exit exit;

    guest->type->vcpu_run(guest->vcpu[1], &exit);
    return (void *)(uintptr_t)exit.kind;
}

static void test_start_of_second_cpu(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 2, ENGINE_IRQCHIP);
    pthread_t thread;
    void *kind;

    assert_int_equal(memory_write(guest->memory, GUEST_AP_CODE, code_other, (uint64_t)(code_other_end - code_other)), 0);
    guest_load(guest, code_start_others, code_start_others_end, 0);
    assert_int_equal(guest_get_state(guest, 1).run_state, X86_WAIT_FOR_SIPI);
    assert_int_equal(pthread_create(&thread, NULL, run_second, guest), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 0); /* AL of 0x800 */
    assert_int_equal(guest_read64(guest, 0x7000), 0x800);
    guest->type->vcpu_kick(guest->vcpu[1]);
    pthread_join(thread, &kind);
    assert_int_equal((uintptr_t)kind, EXIT_KICKED);
    guest_free(guest);
}

static void test_irqchip_round_trip(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);
    struct irqchip_state set = {0}, got = {0};
    struct err err = ERR_INIT;

    assert_int_equal(guest->type->irqchip_get(guest->vm, &set, &err), 0);
    set.pic[0] = (struct pic_state){.irr = 0x10, .imr = 0xb8, .isr = 0x40, .last_lines = 0x12, .vector_base = 0x30,
                                    .auto_eoi = 1, .special_mask = 1, .priority_add = 3, .read_isr = 1};
    set.pic[1] = (struct pic_state){.imr = 0x8e, .elcr = 0x0c, .vector_base = 0x38, .init_state = 3, .icw4_needed = 1,
                                    .rotate_on_auto_eoi = 1, .special_fully_nested = 1};
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        set.ioapic.redirection[i] = (uint64_t)i << 56 | 0x1a900 | (0x40 + i); /* masked, level, logical, lowest priority */
    set.ioapic.id = 5;
    set.ioapic.select = 0x12;
    for (unsigned i = 0; i < 3; i++)
        set.pit.channel[i] = (struct pit_channel_state){.count = 0x1000 + i, .latched_count = 0x777, .count_latched = 3,
                                                        .status_latched = 1, .status = 0x36, .read_state = 3,
                                                        .write_state = 3, .write_latch = 0x12, .access_mode = 3,
                                                        .mode = 2, .gate = i != 2};
    set.pit.speaker_data_on = 1;
    if (guest->type->irqchip_set(guest->vm, &set, &err) < 0)
        fail_msg("irqchip_set: %s", err.message);
    assert_int_equal(guest->type->irqchip_get(guest->vm, &got, &err), 0);
    for (unsigned i = 0; i < 3; i++) /* the period begins when it is set */
        set.pit.channel[i].count_load_time = got.pit.channel[i].count_load_time;
    assert_memory_equal(&set.pic, &got.pic, sizeof(set.pic));
    assert_memory_equal(&set.ioapic, &got.ioapic, sizeof(set.ioapic));
    for (unsigned i = 0; i < 3; i++)
        assert_memory_equal(&set.pit.channel[i], &got.pit.channel[i], sizeof(set.pit.channel[i]));
    assert_int_equal(got.pit.speaker_data_on, 1);
    guest_free(guest);
}

static void test_impossible_irqchip(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);
    struct irqchip_state state;
    struct err err = ERR_INIT;

    assert_int_equal(guest->type->irqchip_get(guest->vm, &state, &err), 0);
    state.pit.channel[0].mode = 6;
    assert_int_equal(guest->type->irqchip_set(guest->vm, &state, &err), -EINVAL);
    state.pit.channel[0].mode = 3;
    state.pic[1].init_state = 5;
    assert_int_equal(guest->type->irqchip_set(guest->vm, &state, &err), -EINVAL);
    guest_free(guest);
}

static void lapic_round_trip(struct guest *guest, uint64_t base_msr)
{
    struct lapic_state set = {0}, got = {0};
    struct err err = ERR_INIT;
    uint64_t now;

    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &set, &err), 0);
    assert_int_equal(guest->type->clock_get(guest->vm, &now), 0);
    set.base_msr = base_msr;
    set.tpr = 0x20;
    set.ldr = base_msr & 0x400 ? 1 : 0x02000000; /* of APIC ID 0 in x2APIC mode */
    set.dfr = 0xffffffff;
    set.svr = 0x1ff;
    for (unsigned i = 1; i < 8; i++) {
        set.isr[i] = 1u << i;
        set.tmr[i] = 0x10u << i;
        set.irr[i] = 0x100u << i;
    }
    set.icr = UINT64_C(0x0100000000000041);
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        set.lvt[i] = 0x10000 + 0x50 + i;
    set.lvt[LAPIC_LVT_TIMER] = 0x20060; /* periodic */
    set.timer_initial = 2000000000;
    set.timer_divide = 3; /* by 16 */
    set.timer_start = (int64_t)now - 1000000000;
    if (guest->type->lapic_set(guest->vcpu[0], &set, &err) < 0)
        fail_msg("lapic_set: %s", err.message);
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &got, &err), 0);
    assert_in_range(got.timer_start - set.timer_start + 100000000, 0, 200000000);
    got.timer_start = set.timer_start;
    assert_memory_equal(&set, &got, sizeof(set));
}

static void test_lapic_round_trip(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);

    lapic_round_trip(guest, GUEST_LAPIC | 0x900);
    guest_free(guest);
}

static void test_x2apic_round_trip(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);

    lapic_round_trip(guest, GUEST_LAPIC | 0xd00);
    guest_free(guest);
}

static void test_one_shot_that_ran_out(void **ctx)
{
    struct guest *guest = sleeper_new();
    struct lapic_state state;
    struct err err = ERR_INIT;

    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &state, &err), 0);
    state.lvt[LAPIC_LVT_TIMER] = VECTOR;
    state.timer_initial = 1000;
    state.timer_start = 0; /* long ago */
    usleep(1000);
    assert_int_equal(guest->type->lapic_set(guest->vcpu[0], &state, &err), 0);
    usleep(1000);
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &state, &err), 0);
    assert_int_equal(state.irr[VECTOR / 32], 0); /* not once more */
    guest_free(guest);
}

static void test_timer_interrupt(void **ctx)
{
    struct guest *guest = sleeper_new();
    struct lapic_state state;
    struct err err = ERR_INIT;
    uint64_t now;

    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &state, &err), 0);
    assert_int_equal(guest->type->clock_get(guest->vm, &now), 0);
    state.lvt[LAPIC_LVT_TIMER] = VECTOR;
    state.timer_initial = 5000000;
    state.timer_divide = 0xb; /* by 1: 5 ms */
    state.timer_start = (int64_t)now;
    assert_int_equal(guest->type->lapic_set(guest->vcpu[0], &state, &err), 0);
    guest_run(guest, EXIT_KICKED);
    assert_int_equal(guest->done_value, 1);
    guest_free(guest);
}

static void test_clock(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, 0);
    uint64_t now = 0;

    assert_int_equal(guest->type->clock_set(guest->vm, 1000000000000), 0);
    assert_int_equal(guest->type->clock_get(guest->vm, &now), 0);
    assert_in_range(now, 1000000000000, 1002000000000);
    guest_free(guest);
}

static void test_irqchip_outside(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);
    struct engine_config config = {.memory = guest->memory, .cpus = 1};
    struct engine_vm *vm;
    struct err err = ERR_INIT;
    int r = guest->type->vm_new(&config, &vm, &err);

    if (r == 0)
        guest->type->vm_free(vm);
    else
        assert_int_equal(r, -ENOTSUP);
    assert_true(r == 0 || err.message[0] != 0);
    guest_free(guest);
}

static bool armed(const struct guest *guest)
{
    uint64_t deadline = 0;

    assert_int_equal(kvm_get_msr(kvm_vcpu_of(guest->vcpu[0]), 0x6e0, &deadline), 0);
    return deadline != 0;
}

/* While time stands no deadline is met, however long that takes; what is saved has it. */
static void test_deadline_waits(void **ctx)
{
    struct guest *guest = guest_new(guest_engine, 1, ENGINE_IRQCHIP);
    struct lapic_state state, seen;
    uint64_t tsc[2] = {0};

    guest->type->tsc_set(guest->vm, tsc);
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &state, NULL), 0);
    state.svr = 0x1ff;
    state.lvt[LAPIC_LVT_TIMER] = 2 << 17 | VECTOR;
    state.tsc_deadline = guest->type->vcpu_tsc(guest->vcpu[0]) + guest->type->tsc_khz(guest->vm) * UINT64_C(3600000);
    assert_int_equal(guest->type->lapic_set(guest->vcpu[0], &state, NULL), 0);
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &seen, NULL), 0);
    if (seen.tsc_deadline != state.tsc_deadline) {
        guest_free(guest);
        SKIP("this host's KVM keeps no deadline");
    }
    guest->type->tsc_get(guest->vm, tsc);
    assert_false(armed(guest));
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &seen, NULL), 0);
    assert_int_equal(seen.tsc_deadline, state.tsc_deadline);
    seen.tsc_deadline++; /* as if loaded */
    assert_int_equal(guest->type->lapic_set(guest->vcpu[0], &seen, NULL), 0);
    assert_false(armed(guest));
    guest->type->tsc_set(guest->vm, tsc);
    assert_true(armed(guest));
    assert_int_equal(guest->type->lapic_get(guest->vcpu[0], &state, NULL), 0);
    assert_int_equal(state.tsc_deadline, seen.tsc_deadline);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_msi),
        cmocka_unit_test(test_msi_wakes_halted),
        cmocka_unit_test(test_irqfd),
        cmocka_unit_test(test_ioapic_line),
        cmocka_unit_test(test_pic_line),
        cmocka_unit_test(test_nmi),
        cmocka_unit_test(test_start_of_second_cpu),
        cmocka_unit_test(test_irqchip_round_trip),
        cmocka_unit_test(test_impossible_irqchip),
        cmocka_unit_test(test_lapic_round_trip),
        cmocka_unit_test(test_x2apic_round_trip),
        cmocka_unit_test(test_one_shot_that_ran_out),
        cmocka_unit_test(test_timer_interrupt),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_deadline_waits),
        cmocka_unit_test(test_irqchip_outside),
    };

    return GUEST_MAIN(argc, argv, tests);
}
