/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interrupt controllers and the PIT in the kernel, and their state between KVM's layouts and state/irqchip.h.
 *
 * Times in that layout are of the VM clock, which for this engine is kvmclock (clock_get, clock_set): set the clock before
 * the controllers. KVM's PIT starts its period anew when it is set. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "engine/kvm/internal.h"

#define ROUTES_MAX 1024u
#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0

int kvm_irqchip_new(struct kvm_vm *vm, struct err *err)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* with port 0x61, through which channel 2 is gated */
    int routes = kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING);
    int r = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);

    if (r == 0)
        r = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
    if (r < 0)
        return err_set(err, r, "KVM cannot make the interrupt controllers and the PIT: %s", strerror(-r));
    vm->routes_max = (unsigned)routes < 2 * IOAPIC_PINS ? 0 : (unsigned)routes - 2 * IOAPIC_PINS;
    if (vm->routes_max > ROUTES_MAX)
        vm->routes_max = ROUTES_MAX;
    r = kvm_routing_update(vm);
    if (r < 0)
        return err_set(err, r, "KVM refuses the wiring of the interrupt lines: %s", strerror(-r));
    return 0;
}

static void pic_from_kvm(const struct kvm_pic_state *from, struct pic_state *to)
{
    *to = (struct pic_state){.irr = from->irr,
                             .imr = from->imr,
                             .isr = from->isr,
                             .last_lines = from->last_irr,
                             .elcr = from->elcr,
                             .vector_base = from->irq_base,
                             .init_state = from->init_state != 0 ? from->init_state + 1 : 0,
                             .icw4_needed = from->init4,
                             .auto_eoi = from->auto_eoi,
                             .rotate_on_auto_eoi = from->rotate_on_auto_eoi,
                             .special_mask = from->special_mask,
                             .special_fully_nested = from->special_fully_nested_mode,
                             .priority_add = from->priority_add,
                             .read_isr = from->read_reg_select,
                             .poll = from->poll};
}

static void pic_to_kvm(const struct pic_state *from, unsigned chip, struct kvm_pic_state *to)
{
    *to = (struct kvm_pic_state){.irr = from->irr,
                                 .imr = from->imr,
                                 .isr = from->isr,
                                 .last_irr = from->last_lines,
                                 .elcr = from->elcr,
                                 .elcr_mask = chip == 0 ? 0xf8 : 0xde, /* lines 0, 1, 2, 8 and 13 are always edge */
                                 .irq_base = from->vector_base & 0xf8,
                                 .init_state = from->init_state != 0 ? from->init_state - 1 : 0,
                                 .init4 = from->icw4_needed,
                                 .auto_eoi = from->auto_eoi,
                                 .rotate_on_auto_eoi = from->rotate_on_auto_eoi,
                                 .special_mask = from->special_mask,
                                 .special_fully_nested_mode = from->special_fully_nested,
                                 .priority_add = from->priority_add & 7,
                                 .read_reg_select = from->read_isr,
                                 .poll = from->poll};
}

static void ioapic_from_kvm(const struct kvm_ioapic_state *from, struct ioapic_state *to)
{
    *to = (struct ioapic_state){.id = from->id, .select = from->ioregsel, .lines = from->irr};
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        to->redirection[i] = from->redirtbl[i].bits;
}

static void ioapic_to_kvm(const struct ioapic_state *from, struct kvm_ioapic_state *to)
{
    *to = (struct kvm_ioapic_state){
        .base_address = 0xfec00000, .id = from->id & 15, .ioregsel = from->select, .irr = from->lines};
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        to->redirtbl[i].bits = from->redirection[i];
}

/* KVM counts a channel's time by the host's monotonic clock; `offset` leads from there to the VM clock. */
static void pit_from_kvm(const struct kvm_pit_state2 *from, int64_t offset, struct pit_state *to)
{
    for (unsigned i = 0; i < 3; i++) {
        const struct kvm_pit_channel_state *channel = &from->channels[i];
        to->channel[i] = (struct pit_channel_state){.count = channel->count,
                                                    .latched_count = channel->latched_count,
                                                    .count_latched = channel->count_latched,
                                                    .status_latched = channel->status_latched,
                                                    .status = channel->status,
                                                    .read_state = channel->read_state,
                                                    .write_state = channel->write_state,
                                                    .write_latch = channel->write_latch,
                                                    .access_mode = channel->rw_mode,
                                                    .mode = channel->mode,
                                                    .bcd = channel->bcd,
                                                    .gate = channel->gate,
                                                    .count_load_time = channel->count_load_time + offset};
    }
    to->speaker_data_on = (from->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON) != 0;
}

