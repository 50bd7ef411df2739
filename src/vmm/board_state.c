/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC board's saved state: a section a device, and the interrupt controllers in the same sections wherever they live. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/pic.h"
#include "devices/pc/pit.h"
#include "state/section.h"
#include "vmm/board_pc.h"

static int set_engine_state(struct board *board, const struct irqchip_state *irqchip, const struct lapic_state *lapic,
                            struct err *err)
{
    struct machine *machine = board->machine;
    int r = machine->engine_type->irqchip_set(machine->vm, irqchip, err);

    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++)
        r = machine->engine_type->lapic_set(machine->cpu[i].vcpu, &lapic[i], err);
    return r;
}

/* The pins of CPUs that have just been reset or loaded know nothing of their local APICs. */
static void tell_cpus(struct board *board)
{
    struct machine *machine = board->machine;

    for (unsigned i = 0; i < machine->cpu_count; i++)
        machine->engine_type->vcpu_set_interrupt(machine->cpu[i].vcpu, lapic_output(board->lapics.lapic[i]));
}

int board_reset(struct board *board, struct err *err)
{
    plug_before_reset(board);
    for (unsigned i = 0; i < board->device_count; i++)
        dev_reset(board->device[i]);
    if (board_irqchip_in_engine(board))
        return set_engine_state(board, &board->irqchip_initial, board->lapic_initial, err);
    tell_cpus(board);
    return 0;
}

static int save_engine_state(struct board *board, struct buffer *out, struct err *err)
{
    struct machine *machine = board->machine;
    struct irqchip_state irqchip;
    int r = machine->engine_type->irqchip_get(machine->vm, &irqchip, err);

    for (unsigned i = 0; r == 0 && i < 2; i++)
        r = section_write(out, pic_type.name, i, pic_type.version, pic_state_fields, &irqchip.pic[i]);
    if (r == 0)
        r = section_write(out, pit_type.name, 0, pit_type.version, pit_state_fields, &irqchip.pit);
    if (r == 0)
        r = section_write(out, ioapic_type.name, 0, ioapic_type.version, ioapic_state_fields, &irqchip.ioapic);
    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++) {
        struct lapic_state lapic;

        r = machine->engine_type->lapic_get(machine->cpu[i].vcpu, &lapic, err);
        if (r == 0)
            r = section_write(out, lapic_type.name, i, lapic_type.version, lapic_state_fields, &lapic);
    }
    return r;
}

/* The sections of interrupt controllers that the engine has. */
static bool engine_section(const struct board *board, unsigned i, struct board_section *ret_section)
{
    const struct dev_type *const types[] = {&pic_type, &pic_type, &pit_type, &ioapic_type, &lapic_type};
    unsigned fixed = ARRAY_SIZE(types) - 1;
    const struct dev_type *type = types[i < fixed ? i : fixed];

    if (!board_irqchip_in_engine(board) || i >= fixed + board->machine->cpu_count)
        return false;
    *ret_section = (struct board_section){.name = type->name, .version = type->version,
                                          .instance = i < 2 ? i : i < fixed ? 0 : i - fixed};
    return true;
}

bool board_section(const struct board *board, unsigned i, struct board_section *ret_section)
{
    for (unsigned k = 0; k < board->device_count; k++) {
        const struct dev *dev = board->device[k];

        if (dev->type->fields != NULL && i-- == 0) {
            *ret_section = (struct board_section){.name = dev->type->name, .instance = dev->instance, .version = dev->type->version};
            return true;
        }
    }
    return engine_section(board, i, ret_section);
}

int board_save(struct board *board, struct buffer *out, struct err *err)
{
    int r = board_irqchip_in_engine(board) ? save_engine_state(board, out, err) : 0;

    plug_serve_ejected(board);
    for (unsigned i = 0; r == 0 && i < board->device_count; i++) {
        if (board->device[i]->type->fields != NULL)
            r = dev_save(board->device[i], out);
    }
    return r;
}

/* A section of an interrupt controller that the engine has; -ENOENT for others. */
static int load_engine_section(struct board *board, const struct section *section, struct err *err)
{
    struct irqchip_state *irqchip = &board->irqchip_loading;
    const struct {
        const struct dev_type *type;
        const struct field *fields;
        unsigned count;
        void *first;
        size_t size;
    } places[] = {
        {&lapic_type, lapic_state_fields, board->machine->cpu_count, board->lapic_loading, sizeof(struct lapic_state)},
        {&pic_type, pic_state_fields, 2, irqchip->pic, sizeof(struct pic_state)},
        {&pit_type, pit_state_fields, 1, &irqchip->pit, sizeof(struct pit_state)},
        {&ioapic_type, ioapic_state_fields, 1, &irqchip->ioapic, sizeof(struct ioapic_state)},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        int r;

        if (!text_equal(section->name, places[i].type->name) || section->instance >= places[i].count)
            continue;
        r = section_check_version(section, places[i].type->version, err);
        return r < 0 ? r : section_read(section, places[i].fields, (char *)places[i].first + section->instance * places[i].size,
                                        places[i].size, err);
    }
    return -ENOENT;
}

void board_load_begin(struct board *board)
{
    board_set_running(board, false); /* what is loaded begins to work when the VM does, not before */
    plug_load_begin(board);
    board->irqchip_loading = board->irqchip_initial;
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        board->lapic_loading[i] = board->lapic_initial[i];
}

static int load_device(struct board *board, struct dev *dev, const struct section *section, struct err *err)
{
    int r = dev_load(dev, section, err);

    if (r == 0)
        plug_loaded(board, dev);
    return r;
}

int board_load(struct board *board, const struct section *section, struct err *err)
{
    for (unsigned i = 0; i < board->device_count; i++) {
        struct dev *dev = board->device[i];

        if (text_equal(dev->type->name, section->name) && dev->instance == section->instance)
            return load_device(board, dev, section, err);
    }
    return board_irqchip_in_engine(board) ? load_engine_section(board, section, err) : -ENOENT;
}

int board_load_end(struct board *board, struct err *err)
{
    int r = plug_load_end(board, err);

    if (r < 0)
        return r;
    if (board_irqchip_in_engine(board))
        return set_engine_state(board, &board->irqchip_loading, board->lapic_loading, err);
    tell_cpus(board);
    return 0;
}
