/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Local APICs: priorities, EOI, messages and their destinations, both register interfaces, mode changes, timers. */
#include "pc_harness.h"

#include <errno.h>

#include "base/bits.h"
#include "devices/pc/lapic.h"
#include "state/irqchip.h"

#define CPUS 4
#define TSC_KHZ 2000000 /* two ticks a nanosecond */
#define BASE UINT64_C(0xfee00000)
#define ENABLE BIT(11)
#define X2APIC BIT(10)
#define MASKED 0x10000u

enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100,
       TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, LVT_LINT0 = 0x350,
       LVT_LINT1 = 0x360, LVT_ERROR = 0x370, INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };

struct fixture {
    struct harness h;
    struct lapic_group group;
    struct dev *cpu[CPUS];
    bool interrupt[CPUS];
    unsigned nmis[CPUS], inits[CPUS], sipis[CPUS];
    uint8_t sipi_vector;
    unsigned broadcasts;
    uint8_t broadcast_vector;
    int pic_vector;
    uint64_t tsc_ahead;
};

static void set_interrupt(void *ctx, unsigned cpu, bool level)
{
    ((struct fixture *)ctx)->interrupt[cpu] = level;
}

static void nmi(void *ctx, unsigned cpu)
{
    ((struct fixture *)ctx)->nmis[cpu]++;
}

static void init(void *ctx, unsigned cpu)
{
    ((struct fixture *)ctx)->inits[cpu]++;
}

static void sipi(void *ctx, unsigned cpu, uint8_t vector)
{
    ((struct fixture *)ctx)->sipis[cpu]++;
    ((struct fixture *)ctx)->sipi_vector = vector;
}

static void eoi_broadcast(void *ctx, uint8_t vector)
{
    ((struct fixture *)ctx)->broadcasts++;
    ((struct fixture *)ctx)->broadcast_vector = vector;
}

static int extint_acknowledge(void *ctx)
{
    return ((struct fixture *)ctx)->pic_vector;
}

static uint64_t tsc_now(void *ctx, unsigned cpu)
{
    struct fixture *f = ctx;

    return (uint64_t)clock_now(&f->h.clock) * 2 + f->tsc_ahead;
}

static void put(struct fixture *f, unsigned cpu, unsigned offset, uint32_t value)
{
    dev_out(f->cpu[cpu], 0, offset, 4, value);
}

static uint32_t get(struct fixture *f, unsigned cpu, unsigned offset)
{
    return dev_in(f->cpu[cpu], 0, offset, 4);
}

static void start(struct fixture *f)
{
    struct lapic_config config = {
        .group = &f->group, .ctx = f, .set_interrupt = set_interrupt, .nmi = nmi, .init = init, .sipi = sipi,
        .eoi_broadcast = eoi_broadcast, .extint_acknowledge = extint_acknowledge, .tsc_now = tsc_now, .tsc_khz = TSC_KHZ,
        .physical_bits = 40, .x2apic = true, .tsc_deadline = true, .virtual_wire = true,
    };

    *f = (struct fixture){.pic_vector = -1};
    harness_init(&f->h);
    for (unsigned i = 0; i < CPUS; i++) {
        f->cpu[i] = harness_new(&f->h, &lapic_type, i, &config);
        put(f, i, SVR, 0x1ff);
    }
}

static void finish(struct fixture *f)
{
    for (unsigned i = 0; i < CPUS; i++)
        dev_free(f->cpu[i]);
}

static void set_mode(struct fixture *f, unsigned cpu, uint64_t mode)
{
    assert_int_equal(lapic_msr_write(f->cpu[cpu], 0x1b, BASE | mode), 0);
}

static void all_x2apic(struct fixture *f)
{
    for (unsigned i = 0; i < CPUS; i++)
        set_mode(f, i, ENABLE | X2APIC);
}

static int write_msr(struct fixture *f, unsigned cpu, uint32_t msr, uint64_t value)
{
    return lapic_msr_write(f->cpu[cpu], msr, value);
}

static uint64_t read_msr(struct fixture *f, unsigned cpu, uint32_t msr)
{
    uint64_t value = 0;

    assert_int_equal(lapic_msr_read(f->cpu[cpu], msr, &value), 0);
    return value;
}

static int probe_msr(struct fixture *f, uint32_t msr)
{
    uint64_t value;

    return lapic_msr_read(f->cpu[0], msr, &value);
}

