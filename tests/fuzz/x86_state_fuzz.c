/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the body of a saved CPU state, read, checked and printed. A state that passes must be written and read
 * back the same. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/err.h"
#include "fuzz.h"
#include "state/section.h"
#include "x86/state.h"

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    struct buffer stream = BUFFER_INIT(1 << 16);
    struct section_reader reader;
    struct section section;
    struct x86_state state;
    size_t size = 0;

    if (index > 1)
        return 0;
    x86_state_reset(&state, index == 0);
    section_reader_init(&reader, NULL, 0);
    if (section_write(&stream, "cpu", 0, 1, x86_state_fields, &state) == 0) {
        section_reader_init(&reader, stream.data, stream.size);
        if (section_next(&reader, &section, NULL) == 1 && section.size <= max) {
            memcpy(out, section.body, section.size);
            size = section.size;
        }
    }
    buffer_fini(&stream);
    return size;
}

static void expect_same_again(const struct x86_state *state)
{
    struct buffer stream = BUFFER_INIT(1 << 16);
    struct section_reader reader;
    struct section section;
    struct x86_state again;

    memset(&again, 0, sizeof(again));
    if (section_write(&stream, "cpu", 0, 1, x86_state_fields, state) < 0)
        abort();
    section_reader_init(&reader, stream.data, stream.size);
    if (section_next(&reader, &section, NULL) != 1 ||
        section_read(&section, x86_state_fields, &again, sizeof(again), NULL) < 0 ||
        x86_state_check(&again, NULL) < 0 || memcmp(again.gpr, state->gpr, sizeof(again.gpr)) != 0)
        abort();
    buffer_fini(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct section section = {.name = "cpu", .version = 1, .body = data, .size = size};
    struct x86_state state;
    struct err err = ERR_INIT;
    char text[3000];

    x86_state_reset(&state, true);
    if (section_read(&section, x86_state_fields, &state, sizeof(state), &err) < 0)
        return 0;
    x86_state_print(&state, text, sizeof(text));
    if (x86_state_check(&state, &err) == 0)
        expect_same_again(&state);
    return 0;
}
