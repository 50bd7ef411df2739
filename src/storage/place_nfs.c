/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory on an NFS server that is not mounted. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/file.h"
#include "nfs/tree.h"
#include "nfs/url.h"
#include "storage/place_private.h"

struct nfs_place {
    struct storage_place place;
    struct nfs_tree *tree;
    char *url; /* of the directory, without a query */
    char *query;
};

struct nfs_handle {
    struct storage_handle handle;
    struct nfs_file *file;
};

static struct nfs_place *to_nfs(struct storage_place *place)
{
    return CONTAINER_OF(place, struct nfs_place, place);
}

static void describe(const char *name, const struct nfs_attributes *attributes, struct storage_file *file)
{
    *file = (struct storage_file){.kind = attributes->type == NFS_TYPE_FILE        ? STORAGE_FILE
                                          : attributes->type == NFS_TYPE_DIRECTORY ? STORAGE_DIRECTORY
                                                                                   : STORAGE_OTHER,
                                  .size = attributes->size,
                                  .allocated = attributes->space_used,
                                  .mode = attributes->mode & 07777,
                                  .modified_s = attributes->modified_seconds,
                                  .modified_ns = attributes->modified_nanoseconds};
    text_format(file->name, sizeof(file->name), "%s", name);
}

static int nfs_look(struct storage_place *place, const char *name, struct storage_file *ret_file)
{
    struct nfs_attributes attributes;
    int r = nfs_tree_look(to_nfs(place)->tree, name, &attributes);

    if (r == 0)
        describe(name, &attributes, ret_file);
    return r;
}

struct listing {
    int (*found)(void *ctx, const struct storage_file *file);
    void *ctx;
};

static int on_entry(void *ctx, const struct nfs_entry *entry)
{
    struct listing *listing = ctx;
    struct storage_file file;

    if (!place_name_valid(entry->name))
        return 0;
    describe(entry->name, &entry->attributes, &file);
    return listing->found(listing->ctx, &file);
}

static int nfs_list(struct storage_place *place, int (*found)(void *ctx, const struct storage_file *file), void *ctx)
{
    struct listing listing = {.found = found, .ctx = ctx};

    return nfs_tree_list(to_nfs(place)->tree, on_entry, &listing);
}

static int nfs_space(struct storage_place *place, struct storage_space *ret_space)
{
    struct nfs_attributes attributes;
    int r = nfs_tree_space(to_nfs(place)->tree, &attributes);

    if (r == 0)
        *ret_space = (struct storage_space){.capacity = attributes.space_total, .available = attributes.space_available};
    return r;
}

static int nfs_resize(struct storage_place *place, const char *name, uint64_t size, bool allocate)
{
    return allocate ? -EOPNOTSUPP : nfs_tree_resize(to_nfs(place)->tree, name, size);
}

static int nfs_remove(struct storage_place *place, const char *name)
{
    return nfs_tree_remove(to_nfs(place)->tree, name);
}

/* One request, waited for. */
struct waiting {
    struct nfs_io io;
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool done;
};

static void on_done(struct nfs_io *io)
{
    struct waiting *waiting = CONTAINER_OF(io, struct waiting, io);

    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    pthread_cond_signal(&waiting->came);
    pthread_mutex_unlock(&waiting->lock);
}

static int perform(struct storage_handle *handle, enum nfs_io_operation operation, void *data, size_t size, uint64_t offset)
{
    const struct iovec iov = {.iov_base = data, .iov_len = size};
    struct waiting waiting = {
        .io = {.operation = operation, .offset = offset, .size = size, .iov = &iov, .iov_count = 1, .done = on_done},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .came = PTHREAD_COND_INITIALIZER};

    nfs_file_submit(CONTAINER_OF(handle, struct nfs_handle, handle)->file, &waiting.io);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.done)
        pthread_cond_wait(&waiting.came, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    return waiting.io.result;
}

static int nfs_transfer(struct storage_handle *handle, void *data, size_t size, uint64_t offset, bool write)
{
    return size == 0 ? 0 : perform(handle, write ? NFS_IO_WRITE : NFS_IO_READ, data, size, offset);
}

static int nfs_flush(struct storage_handle *handle)
{
    return perform(handle, NFS_IO_FLUSH, NULL, 0, 0);
}

static void nfs_handle_close(struct storage_handle *handle)
{
    struct nfs_handle *nfs = CONTAINER_OF(handle, struct nfs_handle, handle);

    nfs_file_close(nfs->file);
    free(nfs);
}

static const struct handle_type nfs_handle_type = {.transfer = nfs_transfer, .flush = nfs_flush, .close = nfs_handle_close};

static int nfs_open(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err)
{
    struct nfs_place *nfs = to_nfs(place);
    struct nfs_handle *handle = calloc(1, sizeof(*handle));
    struct nfs_file_config config = {.readonly = !writable};
    char url[2048];
    int r = -ENAMETOOLONG;

    if (handle == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (text_format(url, sizeof(url) - strlen(nfs->query), "%s", nfs->url) == 0 &&
        nfs_url_append(url, sizeof(url) - strlen(nfs->query), name)) {
        memcpy(url + strlen(url), nfs->query, strlen(nfs->query) + 1);
        config.url = url;
        r = nfs_file_open(&config, &handle->file, err);
    } else {
        err_set(err, r, "the name of the volume %s is too long", name);
    }
    if (r < 0) {
        free(handle);
        return r;
    }
    handle->handle = (struct storage_handle){.type = &nfs_handle_type, .size = nfs_file_size(handle->file)};
    *ret_handle = &handle->handle;
    return 0;
}

/* NFS 4.0 can't reserve space, and knows no file without a name. */
static int nfs_create(struct storage_place *place, const struct storage_new *new_file, struct storage_handle **ret_handle, struct err *err)
{
    struct nfs_tree *tree = to_nfs(place)->tree;
    int r = nfs_tree_create(tree, new_file->name, new_file->mode, new_file->size);
    bool ours = r != -EEXIST && r != -EACCES && r != -EROFS;

    if (r == 0)
        r = nfs_open(place, new_file->name, true, ret_handle, err);
    if (r < 0 && ours)
        nfs_tree_remove(tree, new_file->name);
    return r;
}

static void nfs_close(struct storage_place *place)
{
    struct nfs_place *nfs = to_nfs(place);

    nfs_tree_close(nfs->tree);
    free(nfs->url);
    free(nfs->query);
    free(nfs);
}

static const struct place_type nfs_type = {
    .close = nfs_close,
    .space = nfs_space,
    .list = nfs_list,
    .look = nfs_look,
    .create = nfs_create,
    .resize = nfs_resize,
    .remove = nfs_remove,
    .open = nfs_open,
};

int place_open_nfs(const char *url, struct storage_place **ret_place, struct err *err)
{
    struct nfs_place *nfs = calloc(1, sizeof(*nfs));
    size_t length = strcspn(url, "?");
    int r = -ENOMEM;

    if (nfs != NULL) {
        nfs->place.type = &nfs_type;
        nfs->url = strndup(url, length);
        nfs->query = strdup(url + length);
    }
    if (nfs == NULL || nfs->url == NULL || nfs->query == NULL)
        err_set(err, r, "out of memory");
    else
        r = nfs_tree_open(url, &nfs->tree, err);
    if (r < 0) {
        if (nfs != NULL)
            nfs_close(&nfs->place);
        return r;
    }
    *ret_place = &nfs->place;
    return 0;
}
