/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations on the entries of one directory. */
#include "nfs/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/client.h"

#define LIST_SIZE (32u * 1024)
#define PATIENCE_NS (150 * NANOSECONDS_PER_SECOND)
#define RETRY_MS 200
/* Nothing of the file system: the server would look that up for every entry anew, and NFS-Ganesha 4.3 dies of it where an entry of its
 * root leads into another file system. */
#define ENTRY_ATTRIBUTES (NFS_ATTRIBUTE_TYPE | NFS_ATTRIBUTE_SIZE | NFS_ATTRIBUTE_USED | NFS_ATTRIBUTE_MODE | NFS_ATTRIBUTE_TIME)

struct nfs_tree {
    struct nfs_client client;
    char path[sizeof(((struct nfs_url *)0)->path)];
    struct nfs_filehandle fh;
    unsigned owners;
};

static bool name_valid(const char *name)
{
    return name[0] != 0 && strchr(name, '/') == NULL && !text_equal(name, ".") && !text_equal(name, "..") && strlen(name) < 256;
}

/* Everything goes through here: f builds and sends a call. Repeated while the server asks for patience, and once after a
 * connection broke. */
static int perform(struct nfs_tree *tree, int (*f)(struct nfs_tree *tree, void *ctx), void *ctx)
{
    int64_t deadline = host_monotonic_ns() + PATIENCE_NS;
    const struct timespec moment = {.tv_nsec = RETRY_MS * 1000000};
    bool again = false;

    for (;;) {
        int r = f(tree, ctx);

        if ((r == NFS_ERROR_GRACE || r == NFS_ERROR_DELAY) && host_monotonic_ns() < deadline) {
            nanosleep(&moment, NULL);
        } else if ((r == -EPIPE || r == NFS_ERROR_STALE_CLIENTID || r == NFS_ERROR_EXPIRED) && !again) {
            again = true;
            if (nfs_client_connect(&tree->client, NULL) < 0 || nfs_client_identify(&tree->client) != 0)
                return -EIO;
        } else {
            return r > 0 ? nfs_errno((uint32_t)r) : r;
        }
    }
}

/* Opening: the directory's filehandle. */

struct location {
    const char *path;
    struct nfs_filehandle fh;
    struct nfs_attributes attributes;
};

static int parse_location(void *ctx, struct nfs_reply *reply)
{
    struct location *location = ctx;
    int r = nfs_reply_parent(reply, location->path);

    if (r == 0 && location->path[1] != 0)
        r = nfs_reply_next(reply, NFS_LOOKUP);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETFH);
    if (r == 0)
        r = nfs_get_filehandle(reply, &location->fh);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETATTR);
    return r != 0 ? r : nfs_get_attributes(&reply->reader, &location->attributes);
}

static int locate_once(struct nfs_tree *tree, void *ctx)
{
    struct location *location = ctx;
    struct nfs_call call;
    const char *name;

    nfs_client_begin(&tree->client, &call);
    if (nfs_put_parent(&call, location->path, &name))
        nfs_put_lookup(&call, name, strlen(name));
    nfs_put_getfh(&call);
    nfs_put_getattr(&call, NFS_ATTRIBUTE_TYPE);
    return nfs_client_call(&tree->client, &call, parse_location, location);
}

static int locate(struct nfs_tree *tree)
{
    struct location location = {.path = tree->path};
    int r = perform(tree, locate_once, &location);

    if (r == 0 && location.attributes.type != NFS_TYPE_DIRECTORY)
        r = -ENOTDIR;
    if (r == 0)
        tree->fh = location.fh;
    return r;
}

static int open_tree(const struct nfs_url *url, const char *text, struct nfs_tree **ret_tree, struct err *err)
{
    struct nfs_tree *tree = calloc(1, sizeof(*tree));
    int r;

    if (tree == NULL)
        return err_set(err, -ENOMEM, "no memory for %s", text);
    memcpy(tree->path, url->path, sizeof(tree->path));
    tree->client.connection.fd = -1;
    r = nfs_client_init(&tree->client, url, err);
    if (r == 0)
        r = nfs_client_connect(&tree->client, err);
    if (r < 0) {
        nfs_tree_close(tree);
        return r;
    }
    r = nfs_client_identify(&tree->client);
    if (r == 0)
        r = locate(tree);
    if (r != 0) {
        r = r > 0 ? nfs_errno((uint32_t)r) : r;
        nfs_tree_close(tree);
        return err_set(err, r, "cannot open the directory %s: %s", text, strerror(-r));
    }
    *ret_tree = tree;
    return 0;
}

