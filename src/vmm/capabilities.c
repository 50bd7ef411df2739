/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capabilities as JSON. */
#include "vmm/capabilities.h"

#include <jansson.h>

#include "engine/engine.h"
#include "x86/cpuid.h"

static json_t *engines(void)
{
    json_t *list = json_object();

    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        struct engine_probe probe;

        engine_types[i]->probe(&probe);
        json_object_set_new(list, engine_types[i]->name, json_pack("{s:b, s:b, s:s}", "usable", probe.usable, "native",
                                                                   probe.native, "reason", probe.reason));
    }
    return list;
}

static json_t *models(void)
{
    json_t *list = json_array();

    for (const char *const *name = cpuid_model_names(); *name != NULL; name++)
        json_array_append_new(list, json_string(*name));
    return list;
}

void capabilities_print(FILE *out)
{
    json_t *all = json_pack("{s:o, s:o, s:i}", "engines", engines(), "cpu-models", models(), "cpus-max", ENGINE_CPUS_MAX);

    json_dumpf(all, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(all);
}
