/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decisions of handovers as symbolic links beside disk images. */
#include "backend/handover.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"

static const char *const names[] = {[HANDOVER_SOURCE] = "source", [HANDOVER_DESTINATION] = "destination"};

static int decision_path(const char *path, const char *id, char out[static PATH_MAX], struct err *err)
{
    size_t length = strlen(id);
    struct stat st;

    if (length == 0 || length > HANDOVER_ID_MAX ||
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != length)
        return err_set(err, -EINVAL, "\"%.*s\" can't name a handover", HANDOVER_ID_MAX, id);
    if (stat(path, &st) == 0 && S_ISBLK(st.st_mode))
        return err_set(err, -EOPNOTSUPP, "a handover can't be decided beside block device %s: hosts don't share /dev", path);
    if (text_format(out, PATH_MAX, "%s.ferry-%s", path, id) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of disk image %s is too long for a handover", path);
    return 0;
}

static int read_decision(const char *place, enum handover_side *ret_winner, struct err *err)
{
    char text[32];
    ssize_t n = readlink(place, text, sizeof(text) - 1);

    if (n < 0)
        return err_set(err, -errno, "cannot read the decision of a handover, %s: %s", place, strerror(errno));
    text[n] = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (text_equal(text, names[i])) {
            *ret_winner = (enum handover_side)i;
            return 0;
        }
    }
    return err_set(err, -EBADMSG, "%s is no decision of a handover", place);
}

/* On NFS a repeated request may find its own link: so what counts is what stands there, not who failed to make it. */
int handover_decide(const char *path, const char *id, enum handover_side side, enum handover_side *ret_winner, struct err *err)
{
    char place[PATH_MAX];
    int r = decision_path(path, id, place, err);

    if (r < 0)
        return r;
    if (symlink(names[side], place) < 0 && errno != EEXIST)
        return err_set(err, -errno, "cannot decide a handover by making %s: %s", place, strerror(errno));
    return read_decision(place, ret_winner, err);
}

int handover_look(const char *path, const char *id, enum handover_side *ret_winner, struct err *err)
{
    char place[PATH_MAX];
    int r = decision_path(path, id, place, err);

    return r < 0 ? r : read_decision(place, ret_winner, err);
}

void handover_forget(const char *path, const char *id)
{
    char place[PATH_MAX];

    if (decision_path(path, id, place, NULL) == 0)
        unlink(place);
}
