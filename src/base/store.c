/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named documents in a directory. */
#include "base/store.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

#define MARKS "autostart"
#define SUFFIX ".xml"

static int path_in(const char *directory, const char *below, const char *name, char ret_path[static PATH_MAX])
{
    return text_format(ret_path, PATH_MAX, "%s/%s%s" SUFFIX, directory, below, name);
}

int store_make(const char *directory, bool with_marks)
{
    char marks[PATH_MAX];
    int r = directory_make(directory, 0755);

    if (r < 0 || !with_marks)
        return r;
    r = text_format(marks, sizeof(marks), "%s/" MARKS, directory);
    return r < 0 ? r : directory_make(marks, 0755);
}

int store_write(const char *directory, const char *name, const void *data, size_t size)
{
    char path[PATH_MAX];
    int r = path_in(directory, "", name, path);

    return r < 0 ? r : file_write_atomic(path, data, size, 0600);
}

int store_read(const char *directory, const char *name, size_t max, char **ret_text)
{
    char path[PATH_MAX];
    void *text;
    size_t size;
    int r = path_in(directory, "", name, path);

    if (r == 0)
        r = fd_read_file(path, max, &text, &size);
    if (r == 0)
        *ret_text = text;
    return r;
}

/* The mark goes first: one without a document would be nobody's. */
int store_remove(const char *directory, const char *name)
{
    char path[PATH_MAX];
    int r = store_mark(directory, name, false);

    if (r == 0)
        r = path_in(directory, "", name, path);
    return r < 0 ? r : file_remove(path);
}

int store_mark(const char *directory, const char *name, bool marked)
{
    char path[PATH_MAX], target[NAME_MAX + 16];
    int r = path_in(directory, MARKS "/", name, path);

    if (r == 0 && !marked)
        return file_remove(path);
    if (r == 0)
        r = text_format(target, sizeof(target), "../%s" SUFFIX, name);
    if (r == 0 && symlink(target, path) < 0 && errno != EEXIST)
        r = -errno;
    return r;
}

bool store_marked(const char *directory, const char *name)
{
    char path[PATH_MAX];
    struct stat about;

    return path_in(directory, MARKS "/", name, path) == 0 && lstat(path, &about) == 0;
}

int store_each(const char *directory, void (*found)(void *ctx, const char *name), void *ctx, struct err *err)
{
    const size_t suffix = strlen(SUFFIX);
    DIR *entries = opendir(directory);

    if (entries == NULL)
        return err_set(err, -errno, "cannot read directory %s: %s", directory, strerror(errno));
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        size_t length = strlen(entry->d_name);

        if (entry->d_name[0] == '.' || length <= suffix || !text_equal(entry->d_name + length - suffix, SUFFIX))
            continue;
        entry->d_name[length - suffix] = 0;
        found(ctx, entry->d_name);
    }
    closedir(entries);
    return 0;
}