int nfs_tree_open(const char *url, struct nfs_tree **ret_tree, struct err *err)
{
    struct nfs_url where;
    int r = nfs_url_parse(url, &where, err);

    return r < 0 ? r : open_tree(&where, url, ret_tree, err);
}

int nfs_tree_open_parent(const char *url, struct nfs_tree **ret_tree, char *ret_name, size_t size, struct err *err)
{
    struct nfs_url where;
    int r = nfs_url_parse(url, &where, err);
    char *slash = r < 0 ? NULL : strrchr(where.path, '/');

    if (r < 0)
        return r;
    if (slash[1] == 0 || text_format(ret_name, size, "%s", slash + 1) < 0)
        return err_set(err, -EINVAL, "%s does not name a file", url);
    slash[slash == where.path] = 0;
    return open_tree(&where, url, ret_tree, err);
}

void nfs_tree_close(struct nfs_tree *tree)
{
    if (tree == NULL)
        return;
    nfs_client_fini(&tree->client);
    free(tree);
}

/* Looking. */

struct looking {
    const char *name; /* NULL: the directory itself */
    unsigned wanted;
    struct nfs_attributes *attributes;
};

static int parse_look(void *ctx, struct nfs_reply *reply)
{
    struct looking *looking = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0 && looking->name != NULL)
        r = nfs_reply_next(reply, NFS_LOOKUP);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETATTR);
    return r != 0 ? r : nfs_get_attributes(&reply->reader, looking->attributes);
}

static int look_once(struct nfs_tree *tree, void *ctx)
{
    struct looking *looking = ctx;
    struct nfs_call call;

    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &tree->fh);
    if (looking->name != NULL)
        nfs_put_lookup(&call, looking->name, strlen(looking->name));
    nfs_put_getattr(&call, looking->wanted);
    return nfs_client_call(&tree->client, &call, parse_look, looking);
}

int nfs_tree_space(struct nfs_tree *tree, struct nfs_attributes *ret_attributes)
{
    struct looking looking = {.wanted = NFS_ATTRIBUTE_SPACE, .attributes = ret_attributes};

    return perform(tree, look_once, &looking);
}

int nfs_tree_look(struct nfs_tree *tree, const char *name, struct nfs_attributes *ret_attributes)
{
    struct looking looking = {.name = name, .wanted = ENTRY_ATTRIBUTES, .attributes = ret_attributes};

    return name_valid(name) ? perform(tree, look_once, &looking) : -EINVAL;
}

/* Listing: page by page. What found() says is kept apart from what the server says. */

struct listing {
    uint64_t cookie;
    uint8_t verifier[NFS_VERIFIER_SIZE];
    bool end;
    unsigned count;
    int (*found)(void *ctx, const struct nfs_entry *entry);
    void *ctx;
    int stopped;
};

static int parse_list(void *ctx, struct nfs_reply *reply)
{
    struct listing *listing = ctx;
    uint64_t before = listing->cookie;
    struct nfs_entry entry;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_READDIR);
    if (r == 0)
        r = nfs_get_verifier(reply, listing->verifier);
    if (r != 0)
        return r;
    while (listing->stopped == 0 && (r = nfs_get_entry(reply, &entry, &listing->end)) > 0) {
        listing->cookie = entry.cookie;
        if (++listing->count > NFS_TREE_ENTRIES_MAX)
            return -EFBIG;
        if (name_valid(entry.name))
            listing->stopped = listing->found(listing->ctx, &entry);
    }
    return r == 0 && !listing->end && listing->stopped == 0 && listing->cookie == before ? -EBADMSG : r < 0 ? r : 0;
}

static int list_once(struct nfs_tree *tree, void *ctx)
{
    struct listing *listing = ctx;
    struct nfs_call call;

    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &tree->fh);
    nfs_put_readdir(&call, listing->cookie, listing->verifier, LIST_SIZE, ENTRY_ATTRIBUTES);
    return nfs_client_call(&tree->client, &call, parse_list, listing);
}

int nfs_tree_list(struct nfs_tree *tree, int (*found)(void *ctx, const struct nfs_entry *entry), void *ctx)
{
    struct listing listing = {.found = found, .ctx = ctx};
    int r = 0;

    while (r == 0 && !listing.end && listing.stopped == 0)
        r = perform(tree, list_once, &listing);
    return r < 0 ? r : listing.stopped;
}

/* Changing. */

struct changing {
    const char *name;
    const char *target; /* of a link */
    char *text;         /* that is read */
    size_t text_size;
    uint32_t mode;
    uint64_t size;
    bool create;
    struct nfs_filehandle fh;
    struct nfs_stateid stateid;
    bool confirm;
    enum nfs_operation operation;
};

