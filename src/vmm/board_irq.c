/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC board's interrupts: lines and messages to the controllers, wherever they live, and what the engine calls. */
#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "bus/bus.h"
#include "bus/platform.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/pic.h"
#include "devices/pc/pit.h"
#include "vmm/board_pc.h"
#include "x86/cpuid.h"

/* ISA interrupts reach both the 8259s and the IOAPIC, the timer's IRQ 0 as GSI 2 there. */
void board_set_gsi(void *ctx, unsigned gsi, bool level)
{
    struct board *board = ctx;
    struct machine *machine = board->machine;

    if (board_irqchip_in_engine(board)) {
        machine->engine_type->irq_line(machine->vm, gsi, level);
        return;
    }
    if (gsi == 0)
        gsi = PLATFORM_GSI_PIT;
    if (gsi == PLATFORM_GSI_PIT)
        pic_set_line(board->pic[0], 0, level);
    else if (gsi < 16)
        pic_set_line(board->pic[gsi / 8], gsi % 8, level);
    if (gsi < IOAPIC_PINS)
        ioapic_set_line(board->ioapic, gsi, level);
}

struct irq_line board_line(struct board *board, unsigned gsi)
{
    return (struct irq_line){.set = board_set_gsi, .ctx = board, .number = gsi};
}

static void send_msi(void *ctx, uint64_t address, uint32_t data)
{
    struct board *board = ctx;
    struct machine *machine = board->machine;

    if (board_irqchip_in_engine(board))
        machine->engine_type->msi(machine->vm, address, data);
    else
        lapic_msi(&board->lapics, address, data);
}

struct msi_target board_msi(struct board *board)
{
    return (struct msi_target){.send = send_msi, .ctx = board};
}

/* What the local APICs tell their CPUs. */

static void set_interrupt(void *ctx, unsigned cpu, bool level)
{
    struct machine *machine = ctx;

    machine->engine_type->vcpu_set_interrupt(machine->cpu[cpu].vcpu, level);
}

static void send_nmi(void *ctx, unsigned cpu)
{
    struct machine *machine = ctx;

    machine->engine_type->vcpu_nmi(machine->cpu[cpu].vcpu);
    machine_wake(machine, cpu);
}

static void send_init(void *ctx, unsigned cpu)
{
    struct machine *machine = ctx;

    machine->engine_type->vcpu_init(machine->cpu[cpu].vcpu);
    machine_wake(machine, cpu);
}

static void send_sipi(void *ctx, unsigned cpu, uint8_t vector)
{
    struct machine *machine = ctx;

    machine->engine_type->vcpu_sipi(machine->cpu[cpu].vcpu, vector);
    machine_wake(machine, cpu);
}

static uint64_t tsc_now(void *ctx, unsigned cpu)
{
    struct machine *machine = ctx;

    if (machine->engine_type->vcpu_tsc != NULL)
        return machine->engine_type->vcpu_tsc(machine->cpu[cpu].vcpu);
    return (unsigned __int128)clock_now(&machine->clock) * machine->engine_type->tsc_khz(machine->vm) / 1000000;
}

static void end_of_interrupt(void *ctx, uint8_t vector)
{
    struct machine *machine = ctx;

    ioapic_end_of_interrupt(machine->board->ioapic, vector);
}

static int acknowledge_pic(void *ctx)
{
    struct machine *machine = ctx;

    return pic_acknowledge(machine->board->pic[0]);
}

static int add_lapics(struct board *board, struct err *err)
{
    struct machine *machine = board->machine;
    const struct cpuid_entry *features = cpuid_find(&machine->cpuid, 1, 0);
    const struct cpuid_entry *sizes = cpuid_find(&machine->cpuid, 0x80000008, 0);
    const struct lapic_config config = {
        .group = &board->lapics,
        .ctx = machine,
        .set_interrupt = set_interrupt,
        .nmi = send_nmi,
        .init = send_init,
        .sipi = send_sipi,
        .eoi_broadcast = end_of_interrupt,
        .extint_acknowledge = acknowledge_pic,
        .tsc_now = tsc_now,
        .tsc_khz = machine->engine_type->tsc_khz(machine->vm),
        .physical_bits = sizes != NULL ? sizes->eax & 0xff : 36,
        .x2apic = features != NULL && (features->ecx & BIT(21)) != 0,
        .tsc_deadline = features != NULL && (features->ecx & BIT(24)) != 0,
        .virtual_wire = true,
    };
    int r = 0;

    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++)
        r = board_add(board, &lapic_type, i, &config, NULL, err);
    return r;
}

