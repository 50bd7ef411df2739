/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory map: RAM regions less the top of conventional memory and the area of the firmware tables. */
#include "boot/e820.h"

#include "base/bits.h"
#include "boot/acpi.h"
#include "bus/platform.h"
#include "memory/memory.h"

#define CONVENTIONAL_END UINT64_C(0x9fc00) /* above lies the extended BIOS data area on a PC */

static void add(struct e820_map *map, uint64_t start, uint64_t end, enum e820_type type)
{
    unsigned i;

    if (start >= end || map->count == E820_MAX)
        return;
    for (i = map->count; i > 0 && map->range[i - 1].address > start; i--)
        map->range[i] = map->range[i - 1];
    map->range[i] = (struct e820_range){.address = start, .size = end - start, .type = type};
    map->count++;
}

static void add_ram(struct e820_map *map, const struct memory_region *region)
{
    uint64_t start = region->address, end = region->address + region->size;

    if (region->readonly)
        return;
    add(map, start, end < CONVENTIONAL_END ? end : CONVENTIONAL_END, E820_RAM);
    add(map, start > MIB(1) ? start : MIB(1), end, E820_RAM);
}

void e820_build(const struct memory *memory, struct e820_map *ret_map)
{
    struct e820_map map = {0};

    for (unsigned i = 0; i < memory->region_count; i++)
        add_ram(&map, &memory->region[i]);
    add(&map, CONVENTIONAL_END, KIB(640), E820_RESERVED);
    add(&map, ACPI_AREA, ACPI_AREA_END, E820_RESERVED);
    add(&map, PLATFORM_ECAM, PLATFORM_ECAM + PLATFORM_ECAM_SIZE, E820_RESERVED);
    *ret_map = map;
}

uint64_t e820_low_end(const struct e820_map *map)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < map->count; i++) {
        const struct e820_range *range = &map->range[i];

        if (range->type != E820_RAM || range->address < MIB(1))
            continue;
        if (range->address != (end == 0 ? MIB(1) : end))
            break;
        end = range->address + range->size;
    }
    return end;
}