static void pit_to_kvm(const struct pit_state *from, int64_t offset, struct kvm_pit_state2 *to)
{
    *to = (struct kvm_pit_state2){.flags = from->speaker_data_on ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0};
    for (unsigned i = 0; i < 3; i++) {
        const struct pit_channel_state *channel = &from->channel[i];
        to->channels[i] = (struct kvm_pit_channel_state){.count = channel->count,
                                                         .latched_count = channel->latched_count,
                                                         .count_latched = channel->count_latched,
                                                         .status_latched = channel->status_latched,
                                                         .status = channel->status,
                                                         .read_state = channel->read_state,
                                                         .write_state = channel->write_state,
                                                         .write_latch = channel->write_latch,
                                                         .rw_mode = channel->access_mode,
                                                         .mode = channel->mode,
                                                         .bcd = channel->bcd,
                                                         .gate = channel->gate,
                                                         .count_load_time = channel->count_load_time - offset};
    }
}

/* VM clock less host's monotonic clock. */
static int clock_offset(struct kvm_vm *vm, int64_t *ret_offset)
{
    uint64_t now;
    int r = kvm_clock_get(&vm->base, &now);

    if (r < 0)
        return r;
    *ret_offset = (int64_t)now - host_monotonic_ns();
    return 0;
}

static int get_chip(struct kvm_vm *vm, unsigned id, struct kvm_irqchip *chip)
{
    *chip = (struct kvm_irqchip){.chip_id = id};
    return kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, chip);
}

int kvm_irqchip_get(struct engine_vm *base, struct irqchip_state *ret_state, struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    struct kvm_irqchip pic[2], ioapic;
    struct kvm_pit_state2 pit;
    int64_t offset;
    int r;

    if ((r = get_chip(vm, KVM_IRQCHIP_PIC_MASTER, &pic[0])) < 0 ||
        (r = get_chip(vm, KVM_IRQCHIP_PIC_SLAVE, &pic[1])) < 0 || (r = get_chip(vm, KVM_IRQCHIP_IOAPIC, &ioapic)) < 0 ||
        (r = kvm_ioctl(vm->fd, KVM_GET_PIT2, &pit)) < 0 || (r = clock_offset(vm, &offset)) < 0)
        return err_set(err, r, "KVM does not give the state of the interrupt controllers: %s", strerror(-r));
    for (unsigned i = 0; i < 2; i++)
        pic_from_kvm(&pic[i].chip.pic, &ret_state->pic[i]);
    ioapic_from_kvm(&ioapic.chip.ioapic, &ret_state->ioapic);
    pit_from_kvm(&pit, offset, &ret_state->pit);
    return 0;
}

#define PIT_MODE_NONE 0xff /* no control word yet, in KVM as in our device */

static int check_irqchip(const struct irqchip_state *state, struct err *err)
{
    for (unsigned i = 0; i < 2; i++)
        if (state->pic[i].init_state > 4 || state->pic[i].init_state == 1)
            return err_set(err, -EINVAL, "saved PIC state is impossible: it waits for ICW%u", state->pic[i].init_state);
    for (unsigned i = 0; i < 3; i++)
        if (state->pit.channel[i].count > 65536 ||
            (state->pit.channel[i].mode > 5 && state->pit.channel[i].mode != PIT_MODE_NONE))
            return err_set(err, -EINVAL, "saved PIT state is impossible: channel %u counts %u in mode %u", i,
                           state->pit.channel[i].count, state->pit.channel[i].mode);
    return 0;
}