void board_set_tsc_khz(struct board *board, uint32_t khz)
{
    for (unsigned i = 0; i < board->lapics.count; i++)
        if (board->lapics.lapic[i] != NULL)
            lapic_set_tsc_khz(board->lapics.lapic[i], khz);
}

/* The 8259s' INT is the first CPU's LINT0. */
static void set_int(void *ctx, unsigned number, bool level)
{
    struct board *board = ctx;

    lapic_set_lint(board->lapics.lapic[0], 0, level);
}

static int add_pics(struct board *board, struct err *err)
{
    struct pic_config config = {.output = {.set = set_int, .ctx = board}};
    int r = board_add(board, &pic_type, 1, &config, &board->pic[1], err);

    config.secondary = board->pic[1];
    if (r == 0)
        r = board_add(board, &pic_type, 0, &config, &board->pic[0], err);
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        r = board_place(board, board->pic[i], PIC_WINDOW_COMMAND, BUS_PORT,
                        i == 0 ? PLATFORM_PORT_PIC_PRIMARY : PLATFORM_PORT_PIC_SECONDARY, 2, err);
        if (r == 0)
            r = board_place(board, board->pic[i], PIC_WINDOW_ELCR, BUS_PORT, PLATFORM_PORT_ELCR + i, 1, err);
    }
    return r;
}

static bool deliver(void *ctx, uint8_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                    bool level_triggered)
{
    struct board *board = ctx;

    return lapic_deliver(&board->lapics, destination, logical, delivery_mode, vector, level_triggered);
}

static int add_ioapic(struct board *board, struct err *err)
{
    const struct ioapic_config config = {.ctx = board, .deliver = deliver, .version = 0x11};
    int r = board_add(board, &ioapic_type, 0, &config, &board->ioapic, err);

    return r < 0 ? r : board_place(board, board->ioapic, 0, BUS_MMIO, PLATFORM_IOAPIC, PLATFORM_IOAPIC_SIZE, err);
}

static int add_pit(struct board *board, struct err *err)
{
    const struct pit_config config = {.irq = board_line(board, PLATFORM_GSI_PIT)};
    struct dev *pit;
    int r = board_add(board, &pit_type, 0, &config, &pit, err);

    if (r == 0)
        r = board_place(board, pit, PIT_WINDOW_COUNTERS, BUS_PORT, PLATFORM_PORT_PIT, 4, err);
    return r < 0 ? r : board_place(board, pit, PIT_WINDOW_SPEAKER, BUS_PORT, PLATFORM_PORT_SPEAKER, 1, err);
}

static int note_engine_state(struct board *board, struct err *err)
{
    struct machine *machine = board->machine;
    int r = machine->engine_type->irqchip_get(machine->vm, &board->irqchip_initial, err);

    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++)
        r = machine->engine_type->lapic_get(machine->cpu[i].vcpu, &board->lapic_initial[i], err);
    return r;
}

int board_add_interrupt_controllers(struct board *board, struct err *err)
{
    int r;

    if (board_irqchip_in_engine(board))
        return note_engine_state(board, err);
    r = add_lapics(board, err);
    if (r == 0)
        r = add_pics(board, err);
    if (r == 0)
        r = add_ioapic(board, err);
    if (r == 0)
        r = add_pit(board, err);
    return r;
}

/* What the engine calls: vCPU threads, without the lock. */

static struct dev *lapic_of(struct machine *machine, unsigned cpu)
{
    return machine->board->lapics.lapic[cpu];
}

static uint64_t port_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    struct machine *machine = ctx;
    uint64_t value;

    pthread_mutex_lock(&machine->lock);
    value = bus_read(&machine->bus, BUS_PORT, port, size);
    pthread_mutex_unlock(&machine->lock);
    return value;
}

