/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capabilities as JSON. */
#include "vmm/capabilities.h"

#include <jansson.h>
#include <stdbool.h>

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

/* The engine that a VM would get by itself. */
static const struct engine_type *default_engine(void)
{
    const struct engine_type *chosen = NULL;

    return engine_choose("auto", &chosen, NULL, 0, NULL) == 0 ? chosen : NULL;
}

static bool can_offer(const char *model, const struct cpuid_table *supported)
{
    const struct cpuid_request request = {.model = model, .supported = supported, .cpus = 1, .tsc_khz = 1000000};
    struct cpuid_table table;

    return cpuid_build(&request, &table, NULL) == 0;
}

static json_t *models(void)
{
    const struct engine_type *engine = default_engine();
    struct cpuid_table supported = {0};
    json_t *list = json_array();

    if (engine == NULL || engine->supported_cpuid(&supported, NULL) < 0)
        supported.count = 0;
    for (const char *const *name = cpuid_model_names(); *name != NULL; name++)
        json_array_append_new(list, json_pack("{s:s, s:b}", "name", *name, "usable", can_offer(*name, &supported)));
    return list;
}

void capabilities_print(FILE *out)
{
    json_t *all = json_pack("{s:o, s:o, s:i}", "engines", engines(), "cpu-models", models(), "cpus-max", ENGINE_CPUS_MAX);

    json_dumpf(all, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(all);
}
