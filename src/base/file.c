/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files that must survive a crash. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

#define TEMPORARY ".ferry-new" /* what files are called until they are whole */
#define DEPTH_MAX 8

static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int r = slash == NULL
                ? text_format(directory, sizeof(directory), ".")
                : text_format(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (r < 0)
        return r;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    fd_close(&fd);
    return r;
}

static int write_new(int fd, const void *data, size_t size, mode_t mode)
{
    int r = fchmod(fd, mode) < 0 ? -errno : fd_write_all(fd, data, size);
    return r < 0 ? r : fsync(fd) < 0 ? -errno : 0;
}

int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode)
{
    char temporary[PATH_MAX];
    int r = text_format(temporary, sizeof(temporary), "%s.XXXXXX" TEMPORARY, path);
    if (r < 0)
        return r;
    int fd = mkostemps(temporary, strlen(TEMPORARY), O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = write_new(fd, data, size, mode);
    fd_close(&fd);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(temporary);
        return r;
    }
    return sync_directory_of(path);
}

int file_remove(const char *path)
{
    if (unlink(path) < 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_directory_of(path);
}

static int make_one(const char *path, mode_t mode)
{
    struct stat status;
    if (mkdir(path, mode) == 0)
        return 0;
    int saved = errno;
    return saved == EEXIST && stat(path, &status) == 0 && !S_ISDIR(status.st_mode) ? -ENOTDIR
           : saved == EEXIST                                                       ? 0
                                                                                   : -saved;
}

int directory_make(const char *path, mode_t mode)
{
    char prefix[PATH_MAX];
    int r = text_format(prefix, sizeof(prefix), "%s", path);
    for (char *slash = strchr(prefix + 1, '/'); r == 0 && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        r = make_one(prefix, mode);
        *slash = '/';
    }
    return r < 0 ? r : make_one(path, mode);
}

static bool is_temporary(const char *name)
{
    size_t length = strlen(name);
    return length > strlen(TEMPORARY) && text_equal(name + length - strlen(TEMPORARY), TEMPORARY);
}

/* Takes over fd. */
static void sweep(int fd, unsigned depth)
{
    DIR *entries = fdopendir(fd);
    if (entries == NULL) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (entry->d_type == DT_REG && is_temporary(entry->d_name))
            unlinkat(fd, entry->d_name, 0);
        if (entry->d_type != DT_DIR || text_equal(entry->d_name, ".") || text_equal(entry->d_name, "..") || depth == DEPTH_MAX)
            continue;
        int below = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            sweep(below, depth + 1);
    }
    closedir(entries);
}

void file_sweep(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        sweep(fd, 0);
}
