/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC's registers as the guest reaches them: by MMIO (xAPIC), by MSR (x2APIC), and the two MSRs beside them.
 *
 * Both ways share one register number: the MMIO offset / 16, and the MSR's number - 0x800. */
#include <errno.h>

#include "devices/pc/lapic_internal.h"

#define MSR_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800
#define MSR_X2APIC_END 0x8ff

enum {
    REGISTER_ID = 0x02,
    REGISTER_VERSION = 0x03,
    REGISTER_TPR = 0x08,
    REGISTER_ARBITRATION = 0x09,
    REGISTER_PPR = 0x0a,
    REGISTER_EOI = 0x0b,
    REGISTER_REMOTE_READ = 0x0c,
    REGISTER_LDR = 0x0d,
    REGISTER_DFR = 0x0e,
    REGISTER_SVR = 0x0f,
    REGISTER_ISR = 0x10,
    REGISTER_TMR = 0x18,
    REGISTER_IRR = 0x20,
    REGISTER_ESR = 0x28,
    REGISTER_ICR = 0x30,
    REGISTER_ICR_HIGH = 0x31,
    REGISTER_LVT = 0x32,
    REGISTER_INITIAL = 0x38,
    REGISTER_CURRENT = 0x39,
    REGISTER_DIVIDE = 0x3e,
    REGISTER_SELF_IPI = 0x3f,
};

#define PAGE 4096
#define VERSION ((LAPIC_LVT_COUNT - 1) << 16 | 0x14)
#define SVR_WRITABLE 0x3ffu
#define DIVIDE_WRITABLE 0xbu
#define ICR_LOW_WRITABLE 0xccfffu           /* all but delivery status and reserved bits */
#define ICR_X2APIC_RESERVED UINT64_C(0xfff32000)
#define ICR_DELIVERY_STATUS BIT(12)

static uint32_t lvt_writable(const struct lapic *lapic, unsigned entry)
{
    switch (entry) {
    case LAPIC_LVT_TIMER:
        return lapic->config.tsc_deadline ? 0x700ff : 0x300ff;
    case LAPIC_LVT_ERROR:
        return 0x100ff;
    case LAPIC_LVT_LINT0:
    case LAPIC_LVT_LINT1:
        return 0x1a7ff;
    default:
        return 0x107ff;
    }
}

/* Status bits: kept by hardware, a write to them does nothing and is no fault. */
static uint32_t lvt_status(unsigned entry)
{
    return entry == LAPIC_LVT_LINT0 || entry == LAPIC_LVT_LINT1 ? 0x5000 : 0x1000;
}

static uint32_t read_bitmap(const struct lapic *lapic, unsigned number)
{
    if (number < REGISTER_TMR)
        return lapic->s.isr[number - REGISTER_ISR];
    if (number < REGISTER_IRR)
        return lapic->s.tmr[number - REGISTER_TMR];
    return lapic->s.irr[number - REGISTER_IRR];
}

/* Those that read the same both ways. False: there is no such register. */
static bool read_common(const struct lapic *lapic, unsigned number, uint32_t *ret_value)
{
    const struct lapic_state *s = &lapic->s;

    switch (number) {
    case REGISTER_VERSION:
        *ret_value = VERSION;
        return true;
    case REGISTER_TPR:
        *ret_value = s->tpr;
        return true;
    case REGISTER_PPR:
        *ret_value = lapic_processor_priority(lapic);
        return true;
    case REGISTER_SVR:
        *ret_value = s->svr;
        return true;
    case REGISTER_ISR ... REGISTER_ESR - 1:
        *ret_value = read_bitmap(lapic, number);
        return true;
    case REGISTER_ESR:
        *ret_value = s->esr;
        return true;
    case REGISTER_LVT ... REGISTER_LVT + LAPIC_LVT_COUNT - 1:
        *ret_value = s->lvt[number - REGISTER_LVT];
        return true;
    case REGISTER_INITIAL:
        *ret_value = s->timer_initial;
        return true;
    case REGISTER_CURRENT:
        *ret_value = lapic_timer_current(lapic);
        return true;
    case REGISTER_DIVIDE:
        *ret_value = s->timer_divide;
        return true;
    }
    return false;
}

static uint32_t read_xapic(struct lapic *lapic, unsigned number)
{
    uint32_t value = 0;

    switch (number) {
    case REGISTER_ID:
        return lapic->s.id << 24;
    case REGISTER_ARBITRATION:
        return lapic_processor_priority(lapic);
    case REGISTER_EOI:
    case REGISTER_REMOTE_READ:
        return 0;
    case REGISTER_LDR:
        return lapic->s.ldr;
    case REGISTER_DFR:
        return lapic->s.dfr;
    case REGISTER_ICR:
        return lapic->s.icr;
    case REGISTER_ICR_HIGH:
        return lapic->s.icr >> 32;
    }
    if (!read_common(lapic, number, &value))
        lapic_error(lapic, LAPIC_ERROR_REGISTER);
    return value;
}