/* Which CPUs have vector 0x40 requested, one bit each; takes and ends the interrupts. */
static unsigned who_got_it(struct fixture *f)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < CPUS; i++) {
        if (!f->interrupt[i])
            continue;
        mask |= 1u << i;
        assert_int_equal(lapic_acknowledge(f->cpu[i]), 0x40);
        if (lapic_msr_write(f->cpu[i], 0x80b, 0) < 0)
            put(f, i, EOI, 0);
    }
    return mask;
}

static void test_power_on(void **state)
{
    struct fixture f;
    uint64_t base;

    start(&f);
    assert_int_equal(lapic_msr_read(f.cpu[0], 0x1b, &base), 0);
    assert_int_equal(base, BASE | ENABLE | BIT(8));
    assert_int_equal(read_msr(&f, 1, 0x1b), BASE | ENABLE);
    assert_int_equal(get(&f, 3, ID), 3u << 24);
    assert_int_equal(get(&f, 0, VERSION), 0x50014);
    assert_int_equal(get(&f, 0, DFR), UINT32_MAX);
    assert_int_equal(get(&f, 0, LVT_LINT0), 0x700);
    assert_int_equal(get(&f, 1, LVT_LINT0), MASKED);
    assert_int_equal(get(&f, 1, LVT_LINT1), 0x400);
    dev_reset(f.cpu[0]);
    assert_int_equal(get(&f, 0, SVR), 0xff);
    finish(&f);
}

static void test_priorities(void **state)
{
    struct fixture f;

    start(&f);
    assert_true(lapic_deliver(&f.group, 0, false, 0, 0x41, false));
    assert_true(lapic_deliver(&f.group, 0, false, 0, 0x45, false));
    assert_true(f.interrupt[0]);
    assert_int_equal(get(&f, 0, IRR + 0x20), 1 << 1 | 1 << 5);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x45);
    assert_int_equal(get(&f, 0, ISR + 0x20), 1 << 5);
    assert_int_equal(get(&f, 0, PPR), 0x40);
    assert_false(f.interrupt[0]); /* 0x41 is of the same class */
    assert_int_equal(lapic_acknowledge(f.cpu[0]), -1);
    assert_true(lapic_deliver(&f.group, 0, false, 0, 0x50, false));
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x50);
    put(&f, 0, EOI, 0);
    put(&f, 0, EOI, 0);
    assert_true(f.interrupt[0]);
    lapic_tpr_write(f.cpu[0], 4);
    assert_int_equal(get(&f, 0, TPR), 0x40);
    assert_false(f.interrupt[0]);
    put(&f, 0, TPR, 0x3f);
    assert_int_equal(lapic_tpr_read(f.cpu[0]), 3);
    assert_int_equal(get(&f, 0, PPR), 0x3f);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x41);
    finish(&f);
}

static void test_level_and_eoi(void **state)
{
    struct fixture f;

    start(&f);
    lapic_deliver(&f.group, 0, false, 0, 0x40, true);
    assert_int_equal(get(&f, 0, TMR + 0x20), 1);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x40);
    put(&f, 0, EOI, 0);
    assert_int_equal(f.broadcasts, 1);
    assert_int_equal(f.broadcast_vector, 0x40);
    lapic_deliver(&f.group, 0, false, 0, 0x40, false);
    assert_int_equal(get(&f, 0, TMR + 0x20), 0);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x40);
    put(&f, 0, EOI, 0);
    put(&f, 0, EOI, 0);
    assert_int_equal(f.broadcasts, 1);
    finish(&f);
}

static void test_extint(void **state)
{
    struct fixture f;

    start(&f);
    f.pic_vector = 0x21;
    lapic_set_lint(f.cpu[0], 0, true);
    assert_true(f.interrupt[0]);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x21);
    lapic_set_lint(f.cpu[0], 0, false);
    assert_false(f.interrupt[0]);
    put(&f, 0, LVT_LINT0, 0x700 | MASKED);
    lapic_set_lint(f.cpu[0], 0, true);
    assert_false(f.interrupt[0]);
    set_mode(&f, 0, 0); /* without the APIC the pin is INTR */
    assert_true(f.interrupt[0]);
    set_mode(&f, 0, ENABLE);
    assert_false(f.interrupt[0]);
    /* ExtINT as a message. */
    lapic_deliver(&f.group, 2, false, 7, 0, false);
    assert_true(f.interrupt[2]);
    assert_int_equal(lapic_acknowledge(f.cpu[2]), 0x21);
    assert_false(f.interrupt[2]);
    lapic_set_lint(f.cpu[1], 1, true);
    lapic_set_lint(f.cpu[1], 1, true);
    assert_int_equal(f.nmis[1], 1);
    finish(&f);
}

