/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board's fixed map: every address, port and interrupt number that does not depend on configuration.
 *
 * Constants only. Devices never read them (only the bus knows where a device sits); the board places devices by them,
 * and the boot room describes the same places to the guest in ACPI and E820. */
#ifndef FERRY_BUS_PLATFORM_H
#define FERRY_BUS_PLATFORM_H

#include <stdint.h>

/* Guest-physical memory. RAM lies at 0 up to PLATFORM_RAM_LOW_END, the rest from PLATFORM_RAM_HIGH on. */
#define PLATFORM_RAM_LOW_END UINT64_C(0xc0000000)
#define PLATFORM_RAM_HIGH UINT64_C(0x100000000)
#define PLATFORM_PCI_MMIO32 UINT64_C(0xc0000000) /* window for 32-bit BARs */
#define PLATFORM_PCI_MMIO32_SIZE UINT64_C(0x20000000)
#define PLATFORM_ECAM UINT64_C(0xe0000000) /* PCI Express enhanced configuration, 1 MiB a bus */
#define PLATFORM_ECAM_BUSES 256u
#define PLATFORM_ECAM_SIZE UINT64_C(0x10000000)
#define PLATFORM_IOAPIC UINT64_C(0xfec00000)
#define PLATFORM_IOAPIC_SIZE UINT64_C(0x1000)
#define PLATFORM_HPET UINT64_C(0xfed00000)
#define PLATFORM_HPET_SIZE UINT64_C(0x400)
#define PLATFORM_LAPIC UINT64_C(0xfee00000)
#define PLATFORM_LAPIC_SIZE UINT64_C(0x1000)
#define PLATFORM_TEST_MEMORY UINT64_C(0xff000000) /* --testdev: memory that is reached as MMIO */
#define PLATFORM_TEST_MEMORY_SIZE UINT64_C(0x10000)
#define PLATFORM_ROM_END UINT64_C(0x100000000)     /* firmware ends here */
#define PLATFORM_PCI_MMIO64 UINT64_C(0x8000000000) /* window for 64-bit BARs; fits 40 physical address bits */
#define PLATFORM_PCI_MMIO64_SIZE UINT64_C(0x4000000000)
#define PLATFORM_RAM_MAX (PLATFORM_PCI_MMIO64 - (PLATFORM_RAM_HIGH - PLATFORM_RAM_LOW_END)) /* bytes of RAM in all */

/* Ports. */
enum {
    PLATFORM_PORT_PIC_PRIMARY = 0x20, /* 2 ports */
    PLATFORM_PORT_PIT = 0x40,         /* 4 ports */
    PLATFORM_PORT_I8042_DATA = 0x60,
    PLATFORM_PORT_SPEAKER = 0x61,
    PLATFORM_PORT_I8042_COMMAND = 0x64,
    PLATFORM_PORT_RTC = 0x70,           /* index, data */
    PLATFORM_PORT_FAST_A20 = 0x92,      /* 1 port */
    PLATFORM_PORT_PIC_SECONDARY = 0xa0, /* 2 ports */
    PLATFORM_PORT_SMI_COMMAND = 0xb2,
    PLATFORM_PORT_TEST_LATCH = 0xe0,    /* --testdev: 4 ports */
    PLATFORM_PORT_TEST_FLUSH = 0xe4,    /* --testdev: 4 ports */
    PLATFORM_PORT_TEST_BYTE = 0xe8,     /* --testdev: 1 port */
    PLATFORM_PORT_TEST_EXIT = 0xf4,     /* --testdev: 4 ports */
    PLATFORM_PORT_COM2 = 0x2f8,         /* 8 ports */
    PLATFORM_PORT_COM1 = 0x3f8,         /* 8 ports */
    PLATFORM_PORT_ELCR = 0x4d0,         /* 2 ports */
    PLATFORM_PORT_FW_CFG = 0x510,       /* selector, data; 12 ports with DMA */
    PLATFORM_PORT_PM1A_EVENT = 0x600,   /* 4 ports: status, enable */
    PLATFORM_PORT_PM1A_CONTROL = 0x604, /* 2 ports */
    PLATFORM_PORT_PM_TIMER = 0x608,     /* 4 ports */
    PLATFORM_PORT_GPE0 = 0x620,         /* 4 ports: 2 status, 2 enable */
    PLATFORM_PORT_PCI_HOTPLUG = 0x640,  /* 16 ports: plugged, to unplug, eject, removable */
    PLATFORM_PORT_PCI_ADDRESS = 0xcf8,  /* 4 ports */
    PLATFORM_PORT_RESET = 0xcf9,        /* 1 port */
    PLATFORM_PORT_PCI_DATA = 0xcfc,     /* 4 ports */
    PLATFORM_PORT_TEST_IRQ = 0x2000,    /* --testdev: 24 ports, one a GSI */
    PLATFORM_PORT_PCI = 0xc000,         /* window for I/O BARs, to 0xffff */
    PLATFORM_PORT_PCI_SIZE = 0x4000,
};

/* Values that ACPI tells the guest to write. */
enum {
    PLATFORM_RESET_VALUE = 0x06, /* to PLATFORM_PORT_RESET */
    PLATFORM_ACPI_ENABLE = 0x02, /* to PLATFORM_PORT_SMI_COMMAND */
    PLATFORM_ACPI_DISABLE = 0x03,
    PLATFORM_S5_SLEEP_TYPE = 0x05, /* SLP_TYP in PM1a control */
    PLATFORM_GPE0_SIZE = 4,
    PLATFORM_GPE_PCI_HOTPLUG = 1, /* its method is _E01 */
};

/* PCI slots from here on hold devices that can be added and removed while the VM runs. */
enum { PLATFORM_PCI_PLUG_FIRST = 4, PLATFORM_PCI_SLOTS = 32 };

/* Interrupts (GSI; below 16 also the ISA IRQ). */
enum {
    PLATFORM_GSI_KEYBOARD = 1,
    PLATFORM_GSI_PIT = 2, /* ISA IRQ 0 arrives at IOAPIC pin 2 */
    PLATFORM_GSI_COM2 = 3,
    PLATFORM_GSI_COM1 = 4,
    PLATFORM_GSI_RTC = 8,
    PLATFORM_GSI_SCI = 9, /* level, active high */
    PLATFORM_GSI_MOUSE = 12,
    PLATFORM_GSI_PCI = 16, /* first of PLATFORM_GSI_PCI_COUNT */
    PLATFORM_GSI_PCI_COUNT = 8,
};

/* The GSI of a PCI slot's INTx pin (0 = INTA). Level; IOAPIC polarity is not looked at, as in KVM. */
static inline unsigned platform_pci_gsi(unsigned slot, unsigned pin)
{
    return PLATFORM_GSI_PCI + ((slot + pin) & (PLATFORM_GSI_PCI_COUNT - 1));
}

#endif