static void write_svr(struct lapic *lapic, uint32_t value)
{
    lapic->s.svr = value & SVR_WRITABLE;
    if ((lapic->s.svr & LAPIC_SVR_ENABLE) != 0)
        return;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic->s.lvt[i] |= LAPIC_LVT_MASKED;
}

static void write_lvt(struct lapic *lapic, unsigned entry, uint32_t value)
{
    value = (value & lvt_writable(lapic, entry)) | (lapic->s.lvt[entry] & lvt_status(entry));
    if ((lapic->s.svr & LAPIC_SVR_ENABLE) == 0)
        value |= LAPIC_LVT_MASKED;
    if ((value & LAPIC_LVT_LEVEL) == 0)
        value &= ~LAPIC_LVT_REMOTE_IRR;
    if (entry == LAPIC_LVT_TIMER)
        lapic_timer_set_lvt(lapic, value);
    else
        lapic->s.lvt[entry] = value;
    if (entry == LAPIC_LVT_LINT0)
        lapic_serve_lint0(lapic);
    lapic_update(lapic);
}

static void write_esr(struct lapic *lapic)
{
    lapic->s.esr = lapic->s.esr_pending;
    lapic->s.esr_pending = 0;
}

static void write_initial(struct lapic *lapic, uint32_t value)
{
    if (lapic_timer_mode(lapic) == LAPIC_TIMER_DEADLINE)
        return;
    lapic->s.timer_initial = value;
    lapic_timer_start(lapic);
}

/* Those that are written the same both ways. False: there is no such register, or it is read-only. */
static bool write_common(struct lapic *lapic, unsigned number, uint32_t value)
{
    switch (number) {
    case REGISTER_TPR:
        lapic->s.tpr = value & 0xff;
        lapic_update(lapic);
        return true;
    case REGISTER_EOI:
        lapic_end_of_interrupt(lapic);
        return true;
    case REGISTER_SVR:
        write_svr(lapic, value);
        lapic_update(lapic);
        return true;
    case REGISTER_ESR:
        write_esr(lapic);
        return true;
    case REGISTER_LVT ... REGISTER_LVT + LAPIC_LVT_COUNT - 1:
        write_lvt(lapic, number - REGISTER_LVT, value);
        return true;
    case REGISTER_INITIAL:
        write_initial(lapic, value);
        return true;
    case REGISTER_DIVIDE:
        lapic_timer_set_divide(lapic, value);
        return true;
    }
    return false;
}

static void write_xapic(struct lapic *lapic, unsigned number, uint32_t value)
{
    struct lapic_state *s = &lapic->s;

    switch (number) {
    case REGISTER_ID:
        s->id = value >> 24;
        return;
    case REGISTER_LDR:
        s->ldr = value & 0xff000000;
        return;
    case REGISTER_DFR:
        s->dfr = value | 0x0fffffff;
        return;
    case REGISTER_ICR:
        s->icr = (s->icr & ~UINT64_C(0xffffffff)) | (value & ICR_LOW_WRITABLE);
        lapic_send(lapic);
        return;
    case REGISTER_ICR_HIGH:
        s->icr = (uint64_t)(value & 0xff000000) << 32 | (uint32_t)s->icr;
        return;
    case REGISTER_VERSION:
    case REGISTER_ARBITRATION:
    case REGISTER_PPR:
    case REGISTER_REMOTE_READ:
    case REGISTER_ISR ... REGISTER_ESR - 1:
    case REGISTER_CURRENT:
        return;
    }
    if (!write_common(lapic, number, value))
        lapic_error(lapic, LAPIC_ERROR_REGISTER);
}

/* A register is 32 bits at a multiple of 16. Reads may be of a part of it; writes reach it whole only. */
uint64_t lapic_mmio_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    unsigned within = offset & 15;
    uint64_t value;

    if (within >= 4)
        return 0;
    value = read_xapic(lapic_of(dev), offset >> 4);
    return truncate_to(value >> (8 * within), size);
}

void lapic_mmio_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    if ((offset & 15) == 0 && size >= 4)
        write_xapic(lapic_of(dev), offset >> 4, value);
}

bool lapic_covers(const struct dev *dev, uint64_t address)
{
    const struct lapic *lapic = CONTAINER_OF(dev, struct lapic, dev);

    return lapic_enabled(lapic) && !lapic_is_x2apic(lapic) &&
           align_down(address, PAGE) == align_down(lapic->s.base_msr, PAGE);
}

