/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: a stream of sections, read with tables of every kind. The first byte says whether checksums are put
 * right first, since otherwise hardly any mutation would come past them. */
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/checksum.h"
#include "base/err.h"
#include "fuzz.h"
#include "state/irqchip.h"
#include "state/section.h"

#define HEADER_SIZE 16
#define CHECKSUM_SIZE 4

struct sample {
    bool flag, flags[3];
    uint64_t wide;
};

static const struct field sample_fields[] = {
    FIELD(1, struct sample, flag),
    FIELD_ARRAY(2, struct sample, flags),
    FIELD(3, struct sample, wide),
    FIELD_END,
};

union object {
    struct sample sample;
    struct pic_state pic;
    struct pit_state pit;
    struct ioapic_state ioapic;
    struct lapic_state lapic;
};

static const struct {
    const char *name;
    const struct field *fields;
    size_t size;
} kinds[] = {
    {"sample", sample_fields, sizeof(struct sample)},
    {"pic", pic_state_fields, sizeof(struct pic_state)},
    {"pit", pit_state_fields, sizeof(struct pit_state)},
    {"ioapic", ioapic_state_fields, sizeof(struct ioapic_state)},
    {"lapic", lapic_state_fields, sizeof(struct lapic_state)},
};

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const union object zero;
    size_t size = 0;
    if (index > ARRAY_SIZE(kinds))
        return 0;
    struct buffer stream = BUFFER_INIT(max - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (index == i || index == ARRAY_SIZE(kinds))
            section_write(&stream, kinds[i].name, i, 1, kinds[i].fields, &zero);
    out[size++] = 1;
    memcpy(out + size, stream.data, stream.size);
    size += stream.size;
    buffer_fini(&stream);
    return size;
}

static void repair_checksums(uint8_t *data, size_t size)
{
    while (size >= HEADER_SIZE + CHECKSUM_SIZE) {
        size_t covered = HEADER_SIZE + data[6] + (size_t)load_le32(data + 12);
        if (covered + CHECKSUM_SIZE > size)
            return;
        store_le32(data + covered, crc32c(0, data, covered));
        data += covered + CHECKSUM_SIZE;
        size -= covered + CHECKSUM_SIZE;
    }
}

static void read_stream(const uint8_t *data, size_t size)
{
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;
    section_reader_init(&reader, data, size);
    while (section_next(&reader, &section, &err) == 1) {
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
            union object object = {0};
            section_read(&section, kinds[i].fields, &object, kinds[i].size, &err);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    if ((copy[0] & 1) != 0)
        repair_checksums(copy + 1, size - 1);
    read_stream(copy + 1, size - 1);
    free(copy);
    return 0;
}
