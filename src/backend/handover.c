/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decisions of handovers as symbolic links beside disk images. */
#include "backend/handover.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/tree.h"

#define TRIES 3

static const char *const names[] = {[HANDOVER_SOURCE] = "source", [HANDOVER_DESTINATION] = "destination"};

static int check_id(const char *id, struct err *err)
{
    size_t length = strlen(id);

    if (length == 0 || length > HANDOVER_ID_MAX ||
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != length)
        return err_set(err, -EINVAL, "\"%.*s\" can't name a handover", HANDOVER_ID_MAX, id);
    return 0;
}

static int decision_path(const char *path, const char *id, char out[static PATH_MAX], struct err *err)
{
    struct stat st;
    int r = check_id(id, err);

    if (r < 0)
        return r;
    if (stat(path, &st) == 0 && S_ISBLK(st.st_mode))
        return err_set(err, -EOPNOTSUPP, "a handover can't be decided beside block device %s: hosts don't share /dev", path);
    if (text_format(out, PATH_MAX, "%s.ferry-%s", path, id) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of disk image %s is too long for a handover", path);
    return 0;
}

static int understand(const char *text, const char *place, enum handover_side *ret_winner, struct err *err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (text_equal(text, names[i])) {
            *ret_winner = (enum handover_side)i;
            return 0;
        }
    }
    return err_set(err, -EBADMSG, "%s is no decision of a handover", place);
}

static int read_decision(const char *place, enum handover_side *ret_winner, struct err *err)
{
    char text[32];
    ssize_t n = readlink(place, text, sizeof(text) - 1);

    if (n < 0)
        return err_set(err, -errno, "cannot read the decision of a handover, %s: %s", place, strerror(errno));
    text[n] = 0;
    return understand(text, place, ret_winner, err);
}

/* The same on an NFS server that is not mounted. */

static int open_beside(const char *url, const char *id, struct nfs_tree **ret_tree, char name[static 256], struct err *err)
{
    char file[256];
    int r = check_id(id, err);

    if (r == 0)
        r = nfs_tree_open_parent(url, ret_tree, file, sizeof(file), err);
    if (r == 0 && text_format(name, 256, "%s.ferry-%s", file, id) < 0) {
        nfs_tree_close(*ret_tree);
        r = err_set(err, -ENAMETOOLONG, "the name of disk image %s is too long for a handover", url);
    }
    return r;
}

static int read_nfs_decision(struct nfs_tree *tree, const char *url, const char *name, enum handover_side *ret_winner, struct err *err)
{
    char text[32];
    int r = nfs_tree_readlink(tree, name, text, sizeof(text));

    return r < 0 ? err_set(err, r, "cannot read the decision of a handover, %s beside %s: %s", name, url, strerror(-r))
                 : understand(text, name, ret_winner, err);
}

static int decide_nfs(const char *url, const char *id, enum handover_side side, enum handover_side *ret_winner, struct err *err)
{
    struct nfs_tree *tree;
    char name[256];
    int r = open_beside(url, id, &tree, name, err);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < TRIES; i++) {
        r = nfs_tree_symlink(tree, name, names[side]);
        if (r == 0)
            *ret_winner = side;
        else if (r == -EEXIST)
            r = read_nfs_decision(tree, url, name, ret_winner, err);
        else
            err_set(err, r, "cannot decide a handover by making %s beside %s: %s", name, url, strerror(-r));
        if (r != -ENOENT)
            break;
    }
    nfs_tree_close(tree);
    return r;
}

static void forget_nfs(const char *url, const char *id)
{
    struct nfs_tree *tree;
    char name[256];

    if (open_beside(url, id, &tree, name, NULL) < 0)
        return;
    nfs_tree_remove(tree, name);
    nfs_tree_close(tree);
}

static int decide_file(const char *place, enum handover_side side, enum handover_side *ret_winner, struct err *err)
{
    if (symlink(names[side], place) == 0) {
        *ret_winner = side;
        return 0;
    }
    if (errno != EEXIST)
        return err_set(err, -errno, "cannot decide a handover by making %s: %s", place, strerror(errno));
    return read_decision(place, ret_winner, err);
}

/* A link that can't be made counts by what it says: on NFS a repeated request may find its own. One that is gone when it is to be
 * read was forgotten by the other side, whose copy has ended: then there is nothing left to lose against. */
int handover_decide(const char *path, const char *id, enum handover_side side, enum handover_side *ret_winner, struct err *err)
{
    char place[PATH_MAX];
    int r;

    if (nfs_is_url(path))
        return decide_nfs(path, id, side, ret_winner, err);
    r = decision_path(path, id, place, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < TRIES; i++) {
        r = decide_file(place, side, ret_winner, err);
        if (r != -ENOENT)
            break;
    }
    return r;
}

void handover_forget(const char *path, const char *id)
{
    char place[PATH_MAX];

    if (nfs_is_url(path))
        forget_nfs(path, id);
    else if (decision_path(path, id, place, NULL) == 0)
        unlink(place);
}

/* Leftovers. */

/* Whether an entry is called as decisions beside `file` are. */
static bool is_decision(const char *entry, const char *file)
{
    size_t length = strlen(file);

    return text_starts_with(entry, file) && text_starts_with(entry + length, ".ferry-") &&
           check_id(entry + length + strlen(".ferry-"), NULL) == 0;
}

static void sweep_directory(const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    char directory[PATH_MAX] = ".", text[32];
    enum handover_side side;
    struct dirent *entry;
    DIR *dir;

    if (slash != NULL && text_format(directory, sizeof(directory), "%.*s", (int)(slash - path + 1), path) < 0)
        return;
    dir = opendir(directory);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        ssize_t n = is_decision(entry->d_name, file) ? readlinkat(dirfd(dir), entry->d_name, text, sizeof(text) - 1) : -1;

        if (n < 0)
            continue;
        text[n] = 0;
        if (understand(text, entry->d_name, &side, NULL) == 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        closedir(dir);
}

#define SWEEP_MAX 16 /* on a server in one go; the rest is the next one's */

struct sweep {
    const char *file;
    char name[SWEEP_MAX][256];
    unsigned count;
};

static int note_decision(void *ctx, const struct nfs_entry *entry)
{
    struct sweep *sweep = ctx;

    if (sweep->count < SWEEP_MAX && is_decision(entry->name, sweep->file) &&
        text_format(sweep->name[sweep->count], sizeof(sweep->name[0]), "%s", entry->name) == 0)
        sweep->count++;
    return 0;
}

static void sweep_nfs(const char *url)
{
    struct sweep *sweep = calloc(1, sizeof(*sweep));
    enum handover_side side;
    struct nfs_tree *tree;
    char file[256];

    if (sweep == NULL || nfs_tree_open_parent(url, &tree, file, sizeof(file), NULL) < 0) {
        free(sweep);
        return;
    }
    sweep->file = file;
    nfs_tree_list(tree, note_decision, sweep);
    for (unsigned i = 0; i < sweep->count; i++)
        if (read_nfs_decision(tree, url, sweep->name[i], &side, NULL) == 0)
            nfs_tree_remove(tree, sweep->name[i]);
    nfs_tree_close(tree);
    free(sweep);
}

void handover_sweep(const char *path)
{
    if (nfs_is_url(path))
        sweep_nfs(path);
    else
        sweep_directory(path);
}
