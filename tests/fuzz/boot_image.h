/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets of kernel formats share: the input is the kernel file. */
#ifndef FERRY_FUZZ_BOOT_IMAGE_H
#define FERRY_FUZZ_BOOT_IMAGE_H

#include "../unit/boot/images.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

static inline int boot_image_fuzz(const uint8_t *data, size_t size)
{
    static struct memory *memory;
    static int kernel_fd = -1, initrd_fd = -1;
    static const uint8_t initrd[] = "an initrd";
    struct boot_image image = {.cmdline = "quiet"};
    struct x86_state bsp;

    if (memory == NULL && (memory_new(&memory, NULL) < 0 || memory_add(memory, 0, MIB(8), false, NULL) < 0))
        return 0;
    image.kernel = image_file(&kernel_fd, "kernel", data, size);
    image.initrd = image_file(&initrd_fd, "initrd", initrd, sizeof(initrd));
    e820_build(memory, &image.map);
    x86_state_reset(&bsp, true);
    boot_load_image(&image, memory, &bsp, NULL);
    return 0;
}

static inline size_t boot_image_seed(size_t (*make)(uint8_t *out), uint8_t *out, size_t max)
{
    uint8_t bytes[IMAGE_MAX];
    size_t size = make(bytes);

    if (size > max)
        return 0;
    memcpy(out, bytes, size);
    return size;
}

#endif
