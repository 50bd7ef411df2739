/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lies in a volume's file: its format by its first bytes, and new images. docs/formats: QEMU's qcow2.txt. */
#ifndef FERRY_STORAGE_IMAGE_H
#define FERRY_STORAGE_IMAGE_H

#include <stdint.h>

#include "storage/definition.h"

struct storage_handle;

struct image_facts {
    enum volume_format format;
    uint64_t capacity; /* bytes that a guest sees */
    char backing[1024]; /* path of the image below; empty: none */
};

/* 0, or a negative errno of reading. What is not known is raw. */
int image_look(struct storage_handle *handle, struct image_facts *ret_facts);

/* Bytes of the file of a new, empty qcow2 image; 0: it can't be so large. */
uint64_t image_qcow2_size(uint64_t capacity);

/* Writes one into a file of that size full of zeros. backing: NULL for none. */
int image_write_qcow2(struct storage_handle *handle, uint64_t capacity, const char *backing, enum volume_format backing_format);

/* Makes the image larger; size is rounded up to whole sectors. -ENOTSUP: it has snapshots, is encrypted, or has features that are not
 * known; -EFBIG: its table has no room for so much; -EINVAL: it is no image, or has more already. It is as it was then. */
int image_grow_qcow2(struct storage_handle *handle, uint64_t size);

/* The largest that is made. */
#define IMAGE_QCOW2_MAX (UINT64_C(64) << 40)

#endif
