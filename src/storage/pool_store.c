/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of pools: definitions that last, marks of autostart, and what is active. */
#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/store.h"
#include "base/text.h"
#include "protocol/xml.h"
#include "storage/pool_private.h"

#define MOUNTED_MARK "<!-- mounted -->\n"

static int write_pool(const char *directory, const struct pool_definition *definition, const char *comment, struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    int r = buffer_printf(&text, "%s", comment);

    if (r == 0)
        r = pool_definition_format(definition, NULL, &text);
    if (r == 0)
        r = store_write(directory, definition->name, text.data, text.size);
    buffer_fini(&text);
    return r < 0 ? err_set(err, r, "cannot store pool %s in %s: %s", definition->name, directory, strerror(-r)) : 0;
}

static int remove_pool(const char *directory, const char *name, struct err *err)
{
    int r = store_remove(directory, name);

    return r < 0 ? err_set(err, r, "cannot remove pool %s from %s: %s", name, directory, strerror(-r)) : 0;
}

int pool_store_config(const struct pools *pools, const struct pool_definition *definition, struct err *err)
{
    return write_pool(pools->options.config_directory, definition,
                      "<!-- Written by ferryd; changes are lost. Use virsh pool-edit. -->\n", err);
}

int pool_forget_config(const struct pools *pools, const char *name, struct err *err)
{
    return remove_pool(pools->options.config_directory, name, err);
}

int pool_store_autostart(const struct pools *pools, const char *name, bool autostart, struct err *err)
{
    const char *directory = pools->options.config_directory;
    int r = store_mark(directory, name, autostart);

    return r < 0 ? err_set(err, r, "cannot mark pool %s for autostart in %s: %s", name, directory, strerror(-r)) : 0;
}

int pool_store_active(const struct pools *pools, const struct pool_definition *definition, bool mounted,
                      struct err *err)
{
    return write_pool(pools->options.run_directory, definition, mounted ? MOUNTED_MARK : "", err);
}

int pool_forget_active(const struct pools *pools, const char *name, struct err *err)
{
    return remove_pool(pools->options.run_directory, name, err);
}

static int load(const char *directory, const char *name, struct stored *stored, struct err *err)
{
    char *text;
    int r = store_read(directory, name, XML_SIZE_MAX, &text);

    if (r < 0)
        return err_set(err, r, "cannot read pool %s from %s: %s", name, directory, strerror(-r));
    r = pool_definition_parse(text, &stored->definition, err);
    stored->mounted = text_starts_with(text, MOUNTED_MARK);
    free(text);
    if (r == 0 && !text_equal(stored->definition->name, name)) {
        r = err_set(err, -EINVAL, "the file is that of pool %s", stored->definition->name);
        pool_definition_free(stored->definition);
    }
    if (r < 0) {
        err_prefix(err, "pool %s in %s", name, directory);
        return r;
    }
    stored->autostart = store_marked(directory, name);
    return 0;
}

struct loading {
    const struct pools *pools;
    const char *directory;
    void (*found)(void *ctx, struct stored *stored);
    void *ctx;
};

static void load_one(void *ctx, const char *name)
{
    const struct loading *loading = ctx;
    const struct pools_options *options = &loading->pools->options;
    struct stored stored = {0};
    struct err why = ERR_INIT;

    if (load(loading->directory, name, &stored, &why) == 0)
        loading->found(loading->ctx, &stored);
    else if (options->warn != NULL)
        options->warn(options->ctx, why.message);
}

int pool_each_stored(const struct pools *pools, enum store_kind kind, void (*found)(void *ctx, struct stored *stored),
                     void *ctx, struct err *err)
{
    const char *directory = kind == STORE_CONFIG ? pools->options.config_directory : pools->options.run_directory;
    struct loading loading = {.pools = pools, .directory = directory, .found = found, .ctx = ctx};

    return store_each(directory, load_one, &loading, err);
}

int pool_make_directories(const struct pools *pools, struct err *err)
{
    const char *config = pools->options.config_directory, *run = pools->options.run_directory;
    int r = store_make(config, true);

    if (r < 0)
        return err_set(err, r, "cannot make directory %s: %s", config, strerror(-r));
    r = store_make(run, false);
    return r < 0 ? err_set(err, r, "cannot make directory %s: %s", run, strerror(-r)) : 0;
}
