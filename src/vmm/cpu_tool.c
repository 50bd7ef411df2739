/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models as people ask for them on the command line. */
#include "vmm/cpu_tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "engine/engine.h"
#include "x86/cpuid_baseline.h"

#define HOSTS_MAX 64
#define USAGE "usage: ferry cpu list [--engine NAME] | describe [--engine NAME] | baseline FILE..."

/* The only option: --engine NAME. */
static int choose_engine(int argc, char *const argv[], const struct engine_type **ret_type, struct err *err)
{
    const char *name = "auto";

    if (argc == 3 && text_equal(argv[1], "--engine"))
        name = argv[2];
    else if (argc == 2 && text_starts_with(argv[1], "--engine="))
        name = argv[1] + strlen("--engine=");
    else if (argc != 1)
        return err_set(err, -EINVAL, USAGE);
    return engine_choose(name, ret_type, NULL, 0, err);
}

static void print_model(const char *name, const struct cpuid_table *supported)
{
    const struct cpuid_request request = {.model = name, .supported = supported, .cpus = 1, .tsc_khz = 1000000};
    struct cpuid_level level = {0};
    struct cpuid_features have;
    struct cpuid_table table;
    char names[300];

    if (cpuid_build(&request, &table, NULL) == 0) {
        printf("%-10s  yes\n", name);
        return;
    }
    for (unsigned i = 0; cpuid_level(i, &level) && !text_equal(level.name, name);)
        i++;
    cpuid_features_get(supported, &have);
    for (unsigned w = 0; w < CPUID_WORDS; w++)
        level.features.word[w] &= ~have.word[w];
    cpuid_features_print(&level.features, names, sizeof(names));
    printf("%-10s  no: lacks %s\n", name, names);
}

static int list(int argc, char *const argv[], struct err *err)
{
    const struct engine_type *type;
    struct cpuid_table supported;
    int r = choose_engine(argc, argv, &type, err);

    if (r == 0)
        r = type->supported_cpuid(&supported, err);
    if (r < 0)
        return r;
    printf("%-10s  with engine %s on this host\n", "model", type->name);
    for (const char *const *name = cpuid_model_names(); *name != NULL; name++)
        print_model(*name, &supported);
    return 0;
}

static int describe(int argc, char *const argv[], struct err *err)
{
    struct buffer text = BUFFER_INIT(CPUID_DESCRIPTION_MAX);
    struct cpuid_description description;
    const struct engine_type *type;
    struct cpuid_table supported;
    struct engine_tsc tsc;
    int r = choose_engine(argc, argv, &type, err);

    if (r == 0)
        r = type->supported_cpuid(&supported, err);
    if (r == 0)
        r = type->host_tsc(&tsc, err);
    if (r < 0)
        return r;
    cpuid_describe(&supported, type->name, &description);
    description.tsc_khz = tsc.khz;
    description.tsc_fixed = !tsc.scales;
    r = cpuid_description_print(&description, &text);
    if (r == 0)
        fwrite(text.data, 1, text.size, stdout);
    buffer_fini(&text);
    return r < 0 ? err_set(err, r, "cannot describe this host's CPU: %s", strerror(-r)) : 0;
}

/* Any kind of file: a pipe from another host too. */
static int read_description(const char *path, struct cpuid_description *ret_description, struct err *err)
{
    static char text[CPUID_DESCRIPTION_MAX + 1];
    FILE *file = fopen(path, "re");
    size_t size;
    int r;

    if (file == NULL)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    size = fread(text, 1, sizeof(text), file);
    r = ferror(file) ? err_set(err, -EIO, "it can't be read") : cpuid_description_parse(text, size, ret_description, err);
    fclose(file);
    return r < 0 ? err_prefix(err, "cannot use %s", path) : 0;
}

static int baseline(int argc, char *const argv[], struct err *err)
{
    static struct cpuid_description hosts[HOSTS_MAX];
    char model[CPUID_MODEL_MAX];
    int r = 0;

    if (argc < 2 || argc - 1 > HOSTS_MAX)
        return err_set(err, -EINVAL, "usage: ferry cpu baseline FILE...: 1 to %d files, each with what \"ferry cpu describe\" "
                       "printed on one host", HOSTS_MAX);
    for (int i = 1; r == 0 && i < argc; i++)
        r = read_description(argv[i], &hosts[i - 1], err);
    if (r == 0)
        r = cpuid_baseline(hosts, (const char *const *)argv + 1, (unsigned)argc - 1, model, err);
    if (r == 0)
        printf("%s\n", model);
    return r;
}

int cpu_tool(int argc, char *const argv[], struct err *err)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char *const argv[], struct err *err);
    } verbs[] = {{"list", list}, {"describe", describe}, {"baseline", baseline}};

    for (unsigned i = 0; argc > 0 && i < ARRAY_SIZE(verbs); i++)
        if (text_equal(argv[0], verbs[i].name))
            return verbs[i].run(argc, argv, err);
    return err_set(err, -EINVAL, USAGE);
}