static void test_level_lint0(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 0, LVT_LINT0, 0x8040);
    lapic_set_lint(f.cpu[0], 0, true);
    assert_int_equal(get(&f, 0, LVT_LINT0), 0xc040);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x40);
    put(&f, 0, EOI, 0);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x40); /* still high */
    lapic_set_lint(f.cpu[0], 0, false);
    put(&f, 0, EOI, 0);
    assert_int_equal(get(&f, 0, LVT_LINT0), 0x8040);
    assert_false(f.interrupt[0]);
    finish(&f);
}

static void ipi(struct fixture *f, unsigned cpu, uint8_t destination, uint32_t command)
{
    put(f, cpu, ICR_HIGH, (uint32_t)destination << 24);
    put(f, cpu, ICR, command);
}

static void test_xapic_destinations(void **state)
{
    struct fixture f;

    start(&f);
    ipi(&f, 0, 2, 0x40);
    assert_int_equal(who_got_it(&f), 4);
    ipi(&f, 0, 0xff, 0x40);
    assert_int_equal(who_got_it(&f), 15);
    ipi(&f, 1, 0, 0x40040);
    assert_int_equal(who_got_it(&f), 2);
    ipi(&f, 1, 0, 0x80040);
    assert_int_equal(who_got_it(&f), 15);
    ipi(&f, 1, 0, 0xc0040);
    assert_int_equal(who_got_it(&f), 13);
    for (unsigned i = 0; i < CPUS; i++)
        put(&f, i, LDR, 1u << (24 + i));
    ipi(&f, 0, 0x0a, 0x840);
    assert_int_equal(who_got_it(&f), 10);
    ipi(&f, 0, 0xf0, 0x840);
    assert_int_equal(who_got_it(&f), 0);
    /* Cluster model: two clusters of two. */
    for (unsigned i = 0; i < CPUS; i++) {
        put(&f, i, DFR, 0x0fffffff);
        put(&f, i, LDR, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    ipi(&f, 0, 0x13, 0x840);
    assert_int_equal(who_got_it(&f), 12);
    ipi(&f, 0, 0x02, 0x840);
    assert_int_equal(who_got_it(&f), 2);
    /* The ID can be changed, and counts. */
    put(&f, 3, ID, 0x77000000);
    ipi(&f, 0, 0x77, 0x40);
    assert_int_equal(who_got_it(&f), 8);
    finish(&f);
}

static void test_lowest_priority(void **state)
{
    struct fixture f;
    unsigned seen = 0;

    start(&f);
    put(&f, 0, TPR, 0x20);
    put(&f, 1, TPR, 0x20);
    for (unsigned i = 0; i < 2; i++) {
        lapic_deliver(&f.group, 0xff, false, 1, 0x40, false);
        seen |= who_got_it(&f);
    }
    assert_int_equal(seen, 12);
    put(&f, 2, SVR, 0xff);
    put(&f, 3, SVR, 0xff);
    lapic_deliver(&f.group, 0xff, false, 1, 0x40, false);
    assert_int_not_equal(who_got_it(&f) & 3, 0);
    finish(&f);
}

static void test_x2apic_destinations(void **state)
{
    struct fixture f;

    start(&f);
    all_x2apic(&f);
    assert_int_equal(read_msr(&f, 2, 0x802), 2);
    assert_int_equal(read_msr(&f, 2, 0x80d), 4);
    assert_int_equal(write_msr(&f, 0, 0x830, 3ull << 32 | 0x40), 0);
    assert_int_equal(who_got_it(&f), 8);
    assert_int_equal(write_msr(&f, 0, 0x830, 0xffffffffull << 32 | 0x40), 0);
    assert_int_equal(who_got_it(&f), 15);
    assert_int_equal(write_msr(&f, 0, 0x830, 0xffull << 32 | 0x40), 0);
    assert_int_equal(who_got_it(&f), 0);
    assert_int_equal(write_msr(&f, 0, 0x830, 0x6ull << 32 | 0x840), 0);
    assert_int_equal(who_got_it(&f), 6);
    assert_int_equal(write_msr(&f, 0, 0x830, 0x10006ull << 32 | 0x840), 0);
    assert_int_equal(who_got_it(&f), 0);
    assert_int_equal(write_msr(&f, 1, 0x83f, 0x40), 0);
    assert_int_equal(who_got_it(&f), 2);
    /* Eight bits from an I/O APIC: all ones are the broadcast. */
    lapic_deliver(&f.group, 0xff, false, 0, 0x40, false);
    assert_int_equal(who_got_it(&f), 15);
    lapic_deliver(&f.group, 0x0d, true, 0, 0x40, false);
    assert_int_equal(who_got_it(&f), 13);
    finish(&f);
}

static void test_bitmap_of_destinations(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(lapic_deliver_many(&f.group, (const uint64_t[]){BIT(0) | BIT(2) | BIT(CPUS), BIT(63)}, 0, 0, 0x40), 2);
    assert_int_equal(lapic_acknowledge(f.cpu[0]), 0x40);
    assert_int_equal(lapic_acknowledge(f.cpu[1]), -1);
    assert_int_equal(lapic_acknowledge(f.cpu[2]), 0x40);
    assert_int_equal(lapic_deliver_many(&f.group, (const uint64_t[]){BIT(1), 0}, 1, 4, 0), 1);
    assert_int_equal(f.nmis[2], 1);
    assert_int_equal(lapic_deliver_many(&f.group, (const uint64_t[]){UINT64_MAX, UINT64_MAX}, UINT32_MAX, 0, 0x40), 0);
    finish(&f);
}

static void test_start_of_a_cpu(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 1, TPR, 0x20);
    ipi(&f, 0, 0, 0xc4500); /* INIT to all others */
    assert_int_equal(f.inits[0], 0);
    assert_int_equal(f.inits[1], 1);
    assert_int_equal(f.inits[3], 1);
    assert_int_equal(get(&f, 1, TPR), 0);
    assert_int_equal(get(&f, 1, SVR), 0xff);
    ipi(&f, 0, 1, 0x8500); /* de-assert: nothing */
    assert_int_equal(f.inits[1], 1);
    ipi(&f, 0, 2, 0x4608);
    assert_int_equal(f.sipis[2], 1);
    assert_int_equal(f.sipi_vector, 8);
    ipi(&f, 0, 3, 0x4400);
    assert_int_equal(f.nmis[3], 1);
    set_mode(&f, 3, 0);
    ipi(&f, 0, 3, 0x4400);
    assert_int_equal(f.nmis[3], 1);
    finish(&f);
}

static void test_errors(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 0, LVT_ERROR, 0x40);
    ipi(&f, 0, 1, 0x0f);
    assert_int_equal(get(&f, 0, ESR), 0);
    assert_int_equal(who_got_it(&f), 1);
    put(&f, 0, ESR, 0);
    assert_int_equal(get(&f, 0, ESR), 0x20);
    put(&f, 0, ESR, 0);
    assert_int_equal(get(&f, 0, ESR), 0);
    lapic_deliver(&f.group, 0, false, 0, 3, false);
    get(&f, 0, 0x3f0);
    put(&f, 0, ESR, 0);
    assert_int_equal(get(&f, 0, ESR), 0xc0);
    finish(&f);
}

