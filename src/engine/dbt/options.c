/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of the translator engine. */
#include "engine/dbt/options.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/text.h"

#define CODE_SIZE_DEFAULT MIB(128)
#define OPTION_MAX 32

static int set_option(struct dbt_options *options, const char *word, struct err *err)
{
    uint64_t size;

    if (text_equal(word, "tier=translate")) {
        options->translate = true;
    } else if (text_equal(word, "tier=interp")) {
        options->translate = false;
    } else if (text_equal(word, "flags=exact")) {
        options->exact_flags = true;
    } else if (text_equal(word, "flags=lazy")) {
        options->exact_flags = false;
    } else if (text_equal(word, "checks=on")) {
        options->entry_checks = true;
    } else if (text_equal(word, "checks=off")) {
        options->entry_checks = false;
    } else if (text_equal(word, "perf-map=on")) {
        options->perf_map = true;
    } else if (text_equal(word, "perf-map=off")) {
        options->perf_map = false;
    } else if (text_equal(word, "lockstep=on")) {
        options->lockstep = UINT32_MAX;
    } else if (text_equal(word, "lockstep=off")) {
        options->lockstep = 0;
    } else if (text_starts_with(word, "lockstep=")) {
        if (text_parse_u64(word + strlen("lockstep="), &size) < 0 || size > UINT32_MAX)
            return err_set(err, -EINVAL, "engine dbt: lockstep is on, off, or how many executions of each translation are compared, "
                           "not \"%s\"", word + strlen("lockstep="));
        options->lockstep = (uint32_t)size;
    } else if (text_equal(word, "mirror=auto")) {
        options->mirror = MIRROR_AUTO;
    } else if (text_equal(word, "mirror=always")) {
        options->mirror = MIRROR_ALWAYS;
    } else if (text_equal(word, "mirror=off")) {
        options->mirror = MIRROR_OFF;
    } else if (text_starts_with(word, "code-cache=")) {
        if (text_parse_size(word + strlen("code-cache="), 1, &size) < 0 || size < MIB(1) || size > GIB(1))
            return err_set(err, -EINVAL, "engine dbt: \"%s\" is no size from 1M to 1G", word + strlen("code-cache="));
        options->code_size = (size_t)size;
    } else {
        return err_set(err, -EINVAL, "engine dbt has no option \"%s\"; it has tier=translate, tier=interp, flags=lazy, "
                       "flags=exact, mirror=auto|always|off, lockstep=on|off|COUNT, checks=on|off, perf-map=on|off and "
                       "code-cache=SIZE", word);
    }
    return 0;
}

int dbt_parse_options(const char *text, struct dbt_options *ret_options, struct err *err)
{
    struct dbt_options options = {.translate = true, .code_size = CODE_SIZE_DEFAULT};
    const char *at = text != NULL ? text : "";

    while (*at != '\0') {
        size_t length = strcspn(at, ",");
        char word[OPTION_MAX];
        int r;

        if (length >= sizeof(word))
            return err_set(err, -EINVAL, "engine dbt has no option as long as \"%s\"", at);
        memcpy(word, at, length);
        word[length] = '\0';
        r = set_option(&options, word, err);
        if (r < 0)
            return r;
        at += length + (at[length] == ',');
    }
    if (options.lockstep != 0 && !options.translate)
        return err_set(err, -EINVAL, "engine dbt: lockstep compares translations with the interpreter, and tier=interp makes none");
    *ret_options = options;
    return 0;
}