int kvm_irqchip_set(struct engine_vm *base, const struct irqchip_state *state, struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    struct kvm_irqchip chip;
    struct kvm_pit_state2 pit;
    int64_t offset;
    int r = check_irqchip(state, err);

    if (r < 0)
        return r;
    r = clock_offset(vm, &offset);
    for (unsigned i = 0; r >= 0 && i < 2; i++) {
        chip = (struct kvm_irqchip){.chip_id = i == 0 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE};
        pic_to_kvm(&state->pic[i], i, &chip.chip.pic);
        r = kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip);
    }
    if (r >= 0) {
        chip = (struct kvm_irqchip){.chip_id = KVM_IRQCHIP_IOAPIC};
        ioapic_to_kvm(&state->ioapic, &chip.chip.ioapic);
        r = kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip);
    }
    if (r >= 0) {
        pit_to_kvm(&state->pit, offset, &pit);
        r = kvm_ioctl(vm->fd, KVM_SET_PIT2, &pit);
    }
    if (r < 0)
        return err_set(err, r, "KVM refuses the state of the interrupt controllers: %s", strerror(-r));
    return 0;
}

enum { /* byte offsets in the local APIC's page, SDM vol. 3 table 11-1 */
    LAPIC_ID = 0x20, LAPIC_TPR = 0x80, LAPIC_LDR = 0xd0, LAPIC_DFR = 0xe0, LAPIC_SVR = 0xf0, LAPIC_ISR = 0x100,
    LAPIC_TMR = 0x180, LAPIC_IRR = 0x200, LAPIC_ESR = 0x280, LAPIC_ICR = 0x300, LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT = 0x320, LAPIC_INITIAL = 0x380, LAPIC_CURRENT = 0x390, LAPIC_DIVIDE = 0x3e0,
};
#define LVT_TIMER_MODE (3u << 17)
#define LVT_TIMER_PERIODIC (1u << 17)

static uint32_t get_register(const struct kvm_lapic_state *page, unsigned offset)
{
    return load_le32(page->regs + offset);
}

static void set_register(struct kvm_lapic_state *page, unsigned offset, uint32_t value)
{
    store_le32(page->regs + offset, value);
}

/* Nanoseconds per count of the timer: KVM's APIC bus has 1 GHz; SDM vol. 3 figure 11-10 for the divider. */
static int64_t nanoseconds_per_count(uint32_t divide)
{
    unsigned code = (divide & 3) | ((divide >> 1) & 4);

    return INT64_C(1) << ((code + 1) & 7);
}

static void timer_from_kvm(const struct kvm_lapic_state *page, int64_t now, struct lapic_state *state)
{
    int64_t counted = (int64_t)state->timer_initial - get_register(page, LAPIC_CURRENT);

    state->timer_start = state->timer_initial != 0 ? now - counted * nanoseconds_per_count(state->timer_divide) : 0;
}

/* KVM starts the timer with what the current-count register holds. A one-shot that has run out would fire again with 0
 * there, so it gets an initial count of 0: stopped. */