static void test_software_disable(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 0, LVT_TIMER, 0x40);
    put(&f, 0, SVR, 0xff);
    assert_int_equal(get(&f, 0, LVT_TIMER), 0x40 | MASKED);
    put(&f, 0, LVT_TIMER, 0x40);
    assert_int_equal(get(&f, 0, LVT_TIMER), 0x40 | MASKED);
    assert_false(lapic_deliver(&f.group, 0, false, 0, 0x40, false));
    assert_true(lapic_deliver(&f.group, 0, false, 4, 0, false));
    assert_int_equal(f.nmis[0], 1);
    finish(&f);
}

static void test_base_msr(void **state)
{
    struct fixture f;

    start(&f);
    assert_true(lapic_covers(f.cpu[0], BASE + 0xfff));
    assert_false(lapic_covers(f.cpu[0], BASE + 0x1000));
    set_mode(&f, 0, ENABLE | X2APIC);
    assert_false(lapic_covers(f.cpu[0], BASE));
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | X2APIC), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | ENABLE), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE), 0);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | X2APIC), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | ENABLE | X2APIC), -EINVAL);
    assert_false(lapic_covers(f.cpu[0], BASE));
    assert_int_equal(write_msr(&f, 0, 0x1b, 0xfed40000 | ENABLE | BIT(8)), 0);
    assert_true(lapic_covers(f.cpu[0], 0xfed40030));
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | ENABLE | 1), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | ENABLE | BIT(9)), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE | ENABLE | BIT(40)), -EINVAL);
    lapic_tpr_write(f.cpu[0], 5);
    assert_int_equal(write_msr(&f, 0, 0x1b, BASE), 0);
    assert_int_equal(lapic_tpr_read(f.cpu[0]), 5);
    finish(&f);
}