static int parse_open(void *ctx, struct nfs_reply *reply)
{
    struct changing *changing = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_OPEN);
    if (r == 0)
        r = nfs_get_open(reply, &changing->stateid, &changing->confirm);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETFH);
    return r != 0 ? r : nfs_get_filehandle(reply, &changing->fh);
}

static int open_once(struct nfs_tree *tree, struct changing *changing)
{
    char owner[32];
    struct nfs_open open = {.seqid = 1,
                            .access = NFS_ACCESS_READ | NFS_ACCESS_WRITE,
                            .owner = {.clientid = tree->client.clientid, .name = owner},
                            .name = changing->name,
                            .create = changing->create,
                            .exclusive = true,
                            .mode = changing->mode};
    struct nfs_call call;

    snprintf(owner, sizeof(owner), "tree %u", tree->owners++);
    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &tree->fh);
    nfs_put_open(&call, &open);
    nfs_put_getfh(&call);
    return nfs_client_call(&tree->client, &call, parse_open, changing);
}

static int parse_step(void *ctx, struct nfs_reply *reply)
{
    struct changing *changing = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, changing->operation);
    return r != 0 || changing->operation != NFS_OPEN_CONFIRM ? r : nfs_get_stateid(reply, &changing->stateid);
}

/* One operation on the open file. */
static int step(struct nfs_tree *tree, struct changing *changing, enum nfs_operation operation, uint32_t seqid)
{
    struct nfs_call call;

    changing->operation = operation;
    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &changing->fh);
    if (operation == NFS_OPEN_CONFIRM)
        nfs_put_open_confirm(&call, &changing->stateid, seqid);
    else if (operation == NFS_SETATTR)
        nfs_put_set_size(&call, &changing->stateid, changing->size);
    else
        nfs_put_close(&call, seqid, &changing->stateid);
    return nfs_client_call(&tree->client, &call, parse_step, changing);
}

static int open_and_size(struct nfs_tree *tree, void *ctx)
{
    struct changing *changing = ctx;
    uint32_t seqid = 2;
    int r = open_once(tree, changing), closed;

    if (r == 0 && changing->confirm)
        r = step(tree, changing, NFS_OPEN_CONFIRM, seqid++);
    if (r != 0)
        return r;
    r = step(tree, changing, NFS_SETATTR, 0);
    closed = step(tree, changing, NFS_CLOSE, seqid);
    return r != 0 ? r : closed;
}

int nfs_tree_create(struct nfs_tree *tree, const char *name, uint32_t mode, uint64_t size)
{
    struct changing changing = {.name = name, .create = true, .mode = mode, .size = size};

    return name_valid(name) ? perform(tree, open_and_size, &changing) : -EINVAL;
}

int nfs_tree_resize(struct nfs_tree *tree, const char *name, uint64_t size)
{
    struct changing changing = {.name = name, .size = size};

    return name_valid(name) ? perform(tree, open_and_size, &changing) : -EINVAL;
}

static int change_once(struct nfs_tree *tree, void *ctx)
{
    struct changing *changing = ctx;
    struct nfs_call call;

    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &tree->fh);
    if (changing->operation == NFS_REMOVE)
        nfs_put_remove(&call, changing->name);
    else
        nfs_put_symlink(&call, changing->name, changing->target);
    return nfs_client_call(&tree->client, &call, parse_step, changing);
}

int nfs_tree_remove(struct nfs_tree *tree, const char *name)
{
    struct changing changing = {.name = name, .operation = NFS_REMOVE};

    return name_valid(name) ? perform(tree, change_once, &changing) : -EINVAL;
}

int nfs_tree_symlink(struct nfs_tree *tree, const char *name, const char *target)
{
    struct changing changing = {.name = name, .target = target, .operation = NFS_CREATE};

    return name_valid(name) ? perform(tree, change_once, &changing) : -EINVAL;
}

static int parse_readlink(void *ctx, struct nfs_reply *reply)
{
    struct changing *changing = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_LOOKUP);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_READLINK);
    return r != 0 ? r : nfs_get_link(reply, changing->text, changing->text_size);
}

static int readlink_once(struct nfs_tree *tree, void *ctx)
{
    struct changing *changing = ctx;
    struct nfs_call call;

    nfs_client_begin(&tree->client, &call);
    nfs_put_filehandle(&call, &tree->fh);
    nfs_put_lookup(&call, changing->name, strlen(changing->name));
    nfs_put_readlink(&call);
    return nfs_client_call(&tree->client, &call, parse_readlink, changing);
}

int nfs_tree_readlink(struct nfs_tree *tree, const char *name, char *text, size_t size)
{
    struct changing changing = {.name = name, .text = text, .text_size = size};

    return name_valid(name) ? perform(tree, readlink_once, &changing) : -EINVAL;
}