static int read_x2apic(struct lapic *lapic, unsigned number, uint64_t *ret_value)
{
    uint32_t value;

    switch (number) {
    case REGISTER_ID:
        *ret_value = lapic->s.id;
        return 0;
    case REGISTER_LDR:
        *ret_value = lapic_x2apic_ldr(lapic->s.id);
        return 0;
    case REGISTER_ICR:
        *ret_value = lapic->s.icr;
        return 0;
    }
    if (!read_common(lapic, number, &value))
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* Bits that may be 1 in a write; the rest raises #GP. */
static uint64_t x2apic_writable(const struct lapic *lapic, unsigned number)
{
    switch (number) {
    case REGISTER_TPR:
    case REGISTER_SELF_IPI:
        return 0xff;
    case REGISTER_SVR:
        return SVR_WRITABLE;
    case REGISTER_ICR:
        return ~ICR_X2APIC_RESERVED;
    case REGISTER_LVT ... REGISTER_LVT + LAPIC_LVT_COUNT - 1:
        return lvt_writable(lapic, number - REGISTER_LVT) | lvt_status(number - REGISTER_LVT);
    case REGISTER_INITIAL:
        return UINT32_MAX;
    case REGISTER_DIVIDE:
        return DIVIDE_WRITABLE;
    default: /* EOI and ESR take only 0 */
        return 0;
    }
}

static int write_x2apic(struct lapic *lapic, unsigned number, uint64_t value)
{
    if ((value & ~x2apic_writable(lapic, number)) != 0)
        return -EINVAL;
    switch (number) {
    case REGISTER_ICR:
        lapic->s.icr = value & ~ICR_DELIVERY_STATUS;
        lapic_send(lapic);
        return 0;
    case REGISTER_SELF_IPI:
        lapic_send_self(lapic, value);
        return 0;
    }
    return write_common(lapic, number, value) ? 0 : -EINVAL;
}

/* SDM vol. 3 section 11.12.5: which of disabled, xAPIC and x2APIC may follow which. */
static bool base_transition_allowed(uint64_t old, uint64_t new)
{
    uint64_t mode = LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC;

    if ((new & mode) == LAPIC_BASE_X2APIC)
        return false;
    if ((new & mode) == mode)
        return (old & LAPIC_BASE_ENABLE) != 0;
    return (old & mode) != mode || (new & mode) == 0;
}

static int write_base(struct lapic *lapic, uint64_t value)
{
    struct lapic_state *s = &lapic->s;
    uint64_t old = s->base_msr;

    if (!lapic_base_is_possible(lapic, value) || !base_transition_allowed(old, value))
        return -EINVAL;
    s->base_msr = value;
    if (((old ^ value) & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) != 0) {
        s->id = lapic->dev.instance;
        s->icr &= UINT32_MAX;
        if (((old ^ value) & LAPIC_BASE_X2APIC) != 0)
            s->ldr = lapic_is_x2apic(lapic) ? lapic_x2apic_ldr(s->id) : 0;
    }
    lapic_update(lapic);
    return 0;
}

int lapic_msr_read(struct dev *dev, uint32_t msr, uint64_t *ret_value)
{
    struct lapic *lapic = lapic_of(dev);

    if (msr == MSR_BASE) {
        *ret_value = lapic->s.base_msr;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE && lapic->config.tsc_deadline) {
        *ret_value = lapic->s.tsc_deadline;
        return 0;
    }
    if (msr < MSR_X2APIC || msr > MSR_X2APIC_END || !lapic_is_x2apic(lapic))
        return -EINVAL;
    return read_x2apic(lapic, msr - MSR_X2APIC, ret_value);
}

int lapic_msr_write(struct dev *dev, uint32_t msr, uint64_t value)
{
    struct lapic *lapic = lapic_of(dev);

    if (msr == MSR_BASE)
        return write_base(lapic, value);
    if (msr == MSR_TSC_DEADLINE && lapic->config.tsc_deadline) {
        lapic_timer_set_deadline(lapic, value);
        return 0;
    }
    if (msr < MSR_X2APIC || msr > MSR_X2APIC_END || !lapic_is_x2apic(lapic))
        return -EINVAL;
    return write_x2apic(lapic, msr - MSR_X2APIC, value);
}

uint64_t lapic_tpr_read(const struct dev *dev)
{
    return CONTAINER_OF(dev, struct lapic, dev)->s.tpr >> 4;
}

void lapic_tpr_write(struct dev *dev, uint64_t value)
{
    struct lapic *lapic = lapic_of(dev);

    lapic->s.tpr = (value & 15) << 4;
    lapic_update(lapic);
}