static void test_x2apic_faults(void **state)
{
    static const uint8_t unreadable[] = {0x00, 0x01, 0x09, 0x0b, 0x0c, 0x0e, 0x29, 0x2f, 0x31, 0x3a, 0x3f, 0x40, 0xff};
    static const uint8_t unwritable[] = {0x02, 0x03, 0x09, 0x0a, 0x0d, 0x0e, 0x10, 0x20, 0x27, 0x2f, 0x31, 0x39, 0x40};
    static const uint8_t zero_only[] = {0x0b, 0x28};
    struct fixture f;

    start(&f);
    assert_int_equal(probe_msr(&f, 0x803), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x80b, 0), -EINVAL);
    all_x2apic(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(unreadable); i++)
        assert_int_equal(probe_msr(&f, 0x800 + unreadable[i]), -EINVAL);
    for (unsigned i = 0; i < ARRAY_SIZE(unwritable); i++)
        assert_int_equal(write_msr(&f, 0, 0x800 + unwritable[i], 0), -EINVAL);
    for (unsigned i = 0; i < ARRAY_SIZE(zero_only); i++) {
        assert_int_equal(write_msr(&f, 0, 0x800 + zero_only[i], 0), 0);
        assert_int_equal(write_msr(&f, 0, 0x800 + zero_only[i], 1), -EINVAL);
    }
    assert_int_equal(write_msr(&f, 0, 0x808, 0x100), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x808, BIT(32)), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x80f, 0x5ff), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x830, 0x2040), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x832, 0x80040), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x832, 0x41040), 0);
    assert_int_equal(write_msr(&f, 0, 0x838, BIT(32)), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x83e, 4), -EINVAL);
    assert_int_equal(write_msr(&f, 0, 0x83f, 0x100), -EINVAL);
    assert_int_equal(read_msr(&f, 0, 0x803), 0x50014);
    finish(&f);
}

static void test_one_shot(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 0, LVT_TIMER, 0x40);
    put(&f, 0, DIVIDE, 0x0b);
    put(&f, 0, INITIAL, 1000000);
    assert_int_equal(get(&f, 0, CURRENT), 1000000);
    harness_advance(&f.h, 400000);
    assert_int_equal(get(&f, 0, CURRENT), 600000);
    put(&f, 0, DIVIDE, 0x00); /* by two, from here on */
    assert_int_equal(get(&f, 0, CURRENT), 600000);
    harness_advance(&f.h, 1199999);
    assert_int_equal(who_got_it(&f), 0);
    harness_advance(&f.h, 1);
    assert_int_equal(who_got_it(&f), 1);
    assert_int_equal(get(&f, 0, CURRENT), 0);
    /* Ran out: a change to periodic doesn't start it again. */
    put(&f, 0, LVT_TIMER, 0x20040);
    assert_int_equal(get(&f, 0, CURRENT), 0);
    harness_advance(&f.h, 100 * MILLISECOND);
    assert_int_equal(who_got_it(&f), 0);
    assert_int_equal(get(&f, 0, INITIAL), 1000000);
    /* Also when the expiry has not been served yet. */
    put(&f, 0, LVT_TIMER, 0x40);
    put(&f, 0, INITIAL, 1000);
    clock_advance(&f.h.clock, 5000);
    put(&f, 0, LVT_TIMER, 0x20040);
    assert_int_equal(who_got_it(&f), 1);
    assert_int_equal(get(&f, 0, CURRENT), 0);
    put(&f, 0, INITIAL, 0);
    harness_advance(&f.h, MILLISECOND);
    assert_int_equal(who_got_it(&f), 0);
    finish(&f);
}

