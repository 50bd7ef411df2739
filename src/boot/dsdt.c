/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The DSDT: PCI root with its slots, legacy devices, reserved addresses, CPUs, soft-off. The power button is fixed hardware, so it has
 * no device here (ACPI 6.5 section 4.8.2.2.1). */
#include <stdio.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "bus/platform.h"

#define PCI_SLOTS PLATFORM_PCI_SLOTS
#define PCI_PINS 4

/* Values of Notify (section 5.6.6). */
enum { NOTIFY_DEVICE_CHECK = 1, NOTIFY_EJECT_REQUEST = 3 };

static void soft_off(struct aml *aml)
{
    aml_name(aml, "\\_S5");
    aml_package(aml, 4);
    aml_integer(aml, PLATFORM_S5_SLEEP_TYPE); /* PM1a */
    aml_integer(aml, PLATFORM_S5_SLEEP_TYPE); /* PM1b */
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_end(aml);
}

static void root_resources(struct aml *aml)
{
    aml_name(aml, "_CRS");
    aml_template(aml);
    aml_window_bus(aml, 0, PLATFORM_ECAM_BUSES - 1);
    aml_io(aml, PLATFORM_PORT_PCI_ADDRESS, 8);
    aml_window_io(aml, PLATFORM_PORT_PCI, PLATFORM_PORT_PCI_SIZE);
    aml_window_memory32(aml, PLATFORM_PCI_MMIO32, PLATFORM_PCI_MMIO32_SIZE);
    aml_window_memory64(aml, PLATFORM_PCI_MMIO64, PLATFORM_PCI_MMIO64_SIZE);
    aml_end(aml);
}

/* Each pin of each slot goes straight to a pin of the I/O APIC (section 6.2.13: source 0, index = GSI). */
static void root_routing(struct aml *aml)
{
    aml_name(aml, "_PRT");
    aml_package(aml, PCI_SLOTS * PCI_PINS);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PCI_PINS; pin++) {
            aml_package(aml, 4);
            aml_integer(aml, slot << 16 | 0xffff); /* any function */
            aml_integer(aml, pin);
            aml_integer(aml, 0);
            aml_integer(aml, platform_pci_gsi(slot, pin));
            aml_end(aml);
        }
    }
    aml_end(aml);
}

static const char *slot_name(unsigned slot, char text[static 5])
{
    snprintf(text, 5, "S%03X", slot & 0xfff);
    return text;
}

/* A slot whose device can be ejected (section 6.3.3). */
static void plug_slot(struct aml *aml, unsigned slot)
{
    char name[5];

    aml_device(aml, slot_name(slot, name));
    aml_name(aml, "_ADR"), aml_integer(aml, slot << 16);
    aml_name(aml, "_SUN"), aml_integer(aml, slot);
    aml_method(aml, "_EJ0", 1);
    aml_store(aml), aml_integer(aml, UINT32_C(1) << slot), aml_path(aml, "PCEJ");
    aml_end(aml);
    aml_end(aml);
}

/* The registers are those of the device pci-hotplug; reading PCUP clears it. */
static void plug_slots(struct aml *aml)
{
    char name[5];

    aml_region_io(aml, "PCHP", PLATFORM_PORT_PCI_HOTPLUG, 16);
    aml_field_dwords(aml, "PCHP");
    aml_field_unit(aml, "PCUP");
    aml_field_unit(aml, "PCDN");
    aml_field_unit(aml, "PCEJ");
    aml_field_unit(aml, "PCRM");
    aml_end(aml);
    for (unsigned slot = PLATFORM_PCI_PLUG_FIRST; slot < PCI_SLOTS; slot++)
        plug_slot(aml, slot);
    aml_method(aml, "PCNT", 0);
    aml_store(aml), aml_path(aml, "PCUP"), aml_local(aml, 0);
    aml_store(aml), aml_path(aml, "PCDN"), aml_local(aml, 1);
    for (unsigned slot = PLATFORM_PCI_PLUG_FIRST; slot < PCI_SLOTS; slot++) {
        aml_if_local_and(aml, 0, UINT32_C(1) << slot);
        aml_notify(aml, slot_name(slot, name), NOTIFY_DEVICE_CHECK);
        aml_end(aml);
        aml_if_local_and(aml, 1, UINT32_C(1) << slot);
        aml_notify(aml, slot_name(slot, name), NOTIFY_EJECT_REQUEST);
        aml_end(aml);
    }
    aml_end(aml);
}

