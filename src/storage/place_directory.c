/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory of this host. Names are resolved below its descriptor and never leave it, whatever links lie there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "storage/place_private.h"

#define ENTRIES_MAX 100000u

struct directory {
    struct storage_place place;
    int fd;
};

struct file_handle_local {
    struct storage_handle handle;
    int fd;
    int directory; /* of a file without a name: the place's descriptor, which outlives it then */
};

static int directory_fd(struct storage_place *place)
{
    return CONTAINER_OF(place, struct directory, place)->fd;
}

static int open_below(struct storage_place *place, const char *name, int flags, mode_t mode)
{
    const struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | ((flags & O_PATH) == 0 ? O_NOCTTY : 0)),
                                 .mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, directory_fd(place), name, &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

static void describe(const char *name, const struct stat *st, struct storage_file *file)
{
    *file = (struct storage_file){.kind = S_ISREG(st->st_mode)   ? STORAGE_FILE
                                          : S_ISDIR(st->st_mode) ? STORAGE_DIRECTORY
                                                                 : STORAGE_OTHER,
                                  .size = (uint64_t)st->st_size,
                                  .allocated = (uint64_t)st->st_blocks * 512,
                                  .mode = st->st_mode & 07777,
                                  .uid = st->st_uid,
                                  .gid = st->st_gid,
                                  .modified_s = st->st_mtim.tv_sec,
                                  .modified_ns = (uint32_t)st->st_mtim.tv_nsec};
    text_format(file->name, sizeof(file->name), "%s", name);
}

/* Through an O_PATH descriptor, so that links to elsewhere are not followed, nor pipes waited for. */
static int directory_look(struct storage_place *place, const char *name, struct storage_file *ret_file)
{
    int fd = open_below(place, name, O_PATH, 0), r = 0;
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        r = -errno;
    close(fd);
    if (r == 0)
        describe(name, &st, ret_file);
    return r;
}

static int directory_list(struct storage_place *place, int (*found)(void *ctx, const struct storage_file *file), void *ctx)
{
    int fd = open_below(place, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    unsigned count = 0;

    if (entries == NULL) {
        r = fd < 0 ? fd : -errno;
        fd_close(&fd);
        return r;
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(entries)) != NULL;) {
        struct storage_file file;

        if (!place_name_valid(entry->d_name) || directory_look(place, entry->d_name, &file) < 0)
            continue; /* vanished meanwhile, or a link to elsewhere */
        r = ++count > ENTRIES_MAX ? -EFBIG : found(ctx, &file);
    }
    closedir(entries);
    return r;
}

static int directory_space(struct storage_place *place, struct storage_space *ret_space)
{
    struct statvfs about;

    if (fstatvfs(directory_fd(place), &about) < 0)
        return -errno;
    ret_space->capacity = (uint64_t)about.f_blocks * about.f_frsize;
    ret_space->available = (uint64_t)about.f_bavail * about.f_frsize;
    return 0;
}

static int give_size(int fd, uint64_t size, uint64_t allocate)
{
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    if (allocate == 0 || fallocate(fd, 0, 0, (off_t)allocate) == 0 || errno == EOPNOTSUPP)
        return 0;
    return -errno;
}