static void test_periodic(void **state)
{
    struct fixture f;

    start(&f);
    put(&f, 0, LVT_TIMER, 0x20040);
    put(&f, 0, DIVIDE, 0x0b);
    put(&f, 0, INITIAL, 1000000);
    for (unsigned i = 0; i < 5; i++) {
        harness_advance(&f.h, MILLISECOND);
        assert_int_equal(who_got_it(&f), 1);
        assert_int_equal(get(&f, 0, CURRENT), 1000000);
    }
    harness_advance(&f.h, 300000);
    put(&f, 0, LVT_TIMER, 0x40); /* the present count goes on, once */
    assert_int_equal(get(&f, 0, CURRENT), 700000);
    harness_advance(&f.h, 10 * MILLISECOND);
    assert_int_equal(who_got_it(&f), 1);
    /* A period too short to serve is slowed down, not a way to keep the host busy. */
    put(&f, 0, LVT_TIMER, 0x20040);
    put(&f, 0, INITIAL, 1);
    harness_advance(&f.h, MILLISECOND);
    assert_int_equal(who_got_it(&f), 1);
    finish(&f);
}

static void test_deadline(void **state)
{
    struct fixture f;
    uint64_t now;

    start(&f);
    assert_int_equal(write_msr(&f, 0, 0x6e0, 1), 0);
    assert_int_equal(read_msr(&f, 0, 0x6e0), 0); /* not in that mode */
    put(&f, 0, LVT_TIMER, 0x40040);
    now = tsc_now(&f, 0);
    assert_int_equal(write_msr(&f, 0, 0x6e0, now + 2000000), 0);
    assert_int_equal(read_msr(&f, 0, 0x6e0), now + 2000000);
    put(&f, 0, INITIAL, 5);
    assert_int_equal(get(&f, 0, INITIAL), 0);
    harness_advance(&f.h, MILLISECOND - 1);
    assert_int_equal(who_got_it(&f), 0);
    harness_advance(&f.h, 2);
    assert_int_equal(who_got_it(&f), 1);
    assert_int_equal(read_msr(&f, 0, 0x6e0), 0);
    assert_int_equal(write_msr(&f, 0, 0x6e0, tsc_now(&f, 0)), 0); /* past: at once */
    assert_int_equal(who_got_it(&f), 1);
    assert_int_equal(write_msr(&f, 0, 0x6e0, UINT64_MAX), 0);
    assert_int_equal(write_msr(&f, 0, 0x6e0, tsc_now(&f, 0) + 20), 0);
    assert_int_equal(write_msr(&f, 0, 0x6e0, 0), 0);
    harness_advance(&f.h, MILLISECOND);
    assert_int_equal(who_got_it(&f), 0);
    assert_int_equal(write_msr(&f, 0, 0x6e0, UINT64_MAX), 0);
    put(&f, 0, LVT_TIMER, 0x40);
    assert_int_equal(read_msr(&f, 0, 0x6e0), 0);
    finish(&f);
}

/* The CPU's TSC comes after the local APIC's state, and guests set theirs. */
static void test_deadline_with_another_tsc(void **state)
{
    struct fixture a, b;

    start(&a);
    start(&b);
    put(&a, 0, LVT_TIMER, 0x40040);
    assert_int_equal(write_msr(&a, 0, 0x6e0, tsc_now(&a, 0) + 2000000), 0);
    b.tsc_ahead = (uint64_t)-4000000;
    harness_move(a.cpu[0], b.cpu[0]);
    timer_queue_run(&b.h.timers);
    b.tsc_ahead = 0;
    dev_set_running(b.cpu[0], true);
    harness_advance(&b.h, MILLISECOND - 1);
    assert_int_equal(who_got_it(&b), 0);
    harness_advance(&b.h, 2);
    assert_int_equal(who_got_it(&b), 1);
    assert_int_equal(write_msr(&b, 0, 0x6e0, tsc_now(&b, 0) + UINT64_C(20000000000)), 0);
    b.tsc_ahead = UINT64_C(30000000000);
    harness_advance(&b.h, 1000 * MILLISECOND);
    assert_int_equal(who_got_it(&b), 1);
    finish(&a);
    finish(&b);
}