static void port_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    struct machine *machine = ctx;

    pthread_mutex_lock(&machine->lock);
    bus_write(&machine->bus, BUS_PORT, port, size, value);
    pthread_mutex_unlock(&machine->lock);
}

static uint64_t mmio_read(void *ctx, unsigned cpu, uint64_t address, unsigned size)
{
    struct machine *machine = ctx;
    struct dev *lapic = lapic_of(machine, cpu);
    uint64_t value;

    pthread_mutex_lock(&machine->lock);
    if (lapic != NULL && lapic_covers(lapic, address))
        value = lapic->type->read(lapic, 0, address & (PLATFORM_LAPIC_SIZE - 1), size);
    else
        value = bus_read(&machine->bus, BUS_MMIO, address, size);
    pthread_mutex_unlock(&machine->lock);
    return value;
}

static void mmio_write(void *ctx, unsigned cpu, uint64_t address, unsigned size, uint64_t value)
{
    struct machine *machine = ctx;
    struct dev *lapic = lapic_of(machine, cpu);

    pthread_mutex_lock(&machine->lock);
    if (lapic != NULL && lapic_covers(lapic, address))
        lapic->type->write(lapic, 0, address & (PLATFORM_LAPIC_SIZE - 1), size, value);
    else
        bus_write(&machine->bus, BUS_MMIO, address, size, value);
    pthread_mutex_unlock(&machine->lock);
}

static int interrupt_acknowledge(void *ctx, unsigned cpu)
{
    struct machine *machine = ctx;
    int vector;

    pthread_mutex_lock(&machine->lock);
    vector = lapic_acknowledge(lapic_of(machine, cpu));
    pthread_mutex_unlock(&machine->lock);
    return vector;
}

static int apic_msr_read(void *ctx, unsigned cpu, uint32_t msr, uint64_t *ret_value)
{
    struct machine *machine = ctx;
    int r;

    pthread_mutex_lock(&machine->lock);
    r = lapic_msr_read(lapic_of(machine, cpu), msr, ret_value);
    pthread_mutex_unlock(&machine->lock);
    return r;
}

static int apic_msr_write(void *ctx, unsigned cpu, uint32_t msr, uint64_t value)
{
    struct machine *machine = ctx;
    int r;

    pthread_mutex_lock(&machine->lock);
    r = lapic_msr_write(lapic_of(machine, cpu), msr, value);
    pthread_mutex_unlock(&machine->lock);
    return r;
}

static unsigned apic_send(void *ctx, const uint64_t bitmap[static 2], uint32_t first, uint64_t icr)
{
    struct machine *machine = ctx;
    unsigned taken;

    pthread_mutex_lock(&machine->lock);
    taken = lapic_deliver_many(&machine->board->lapics, bitmap, first, (unsigned)bit_range(icr, 10, 8), (uint8_t)icr);
    pthread_mutex_unlock(&machine->lock);
    return taken;
}

static uint64_t tpr_read(void *ctx, unsigned cpu)
{
    struct machine *machine = ctx;
    uint64_t value;

    pthread_mutex_lock(&machine->lock);
    value = lapic_tpr_read(lapic_of(machine, cpu));
    pthread_mutex_unlock(&machine->lock);
    return value;
}

static void tpr_write(void *ctx, unsigned cpu, uint64_t value)
{
    struct machine *machine = ctx;

    pthread_mutex_lock(&machine->lock);
    lapic_tpr_write(lapic_of(machine, cpu), value);
    pthread_mutex_unlock(&machine->lock);
}

/* What a host refuses (an MSR, a CPUID bit) is worth a line, once each: the engine sees to the once. */
static void notice(void *ctx, const char *text)
{
    log_warning("%s", text);
}

void board_fill_hooks(struct machine *machine, struct engine_hooks *ret_hooks)
{
    *ret_hooks = (struct engine_hooks){
        .ctx = machine,
        .port_read = port_read,
        .port_write = port_write,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .interrupt_acknowledge = interrupt_acknowledge,
        .apic_msr_read = apic_msr_read,
        .apic_msr_write = apic_msr_write,
        .apic_send = apic_send,
        .tpr_read = tpr_read,
        .tpr_write = tpr_write,
        .notice = notice,
    };
}