static void timer_to_kvm(const struct lapic_state *state, int64_t now, struct kvm_lapic_state *page)
{
    int64_t counted = (now - state->timer_start) / nanoseconds_per_count(state->timer_divide);
    int64_t initial = state->timer_initial;
    bool periodic = (state->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_PERIODIC;

    if (counted < 0)
        counted = 0;
    if (periodic && initial != 0)
        counted %= initial;
    if (!periodic && counted >= initial)
        initial = counted = 0;
    set_register(page, LAPIC_INITIAL, (uint32_t)initial);
    set_register(page, LAPIC_CURRENT, (uint32_t)(initial - counted));
}

static void registers_from_kvm(const struct kvm_lapic_state *page, struct lapic_state *state)
{
    state->id = get_register(page, LAPIC_ID) >> 24; /* so in x2APIC mode too, unless KVM_CAP_X2APIC_API is turned on */
    state->tpr = get_register(page, LAPIC_TPR);
    state->ldr = get_register(page, LAPIC_LDR);
    state->dfr = get_register(page, LAPIC_DFR);
    state->svr = get_register(page, LAPIC_SVR);
    state->esr = get_register(page, LAPIC_ESR);
    for (unsigned i = 0; i < 8; i++) {
        state->isr[i] = get_register(page, LAPIC_ISR + 16 * i);
        state->tmr[i] = get_register(page, LAPIC_TMR + 16 * i);
        state->irr[i] = get_register(page, LAPIC_IRR + 16 * i);
    }
    state->icr = get_register(page, LAPIC_ICR) | (uint64_t)get_register(page, LAPIC_ICR_HIGH) << 32;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        state->lvt[i] = get_register(page, LAPIC_LVT + 16 * i);
    state->timer_initial = get_register(page, LAPIC_INITIAL);
    state->timer_divide = get_register(page, LAPIC_DIVIDE);
}

static void registers_to_kvm(const struct lapic_state *state, struct kvm_lapic_state *page)
{
    set_register(page, LAPIC_ID, state->id << 24);
    set_register(page, LAPIC_TPR, state->tpr);
    set_register(page, LAPIC_LDR, state->ldr);
    set_register(page, LAPIC_DFR, state->dfr);
    set_register(page, LAPIC_SVR, state->svr);
    set_register(page, LAPIC_ESR, state->esr);
    for (unsigned i = 0; i < 8; i++) {
        set_register(page, LAPIC_ISR + 16 * i, state->isr[i]);
        set_register(page, LAPIC_TMR + 16 * i, state->tmr[i]);
        set_register(page, LAPIC_IRR + 16 * i, state->irr[i]);
    }
    set_register(page, LAPIC_ICR, (uint32_t)state->icr);
    set_register(page, LAPIC_ICR_HIGH, (uint32_t)(state->icr >> 32));
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        set_register(page, LAPIC_LVT + 16 * i, state->lvt[i]);
    set_register(page, LAPIC_DIVIDE, state->timer_divide);
}

int kvm_lapic_get(struct engine_vcpu *base, struct lapic_state *ret_state, struct err *err)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);
    struct lapic_state state = {0};
    struct kvm_lapic_state page;
    uint64_t now;
    int r;

    if ((r = kvm_get_msr(vcpu, MSR_APIC_BASE, &state.base_msr)) < 0 ||
        (r = kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &page)) < 0 || (r = kvm_clock_get(&vcpu->vm->base, &now)) < 0)
        return err_set(err, r, "KVM does not give the local APIC of CPU %u: %s", vcpu->id, strerror(-r));
    registers_from_kvm(&page, &state);
    timer_from_kvm(&page, (int64_t)now, &state);
    if (vcpu->vm->time_stands)
        state.tsc_deadline = vcpu->deadline;
    else
        kvm_get_msr(vcpu, MSR_TSC_DEADLINE, &state.tsc_deadline); /* a CPU without it has none armed */
    *ret_state = state;
    return 0;
}

int kvm_lapic_set(struct engine_vcpu *base, const struct lapic_state *state, struct err *err)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);
    struct kvm_lapic_state page;
    uint64_t now;
    int r;

    /* The base first, because it says in which mode the page is to be read; the deadline last, because it counts only in
     * the mode that the timer's LVT entry selects, and only when time goes on. */
    if ((r = kvm_set_msr(vcpu, MSR_APIC_BASE, state->base_msr)) < 0 ||
        (r = kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &page)) < 0 || (r = kvm_clock_get(&vcpu->vm->base, &now)) < 0)
        return err_set(err, r, "KVM refuses the APIC base of CPU %u: %s", vcpu->id, strerror(-r));
    registers_to_kvm(state, &page);
    timer_to_kvm(state, (int64_t)now, &page);
    r = kvm_ioctl(vcpu->fd, KVM_SET_LAPIC, &page);
    if (r < 0)
        return err_set(err, r, "KVM refuses the local APIC of CPU %u: %s", vcpu->id, strerror(-r));
    if (vcpu->vm->time_stands)
        vcpu->deadline = state->tsc_deadline;
    else if (state->tsc_deadline != 0 && kvm_set_msr(vcpu, MSR_TSC_DEADLINE, state->tsc_deadline) < 0)
        kvm_refused(vcpu->vm, KVM_REFUSED_MSR, MSR_TSC_DEADLINE, state->tsc_deadline);
    return 0;
}
