/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The base room's atomic files, with sentences. */
#include "daemon/files.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

int files_make_directory(const char *path, unsigned mode, struct err *err)
{
    int r = directory_make(path, mode);

    return r < 0 ? err_set(err, r, "cannot make the directory %s: %s", path, strerror(-r)) : 0;
}

int files_write(const char *path, const void *data, size_t size, unsigned mode, struct err *err)
{
    int r = file_write_atomic(path, data, size, mode);

    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int files_read(const char *path, size_t max, char **ret_text, struct err *err)
{
    void *data;
    size_t size;
    int r = fd_read_file(path, max, &data, &size);

    if (r < 0)
        return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
    *ret_text = data;
    return 0;
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);

    return length > end && text_equal(name + length - end, suffix);
}

void files_each(const char *directory, const char *suffix, files_each_fn *fn, void *ctx)
{
    DIR *stream = opendir(directory);
    struct dirent *entry;

    if (stream == NULL)
        return;
    while ((entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.' && ends_in(entry->d_name, suffix))
            fn(ctx, entry->d_name);
    }
    closedir(stream);
}
