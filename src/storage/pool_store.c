/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of pools: definitions that last, marks of autostart, and what is active. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "protocol/xml.h"
#include "storage/pool_private.h"

#define MOUNTED_MARK "<!-- mounted -->\n"

static int path_in(const char *directory, const char *below, const char *name, char ret_path[static PATH_MAX])
{
    return text_format(ret_path, PATH_MAX, "%s/%s%s.xml", directory, below, name);
}

static int store(const char *directory, const struct pool_definition *definition, const char *comment, struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    char path[PATH_MAX];
    int r = buffer_printf(&text, "%s", comment);

    if (r == 0)
        r = pool_definition_format(definition, NULL, &text);
    if (r == 0)
        r = path_in(directory, "", definition->name, path);
    if (r == 0)
        r = file_write_atomic(path, text.data, text.size, 0600);
    buffer_fini(&text);
    return r < 0 ? err_set(err, r, "cannot store pool %s in %s: %s", definition->name, directory, strerror(-r)) : 0;
}

static int forget(const char *directory, const char *below, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int r = path_in(directory, below, name, path);

    if (r == 0)
        r = file_remove(path);
    return r < 0 ? err_set(err, r, "cannot remove pool %s from %s: %s", name, directory, strerror(-r)) : 0;
}

int pool_store_config(const struct pools *pools, const struct pool_definition *definition, struct err *err)
{
    return store(pools->options.config_directory, definition,
                 "<!-- Written by ferryd; changes are lost. Use virsh pool-edit. -->\n", err);
}

int pool_forget_config(const struct pools *pools, const char *name, struct err *err)
{
    int r = forget(pools->options.config_directory, "autostart/", name, err);

    return r < 0 ? r : forget(pools->options.config_directory, "", name, err);
}

int pool_store_autostart(const struct pools *pools, const char *name, bool autostart, struct err *err)
{
    const char *directory = pools->options.config_directory;
    char path[PATH_MAX], target[STORAGE_NAME_MAX + 16];
    int r;

    if (!autostart)
        return forget(directory, "autostart/", name, err);
    r = path_in(directory, "autostart/", name, path);
    if (r == 0)
        r = text_format(target, sizeof(target), "../%s.xml", name);
    if (r == 0 && symlink(target, path) < 0 && errno != EEXIST)
        r = -errno;
    return r < 0 ? err_set(err, r, "cannot mark pool %s for autostart in %s: %s", name, directory, strerror(-r)) : 0;
}

int pool_store_active(const struct pools *pools, const struct pool_definition *definition, bool mounted,
                      struct err *err)
{
    return store(pools->options.run_directory, definition, mounted ? MOUNTED_MARK : "", err);
}

int pool_forget_active(const struct pools *pools, const char *name, struct err *err)
{
    return forget(pools->options.run_directory, "", name, err);
}

static int load(const struct pools *pools, enum store_kind kind, const char *name, struct stored *stored,
                struct err *err)
{
    const char *directory = kind == STORE_CONFIG ? pools->options.config_directory : pools->options.run_directory;
    char path[PATH_MAX];
    struct stat about;
    void *text;
    size_t size;
    int r = path_in(directory, "", name, path);

    if (r == 0)
        r = fd_read_file(path, XML_SIZE_MAX, &text, &size);
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
    stored->autostart = path_in(directory, "autostart/", name, path) == 0 && lstat(path, &about) == 0;
    return 0;
}

int pool_each_stored(const struct pools *pools, enum store_kind kind, void (*found)(void *ctx, struct stored *stored),
                     void *ctx, struct err *err)
{
    const char *directory = kind == STORE_CONFIG ? pools->options.config_directory : pools->options.run_directory;
    DIR *entries = opendir(directory);

    if (entries == NULL)
        return err_set(err, -errno, "cannot read directory %s: %s", directory, strerror(errno));
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        size_t length = strlen(entry->d_name);
        struct stored stored = {0};
        struct err why = ERR_INIT;

        if (entry->d_name[0] == '.' || length < 5 || strcmp(entry->d_name + length - 4, ".xml") != 0)
            continue;
        entry->d_name[length - 4] = 0;
        if (load(pools, kind, entry->d_name, &stored, &why) == 0)
            found(ctx, &stored);
        else if (pools->options.warn != NULL)
            pools->options.warn(pools->options.ctx, why.message);
    }
    closedir(entries);
    return 0;
}

int pool_make_directories(const struct pools *pools, struct err *err)
{
    char autostart[PATH_MAX];
    const char *const directories[] = {pools->options.config_directory, autostart, pools->options.run_directory};
    int r = text_format(autostart, sizeof(autostart), "%s/autostart", pools->options.config_directory);

    for (size_t i = 0; r == 0 && i < sizeof(directories) / sizeof(directories[0]); i++) {
        r = directory_make(directories[i], 0755);
        if (r < 0)
            return err_set(err, r, "cannot make directory %s: %s", directories[i], strerror(-r));
    }
    return r;
}
