/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may stand behind "--engine dbt,". */
#ifndef FERRY_ENGINE_DBT_OPTIONS_H
#define FERRY_ENGINE_DBT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/dbt/mirror.h"

struct dbt_options {
    bool translate;    /* tier=translate (the default); tier=interp: the first tier does everything */
    bool exact_flags;  /* flags=exact: arithmetic flags that nobody can read are right, too, in frames of faults */
    uint32_t lockstep; /* lockstep=COUNT: so many executions of each translation are compared with the interpreter; on: all; off: 0 */
    bool entry_checks; /* checks=on: translations are checked whenever they are entered (entry_check.h) */
    bool perf_map;     /* perf-map=on: /tmp/perf-PID.map says which guest code translations are of, for perf(1) */
    enum mirror_use mirror; /* mirror=auto (the default), always (user code at once, for tests), off */
    size_t code_size;  /* code-cache=SIZE: bytes of translated code a vCPU, 1M to 1G */
};

/* text: "name=value,..."; NULL or empty: the defaults. -EINVAL with a sentence. */
int dbt_parse_options(const char *text, struct dbt_options *ret_options, struct err *err);

#endif
