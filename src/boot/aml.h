/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A writer of AML byte code (ACPI 6.5 section 20) and of resource templates (section 6.4), as much as our DSDT needs.
 *
 *     struct aml aml = {.data = bytes, .capacity = sizeof(bytes)};
 *     aml_scope(&aml, "\\_SB");
 *     aml_device(&aml, "RTC");
 *     aml_name(&aml, "_HID"), aml_eisa_id(&aml, "PNP0B00");
 *     aml_end(&aml);
 *     aml_end(&aml);
 *
 * Past its capacity it writes nothing more and sets `failed`; the caller looks at that once, at the end. */
#ifndef FERRY_BOOT_AML_H
#define FERRY_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH_MAX 8

struct aml {
    uint8_t *data;
    size_t size, capacity;
    bool failed;
    unsigned depth;
    struct {
        size_t at;     /* where the length goes in */
        bool template; /* a resource template: end tag and buffer size go in too */
    } open[AML_DEPTH_MAX];
};

/* Values. A name path is "\\_SB.PCI0": segments shorter than four characters are padded. */
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08" */

/* Name (path, ...): the value follows by the next call. */
void aml_name(struct aml *aml, const char *path);

/* Blocks: each is closed by aml_end(). */
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *path);
void aml_method(struct aml *aml, const char *path, unsigned arguments);
void aml_package(struct aml *aml, unsigned elements);
void aml_template(struct aml *aml);
void aml_end(struct aml *aml);

/* Return (ArgN). */
void aml_return_argument(struct aml *aml, unsigned number);

/* OperationRegion (path, SystemIO, base, size), and a Field of it that is accessed by double words: a block of
 * aml_field_unit()s, each 32 bits wide. */
void aml_region_io(struct aml *aml, const char *path, uint16_t base, unsigned size);
void aml_field_dwords(struct aml *aml, const char *region);
void aml_field_unit(struct aml *aml, const char *name);

/* Operands: LocalN, and an object by its path (a method is called by it). */
void aml_local(struct aml *aml, unsigned number);
void aml_path(struct aml *aml, const char *path);

/* Store (source, target): both operands follow by the next calls. */
void aml_store(struct aml *aml);

/* If (LocalN & mask): a block. */
void aml_if_local_and(struct aml *aml, unsigned number, uint32_t mask);

/* Notify (path, value). */
void aml_notify(struct aml *aml, const char *path, unsigned value);

/* In a template. Windows are what a bridge passes on. */
void aml_io(struct aml *aml, uint16_t base, uint8_t count);
void aml_irq(struct aml *aml, unsigned number); /* 0..15, edge */
void aml_memory32(struct aml *aml, uint32_t base, uint32_t size);
void aml_window_bus(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_io(struct aml *aml, uint16_t base, uint32_t size);
void aml_window_memory32(struct aml *aml, uint32_t base, uint32_t size);
void aml_window_memory64(struct aml *aml, uint64_t base, uint64_t size);

#endif