static int directory_resize(struct storage_place *place, const char *name, uint64_t size, bool allocate)
{
    int fd = open_below(place, name, O_RDWR | O_NONBLOCK, 0), r;
    struct stat st;

    if (fd < 0)
        return fd;
    r = fstat(fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
    if (r == 0 && allocate && fallocate(fd, 0, 0, (off_t)size) < 0) /* first: a full disk leaves the size as it was */
        r = -errno;
    if (r == 0 && ftruncate(fd, (off_t)size) < 0)
        r = -errno;
    close(fd);
    return r;
}

static int directory_remove(struct storage_place *place, const char *name)
{
    return unlinkat(directory_fd(place), name, 0) < 0 ? -errno : 0;
}

static int local_transfer(struct storage_handle *handle, void *data, size_t size, uint64_t offset, bool write)
{
    int fd = CONTAINER_OF(handle, struct file_handle_local, handle)->fd;

    return write ? fd_pwrite_all(fd, data, size, offset) : fd_pread_all(fd, data, size, offset);
}

static int local_flush(struct storage_handle *handle)
{
    return fdatasync(CONTAINER_OF(handle, struct file_handle_local, handle)->fd) < 0 ? -errno : 0;
}

static void local_close(struct storage_handle *handle)
{
    struct file_handle_local *local = CONTAINER_OF(handle, struct file_handle_local, handle);

    fd_close(&local->fd);
    free(local);
}

/* Makes that durable, too. */
static int local_publish(struct storage_handle *handle, const char *name)
{
    struct file_handle_local *local = CONTAINER_OF(handle, struct file_handle_local, handle);
    char path[32];

    (void)text_format(path, sizeof(path), "/proc/self/fd/%d", local->fd);
    if (fsync(local->fd) < 0 || linkat(AT_FDCWD, path, local->directory, name, AT_SYMLINK_FOLLOW) < 0 || fsync(local->directory) < 0)
        return -errno;
    return 0;
}

static const struct handle_type local_handle = {
    .transfer = local_transfer, .flush = local_flush, .publish = local_publish, .close = local_close};

/* File systems that know no files without a name say so in several ways. */
static int open_new(struct storage_place *place, const struct storage_new *new_file, bool *ret_nameless)
{
    struct stat there;
    int fd;

    if (fstatat(directory_fd(place), new_file->name, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    fd = open_below(place, ".", O_RDWR | O_TMPFILE, new_file->mode);
    *ret_nameless = fd >= 0;
    return fd >= 0 || (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -EINVAL && fd != -ENOENT)
               ? fd
               : open_below(place, new_file->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, new_file->mode);
}

static int directory_create(struct storage_place *place, const struct storage_new *new_file, struct storage_handle **ret_handle,
                            struct err *err)
{
    struct file_handle_local *local = calloc(1, sizeof(*local));
    bool nameless = false;
    int fd = local == NULL ? -ENOMEM : open_new(place, new_file, &nameless), r = 0;

    if (fd < 0) {
        free(local);
        return fd;
    }
    local->handle = (struct storage_handle){.type = &local_handle, .size = new_file->size, .nameless = nameless};
    local->fd = fd;
    local->directory = directory_fd(place);
    if ((new_file->uid != (uid_t)-1 || new_file->gid != (gid_t)-1) && fchown(fd, new_file->uid, new_file->gid) < 0)
        r = err_set(err, -errno, "cannot give the volume %s to user %d, group %d: %s", new_file->name, (int)new_file->uid,
                    (int)new_file->gid, strerror(errno));
    else if (fchmod(fd, new_file->mode) < 0)
        r = -errno;
    if (r == 0)
        r = give_size(fd, new_file->size, new_file->allocate);
    if (r < 0)
        handle_discard(&local->handle, place, new_file->name);
    else
        *ret_handle = &local->handle;
    return r;
}

static int directory_open(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle,
                          struct err *err)
{
    struct file_handle_local *local = calloc(1, sizeof(*local));
    int fd = open_below(place, name, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0);
    struct stat st;

    if (local == NULL || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        int r = local == NULL ? -ENOMEM : fd < 0 ? fd : -EINVAL;

        free(local);
        fd_close(&fd);
        return err_set(err, r, "cannot open the volume %s: %s", name, strerror(-r));
    }
    local->handle = (struct storage_handle){.type = &local_handle, .size = (uint64_t)st.st_size};
    local->fd = fd;
    *ret_handle = &local->handle;
    return 0;
}

static void directory_close(struct storage_place *place)
{
    struct directory *directory = CONTAINER_OF(place, struct directory, place);

    fd_close(&directory->fd);
    free(directory);
}

static const struct place_type directory_type = {
    .close = directory_close,
    .space = directory_space,
    .list = directory_list,
    .look = directory_look,
    .create = directory_create,
    .resize = directory_resize,
    .remove = directory_remove,
    .open = directory_open,
};

int place_open_directory(const char *path, struct storage_place **ret_place, struct err *err)
{
    struct directory *directory = calloc(1, sizeof(*directory));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (directory == NULL || fd < 0) {
        int r = directory == NULL ? -ENOMEM : -errno;

        free(directory);
        fd_close(&fd);
        return err_set(err, r, "cannot open directory '%s': %s", path, strerror(-r));
    }
    directory->place.type = &directory_type;
    directory->fd = fd;
    *ret_place = &directory->place;
    return 0;
}
