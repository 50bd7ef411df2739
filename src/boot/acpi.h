/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI tables of the board: RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG, HPET if there is one, and the DSDT. */
#ifndef FERRY_BOOT_ACPI_H
#define FERRY_BOOT_ACPI_H

#include <stdbool.h>
#include <stdint.h>

struct aml;
struct err;
struct memory;

/* They lie where an operating system looks for the RSDP on a PC (ACPI 6.5 section 5.2.5.1). */
#define ACPI_AREA UINT64_C(0xe0000)
#define ACPI_AREA_END UINT64_C(0x100000)

struct acpi_config {
    unsigned cpus; /* APIC IDs 0 to cpus - 1 */
    bool hpet;
};

/* Writes all tables; *ret_rsdp is the address of the RSDP. -ENOMEM when there is no RAM there, -ENOSPC when
 * there are too many CPUs for the area. */
int acpi_write(const struct acpi_config *config, struct memory *memory, uint64_t *ret_rsdp, struct err *err);

/* The DSDT's byte code, without the table header. */
void acpi_write_dsdt(const struct acpi_config *config, struct aml *aml);

#endif
