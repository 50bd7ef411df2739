/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware (ACPI 6.5 section 4.8): PM1a event and control, PM timer, one GPE block, and the SMI
 * command port. The reset register is the PCI host's. Section "acpi-pm". */
#ifndef FERRY_DEVICES_PC_ACPI_PM_H
#define FERRY_DEVICES_PC_ACPI_PM_H

#include <stdbool.h>

#include "bus/dev.h"

enum {
    ACPI_PM_WINDOW_EVENT,   /* 4 ports: status, enable */
    ACPI_PM_WINDOW_CONTROL, /* 2 ports */
    ACPI_PM_WINDOW_TIMER,   /* 4 ports, read only, 3.579545 MHz */
    ACPI_PM_WINDOW_GPE0,    /* 4 ports: 2 status, 2 enable */
    ACPI_PM_WINDOW_SMI,     /* 1 or 2 ports: SMI command, status byte */
};

struct acpi_pm_config {
    struct irq_line sci;          /* level, active high */
    void *ctx;
    void (*power_off)(void *ctx); /* S5 entered */
    uint8_t s5_sleep_type;        /* SLP_TYP of _S5; other types are ignored */
    uint8_t acpi_enable;          /* values of the SMI command port */
    uint8_t acpi_disable;
    bool timer_32bit;             /* else 24 */
};

extern const struct dev_type acpi_pm_type;

/* Somebody pressed the power button. */
void acpi_pm_power_button(struct dev *acpi_pm);

/* General-purpose event 0..15 happened. */
void acpi_pm_event(struct dev *acpi_pm, unsigned number);

#endif
