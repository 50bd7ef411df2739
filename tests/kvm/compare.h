/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparing two CPU states member by member along their field table, so that no member is forgotten. */
#ifndef FERRY_TESTS_KVM_COMPARE_H
#define FERRY_TESTS_KVM_COMPARE_H

#include <stdbool.h>

#include "x86/state.h"

/* Whether a difference in the member called `name` ("rip", "msr.pat", "segment.base") may be. */
typedef bool compare_tolerate_fn(void *ctx, const char *name, uint64_t expected, uint64_t found);

/* Number of members that differ and are not tolerated; each is printed. tolerate may be NULL. */
unsigned compare_states(const struct x86_state *expected, const struct x86_state *found, compare_tolerate_fn *tolerate,
                        void *ctx);

/* Puts components that XSTATE_BV says to be in their initial configuration into it, and sets all bits: two images are then
 * equal when they mean the same. */
void compare_normalize_xsave(struct x86_state *state);

#endif