/* A VM that comes from a host whose TSC runs at another frequency. */
static void test_deadline_with_another_frequency(void **state)
{
    struct fixture f;

    start(&f);
    lapic_set_tsc_khz(f.cpu[0], TSC_KHZ / 4);
    put(&f, 0, LVT_TIMER, 0x40040);
    assert_int_equal(write_msr(&f, 0, 0x6e0, tsc_now(&f, 0) + 2000000), 0);
    lapic_set_tsc_khz(f.cpu[0], TSC_KHZ);
    harness_advance(&f.h, MILLISECOND - 1);
    assert_int_equal(who_got_it(&f), 0);
    harness_advance(&f.h, 2);
    assert_int_equal(who_got_it(&f), 1);
    lapic_set_tsc_khz(f.cpu[0], TSC_KHZ * 2); /* nothing armed */
    harness_advance(&f.h, MILLISECOND);
    assert_int_equal(who_got_it(&f), 0);
    finish(&f);
}

static void test_msi(void **state)
{
    struct fixture f;

    start(&f);
    lapic_msi(&f.group, BASE | 2 << 12, 0x40);
    assert_int_equal(who_got_it(&f), 4);
    lapic_msi(&f.group, BASE | 2 << 12, 0x8040); /* de-assert */
    lapic_msi(&f.group, 0xfed00000 | 2 << 12, 0x40);
    assert_int_equal(who_got_it(&f), 0);
    put(&f, 1, LDR, 0x02000000);
    lapic_msi(&f.group, BASE | 2 << 12 | 0xc, 0x0140);
    assert_int_equal(who_got_it(&f), 2);
    finish(&f);
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a);
    start(&b);
    put(&a, 0, LVT_TIMER, 0x20040);
    put(&a, 0, DIVIDE, 0x0b);
    put(&a, 0, INITIAL, 1000000);
    lapic_deliver(&a.group, 0, false, 0, 0x50, true);
    assert_int_equal(lapic_acknowledge(a.cpu[0]), 0x50);
    lapic_deliver(&a.group, 0, false, 0, 0x60, false);
    harness_advance(&a.h, 250000);
    clock_advance(&b.h.clock, 250000);
    harness_move(a.cpu[0], b.cpu[0]);
    assert_true(b.interrupt[0]);
    assert_int_equal(lapic_acknowledge(b.cpu[0]), 0x60);
    put(&b, 0, EOI, 0);
    put(&b, 0, EOI, 0);
    assert_int_equal(b.broadcast_vector, 0x50);
    assert_int_equal(get(&b, 0, CURRENT), 750000);
    harness_advance(&b.h, 749999);
    assert_int_equal(who_got_it(&b), 0);
    harness_advance(&b.h, 1);
    assert_int_equal(who_got_it(&b), 1);
    finish(&a);
    finish(&b);
}

static void test_check(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(harness_load_with(f.cpu[1], "base_msr", 0, BASE | X2APIC), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "base_msr", 0, BASE | BIT(50)), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "id", 0, 256), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "tpr", 0, 256), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "irr", 0, 2), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "lvt", 3, BIT(20)), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "timer_divide", 0, 4), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "timer_start", 0, INT64_MAX), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "timer_start", 0, (uint64_t)INT64_MIN), -EBADMSG);
    assert_int_equal(harness_load_with(f.cpu[1], "irr", 1, 2), 0);
    assert_true(f.interrupt[1]);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_on),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_level_and_eoi),
        cmocka_unit_test(test_extint),
        cmocka_unit_test(test_level_lint0),
        cmocka_unit_test(test_xapic_destinations),
        cmocka_unit_test(test_lowest_priority),
        cmocka_unit_test(test_x2apic_destinations),
        cmocka_unit_test(test_bitmap_of_destinations),
        cmocka_unit_test(test_start_of_a_cpu),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_software_disable),
        cmocka_unit_test(test_base_msr),
        cmocka_unit_test(test_x2apic_faults),
        cmocka_unit_test(test_one_shot),
        cmocka_unit_test(test_periodic),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_with_another_tsc),
        cmocka_unit_test(test_deadline_with_another_frequency),
        cmocka_unit_test(test_msi),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
