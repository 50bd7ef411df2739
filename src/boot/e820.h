/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory map that a guest is told: RAM and what is reserved in it (ACPI 6.5 section 15, "INT 15h, E820h"). */
#ifndef FERRY_BOOT_E820_H
#define FERRY_BOOT_E820_H

#include <stdint.h>

struct memory;

#define E820_MAX 32

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

struct e820_range {
    uint64_t address, size;
    uint32_t type;
};

struct e820_map {
    unsigned count;
    struct e820_range range[E820_MAX]; /* sorted by address, none overlaps */
};

/* From the RAM that memory holds and the board's fixed map. */
void e820_build(const struct memory *memory, struct e820_map *ret_map);

/* End of the RAM that begins at or below 1 MiB and goes on without a gap; 0 if there is none there. */
uint64_t e820_low_end(const struct e820_map *map);

#endif
