/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arbiter of a handover: a decision that is made once, survives whoever made it, and is seen by both sides.
 *
 * A lock can't be that: it is forgotten when its holder dies, and the other side would run a guest whose disk has gone on
 * without it. So the decision is a symbolic link beside the image, PATH.ferry-ID, whose target is the winner's name. Making one
 * is atomic with its contents, exclusive, and on the server when the call returns, on local file systems and on NFS.
 *
 * How it is used (docs/formats/migration.md): the destination decides just before the guest's first instruction there, with
 * the images' locks in its hands, and runs only if it wins. The source decides when the connection breaks after
 * it has let the images go; if it wins, it takes the locks again and runs on, and the destination never will; if it loses, the
 * guest is the destination's, even if that one has died since. */
#ifndef FERRY_BACKEND_HANDOVER_H
#define FERRY_BACKEND_HANDOVER_H

struct err;

enum handover_side { HANDOVER_SOURCE, HANDOVER_DESTINATION };

#define HANDOVER_ID_MAX 64 /* characters: a-z, A-Z, 0-9, - */

/* Decides for `side`, unless it is decided: *ret_winner says for whom. id: this handover's, never used before. May be
 * called again. -EINVAL: no such id; anything else: nothing is decided as far as can be told from here (the directory cannot be
 * written to or reached, or has no symbolic links), so nobody may run. */
int handover_decide(const char *path, const char *id, enum handover_side side, enum handover_side *ret_winner, struct err *err);

/* Takes the decision away: by the source, when both sides know it, or by a destination that was told so. */
void handover_forget(const char *path, const char *id);

/* Takes all decisions beside the image away: left by handovers whose sides died before they could. Only by who has just got the right
 * to write to an image that nobody else had open (block_open(), not incoming): no side of any handover of it is left then. */
void handover_sweep(const char *path);

#endif
