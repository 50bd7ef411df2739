/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engines built in, and the choice between them. */
#include "engine/engine.h"

#include <errno.h>

#include "base/text.h"
#include "engine/dbt/dbt.h"
#include "engine/kvm/kvm.h"

const struct engine_type *const engine_types[] = {
    &kvm_engine_type,
    &dbt_engine_type,
    NULL,
};

static int choose_named(const char *name, const struct engine_type **ret_type, struct err *err)
{
    struct engine_probe probe;
    char names[64] = "auto";

    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        size_t used = strlen(names);

        text_format(names + used, sizeof(names) - used, ", %s", engine_types[i]->name);
        if (!text_equal(name, engine_types[i]->name))
            continue;
        engine_types[i]->probe(&probe);
        if (!probe.usable)
            return err_set(err, -ENODEV, "engine %s does not work here: %s", name, probe.reason);
        *ret_type = engine_types[i];
        return 0;
    }
    return err_set(err, -ENOENT, "there is no engine \"%s\": there are %s", name, names);
}

static void say_why(char *ret_why, size_t size, const struct engine_type *chosen, const struct engine_probe *probe,
                    const char *others)
{
    if (ret_why == NULL)
        return;
    if (probe->native)
        text_format(ret_why, size, "%s: runs kernels at hardware speed (%llu ps for a simple instruction)", chosen->name,
                    (unsigned long long)probe->instruction_ns_x1000);
    else
        text_format(ret_why, size, "%s: %s", chosen->name, others);
}

/* The first native engine, else the last that works: the list goes from the fastest to the most portable. */
static int choose_auto(const struct engine_type **ret_type, char *ret_why, size_t size, struct err *err)
{
    const struct engine_type *chosen = NULL;
    struct engine_probe probe, chosen_probe = {0};
    char reasons[400] = "";

    for (unsigned i = 0; engine_types[i] != NULL && !chosen_probe.native; i++) {
        size_t used = strlen(reasons);

        engine_types[i]->probe(&probe);
        if (probe.reason[0] != 0)
            text_format(reasons + used, sizeof(reasons) - used, "%s%s", used != 0 ? "; " : "", probe.reason);
        if (!probe.usable)
            continue;
        chosen = engine_types[i];
        chosen_probe = probe;
    }
    if (chosen == NULL)
        return err_set(err, -ENODEV, "no engine works here: %s", reasons);
    say_why(ret_why, size, chosen, &chosen_probe, reasons);
    *ret_type = chosen;
    return 0;
}

int engine_choose(const char *name, const struct engine_type **ret_type, char *ret_why, size_t size, struct err *err)
{
    if (!text_equal(name, "auto"))
        return choose_named(name, ret_type, err);
    return choose_auto(ret_type, ret_why, size, err);
}