/* The general-purpose event of the hotplug registers; edge-triggered (section 5.6.4.1). */
static void plug_event(struct aml *aml)
{
    char name[5];

    aml_scope(aml, "\\_GPE");
    snprintf(name, sizeof(name), "_E%02X", PLATFORM_GPE_PCI_HOTPLUG & 0xff);
    aml_method(aml, name, 0);
    aml_path(aml, "\\_SB.PCI0.PCNT");
    aml_end(aml);
    aml_end(aml);
}

static void pci_root(struct aml *aml)
{
    aml_device(aml, "PCI0");
    aml_name(aml, "_HID"), aml_eisa_id(aml, "PNP0A08");
    aml_name(aml, "_CID"), aml_eisa_id(aml, "PNP0A03");
    aml_name(aml, "_UID"), aml_integer(aml, 0);
    aml_name(aml, "_SEG"), aml_integer(aml, 0);
    aml_name(aml, "_BBN"), aml_integer(aml, 0);
    root_resources(aml);
    root_routing(aml);
    /* Every control that the system asks for is granted: the capabilities come back as they are. */
    aml_method(aml, "_OSC", 4);
    aml_return_argument(aml, 3);
    aml_end(aml);
    plug_slots(aml);
    aml_end(aml);
}

static void begin_device(struct aml *aml, const char *name, const char *id, unsigned uid)
{
    aml_device(aml, name);
    aml_name(aml, "_HID"), aml_eisa_id(aml, id);
    aml_name(aml, "_UID"), aml_integer(aml, uid);
    aml_name(aml, "_CRS");
    aml_template(aml);
}

static void end_device(struct aml *aml)
{
    aml_end(aml);
    aml_end(aml);
}

static void legacy_devices(struct aml *aml)
{
    begin_device(aml, "RTC", "PNP0B00", 0);
    aml_io(aml, PLATFORM_PORT_RTC, 2);
    aml_irq(aml, PLATFORM_GSI_RTC);
    end_device(aml);

    begin_device(aml, "KBD", "PNP0303", 0);
    aml_io(aml, PLATFORM_PORT_I8042_DATA, 1);
    aml_io(aml, PLATFORM_PORT_I8042_COMMAND, 1);
    aml_irq(aml, PLATFORM_GSI_KEYBOARD);
    end_device(aml);

    begin_device(aml, "MOU", "PNP0F13", 0);
    aml_irq(aml, PLATFORM_GSI_MOUSE);
    end_device(aml);

    begin_device(aml, "COM1", "PNP0501", 1);
    aml_io(aml, PLATFORM_PORT_COM1, 8);
    aml_irq(aml, PLATFORM_GSI_COM1);
    end_device(aml);
}

/* Addresses that no driver may hand out: fixed ACPI hardware, ECAM. */
static void reserved_addresses(struct aml *aml)
{
    begin_device(aml, "MBRD", "PNP0C02", 0);
    aml_io(aml, PLATFORM_PORT_SMI_COMMAND, 1);
    aml_io(aml, PLATFORM_PORT_PM1A_EVENT, 4);
    aml_io(aml, PLATFORM_PORT_PM1A_CONTROL, 2);
    aml_io(aml, PLATFORM_PORT_PM_TIMER, 4);
    aml_io(aml, PLATFORM_PORT_GPE0, PLATFORM_GPE0_SIZE);
    aml_io(aml, PLATFORM_PORT_PCI_HOTPLUG, 16);
    aml_memory32(aml, (uint32_t)PLATFORM_ECAM, (uint32_t)PLATFORM_ECAM_SIZE);
    end_device(aml);
}

static void hpet(struct aml *aml)
{
    begin_device(aml, "HPET", "PNP0103", 0);
    aml_memory32(aml, (uint32_t)PLATFORM_HPET, (uint32_t)PLATFORM_HPET_SIZE);
    end_device(aml);
}

static void cpu(struct aml *aml, unsigned number)
{
    char name[5];

    snprintf(name, sizeof(name), "C%03X", number & 0xfff);
    aml_device(aml, name);
    aml_name(aml, "_HID"), aml_string(aml, "ACPI0007");
    aml_name(aml, "_UID"), aml_integer(aml, number);
    aml_end(aml);
}

void acpi_write_dsdt(const struct acpi_config *config, struct aml *aml)
{
    soft_off(aml);
    aml_scope(aml, "\\_SB");
    pci_root(aml);
    legacy_devices(aml);
    reserved_addresses(aml);
    if (config->hpet)
        hpet(aml);
    for (unsigned i = 0; i < config->cpus; i++)
        cpu(aml, i);
    aml_end(aml);
    plug_event(aml);
}
