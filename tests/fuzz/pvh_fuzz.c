/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the loader of ELF files with a PVH entry. */
#include "boot_image.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return boot_image_fuzz(data, size);
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static size_t (*const makers[])(uint8_t * out) = {image_pvh};

    return index < ARRAY_SIZE(makers) ? boot_image_seed(makers[index], out, max) : 0;
}
