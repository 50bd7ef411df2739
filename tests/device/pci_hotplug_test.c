/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI hotplug registers: what is told and when it is forgotten, what may be ejected, odd accesses, save and load. */
#include "pc_harness.h"

#include "base/bits.h"
#include "devices/pc/pci_hotplug.h"

struct fixture {
    struct harness h;
    struct dev *dev;
    unsigned events;
    uint32_t ejected, removable;
};

static void event(void *ctx)
{
    ((struct fixture *)ctx)->events++;
}

static void eject(void *ctx, unsigned slot)
{
    struct fixture *f = ctx;

    f->ejected |= (uint32_t)BIT(slot);
    f->removable &= ~(uint32_t)BIT(slot);
}

static uint32_t removable(void *ctx)
{
    return ((struct fixture *)ctx)->removable;
}

static void start(struct fixture *f)
{
    struct pci_hotplug_config config = {.ctx = f, .event = event, .eject = eject, .removable = removable};

    *f = (struct fixture){.removable = BIT(5) | BIT(31)};
    harness_init(&f->h);
    f->dev = harness_new(&f->h, &pci_hotplug_type, 0, &config);
}

static uint32_t in(struct fixture *f, unsigned offset)
{
    return (uint32_t)dev_in(f->dev, 0, offset, 4);
}

static void test_reset_values(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(in(&f, PCI_HOTPLUG_PLUGGED), 0);
    assert_int_equal(in(&f, PCI_HOTPLUG_TO_UNPLUG), 0);
    assert_int_equal(in(&f, PCI_HOTPLUG_EJECT), 0);
    assert_int_equal(in(&f, PCI_HOTPLUG_REMOVABLE), BIT(5) | BIT(31));
    assert_int_equal(f.events, 0);
    dev_free(f.dev);
}

static void test_plugged_is_told_once(void **state)
{
    struct fixture f;

    start(&f);
    pci_hotplug_plugged(f.dev, 5);
    pci_hotplug_plugged(f.dev, 31);
    assert_int_equal(f.events, 2);
    assert_int_equal(in(&f, PCI_HOTPLUG_PLUGGED), BIT(5) | BIT(31));
    assert_int_equal(in(&f, PCI_HOTPLUG_PLUGGED), 0);
    dev_free(f.dev);
}

static void test_unplug_waits_for_the_eject(void **state)
{
    struct fixture f;

    start(&f);
    pci_hotplug_unplug(f.dev, 31);
    pci_hotplug_unplug(f.dev, 31);
    assert_int_equal(f.events, 2);
    assert_int_equal(in(&f, PCI_HOTPLUG_TO_UNPLUG), BIT(31));
    assert_int_equal(in(&f, PCI_HOTPLUG_TO_UNPLUG), BIT(31));
    assert_int_equal(pci_hotplug_waiting(f.dev), BIT(31));
    dev_out(f.dev, 0, PCI_HOTPLUG_EJECT, 4, BIT(31));
    assert_int_equal(f.ejected, BIT(31));
    assert_int_equal(in(&f, PCI_HOTPLUG_TO_UNPLUG), 0);
    dev_free(f.dev);
}

/* A guest may let go what nobody asked for, but nothing that is not removable. */
static void test_eject_of_any_slot(void **state)
{
    struct fixture f;

    start(&f);
    dev_out(f.dev, 0, PCI_HOTPLUG_EJECT, 4, UINT32_MAX);
    assert_int_equal(f.ejected, BIT(5) | BIT(31));
    f.ejected = 0;
    dev_out(f.dev, 0, PCI_HOTPLUG_EJECT, 4, UINT32_MAX);
    assert_int_equal(f.ejected, 0);
    dev_free(f.dev);
}

static void test_odd_accesses(void **state)
{
    struct fixture f;

    start(&f);
    pci_hotplug_plugged(f.dev, 5);
    assert_int_equal(dev_in(f.dev, 0, 0, 1), 0xff);
    assert_int_equal(dev_in(f.dev, 0, 0, 2), 0xffff);
    assert_int_equal(dev_in(f.dev, 0, 1, 4), UINT32_MAX);
    dev_out(f.dev, 0, PCI_HOTPLUG_EJECT, 1, 0xff);
    dev_out(f.dev, 0, PCI_HOTPLUG_EJECT + 1, 4, UINT32_MAX);
    dev_out(f.dev, 0, PCI_HOTPLUG_PLUGGED, 4, UINT32_MAX);
    dev_out(f.dev, 0, PCI_HOTPLUG_REMOVABLE, 4, 0);
    assert_int_equal(f.ejected, 0);
    assert_int_equal(in(&f, PCI_HOTPLUG_PLUGGED), BIT(5));
    dev_free(f.dev);
}

static void test_save_and_load(void **state)
{
    struct fixture f, other;

    start(&f);
    start(&other);
    pci_hotplug_plugged(f.dev, 5);
    pci_hotplug_unplug(f.dev, 31);
    harness_move(f.dev, other.dev);
    assert_int_equal(pci_hotplug_waiting(other.dev), BIT(31));
    assert_int_equal(in(&other, PCI_HOTPLUG_PLUGGED), BIT(5));
    pci_hotplug_emptied(other.dev, 31);
    assert_int_equal(pci_hotplug_waiting(other.dev), 0);
    dev_reset(f.dev);
    assert_int_equal(pci_hotplug_waiting(f.dev), 0);
    dev_free(f.dev);
    dev_free(other.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_values),      cmocka_unit_test(test_plugged_is_told_once),
        cmocka_unit_test(test_unplug_waits_for_the_eject), cmocka_unit_test(test_eject_of_any_slot),
        cmocka_unit_test(test_odd_accesses),      cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
