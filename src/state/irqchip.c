/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The field tables of PIC, PIT, IOAPIC and local APIC. Tags keep their meaning for ever: add new ones at the end. */
#include "state/irqchip.h"

const struct field pic_state_fields[] = {
    FIELD(1, struct pic_state, irr),
    FIELD(2, struct pic_state, imr),
    FIELD(3, struct pic_state, isr),
    FIELD(4, struct pic_state, last_lines),
    FIELD(5, struct pic_state, elcr),
    FIELD(6, struct pic_state, vector_base),
    FIELD(7, struct pic_state, init_state),
    FIELD(8, struct pic_state, icw4_needed),
    FIELD(9, struct pic_state, auto_eoi),
    FIELD(10, struct pic_state, rotate_on_auto_eoi),
    FIELD(11, struct pic_state, special_mask),
    FIELD(12, struct pic_state, special_fully_nested),
    FIELD(13, struct pic_state, priority_add),
    FIELD(14, struct pic_state, read_isr),
    FIELD(15, struct pic_state, poll),
    FIELD_END,
};

static const struct field pit_channel_state_fields[] = {
    FIELD(1, struct pit_channel_state, count),
    FIELD(2, struct pit_channel_state, latched_count),
    FIELD(3, struct pit_channel_state, count_latched),
    FIELD(4, struct pit_channel_state, status_latched),
    FIELD(5, struct pit_channel_state, status),
    FIELD(6, struct pit_channel_state, read_state),
    FIELD(7, struct pit_channel_state, write_state),
    FIELD(8, struct pit_channel_state, write_latch),
    FIELD(9, struct pit_channel_state, access_mode),
    FIELD(10, struct pit_channel_state, mode),
    FIELD(11, struct pit_channel_state, bcd),
    FIELD(12, struct pit_channel_state, gate),
    FIELD(13, struct pit_channel_state, count_load_time),
    FIELD_END,
};

const struct field pit_state_fields[] = {
    FIELD_STRUCTS(1, struct pit_state, channel, pit_channel_state_fields),
    FIELD(2, struct pit_state, speaker_data_on),
    FIELD_END,
};

const struct field ioapic_state_fields[] = {
    FIELD(1, struct ioapic_state, id),
    FIELD(2, struct ioapic_state, select),
    FIELD(3, struct ioapic_state, lines),
    FIELD_ARRAY(4, struct ioapic_state, redirection),
    FIELD_END,
};

const struct field lapic_state_fields[] = {
    FIELD(1, struct lapic_state, base_msr),
    FIELD(2, struct lapic_state, id),
    FIELD(3, struct lapic_state, tpr),
    FIELD(4, struct lapic_state, ldr),
    FIELD(5, struct lapic_state, dfr),
    FIELD(6, struct lapic_state, svr),
    FIELD(7, struct lapic_state, esr),
    FIELD_ARRAY(8, struct lapic_state, isr),
    FIELD_ARRAY(9, struct lapic_state, tmr),
    FIELD_ARRAY(10, struct lapic_state, irr),
    FIELD(11, struct lapic_state, icr),
    FIELD_ARRAY(12, struct lapic_state, lvt),
    FIELD(13, struct lapic_state, timer_initial),
    FIELD(14, struct lapic_state, timer_divide),
    FIELD(15, struct lapic_state, timer_start),
    FIELD(16, struct lapic_state, tsc_deadline),
    FIELD(17, struct lapic_state, esr_pending),
    FIELD_END,
};
