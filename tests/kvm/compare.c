/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparing two CPU states member by member. */
#include "compare.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "x86/xsave.h"

struct comparison {
    compare_tolerate_fn *tolerate;
    void *ctx;
    unsigned differences;
};

static uint64_t load(const uint8_t *p, unsigned width)
{
    uint64_t value = 0;

    memcpy(&value, p, width);
    return value;
}

static void compare_integers(struct comparison *c, const struct field *field, const char *name, const uint8_t *a,
                             const uint8_t *b)
{
    for (uint32_t i = 0; i < field->count; i++) {
        uint64_t expected = load(a + i * field->width, field->width), found = load(b + i * field->width, field->width);

        if (expected == found || (c->tolerate != NULL && c->tolerate(c->ctx, name, expected, found)))
            continue;
        c->differences++;
        printf("%s[%u] is %#llx, not %#llx\n", name, i, (unsigned long long)found, (unsigned long long)expected);
    }
}

static void compare_table(struct comparison *c, const struct field *fields, const char *prefix, const uint8_t *a,
                          const uint8_t *b)
{
    for (const struct field *field = fields; field->tag != 0; field++) {
        const uint8_t *from = a + field->offset, *to = b + field->offset;
        char name[64];

        snprintf(name, sizeof(name), "%s%s%s", prefix, field->name, field->table != NULL ? "." : "");
        if (field->table == NULL) {
            compare_integers(c, field, name, from, to);
            continue;
        }
        for (uint32_t i = 0; i < field->count; i++)
            compare_table(c, field->table, name, from + i * field->width, to + i * field->width);
    }
}

unsigned compare_states(const struct x86_state *expected, const struct x86_state *found, compare_tolerate_fn *tolerate,
                        void *ctx)
{
    struct comparison c = {.tolerate = tolerate, .ctx = ctx};

    compare_table(&c, x86_state_fields, "", (const uint8_t *)expected, (const uint8_t *)found);
    return c.differences;
}

void compare_normalize_xsave(struct x86_state *state)
{
    uint64_t present = load_le64(state->xsave + X86_XSAVE_XSTATE_BV);

    if (!(present & X86_XSTATE_X87)) {
        memset(state->xsave, 0, X86_XSAVE_MXCSR);
        memset(state->xsave + X86_XSAVE_ST, 0, X86_XSAVE_XMM - X86_XSAVE_ST);
        store_le16(state->xsave + X86_XSAVE_FCW, 0x37f);
    }
    store_le32(state->xsave + X86_XSAVE_MXCSR_MASK, 0);
    if (!(present & X86_XSTATE_SSE))
        memset(state->xsave + X86_XSAVE_XMM, 0, 256);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++)
        if (!(present & BIT(i)))
            memset(state->xsave + x86_xstate_components[i].offset, 0, x86_xstate_components[i].size);
    store_le64(state->xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_ALL);
}
