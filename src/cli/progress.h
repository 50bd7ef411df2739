/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line on standard error that tells how far something is, and Ctrl-C that ends the thing rather than this program. */
#ifndef FERRY_CLI_PROGRESS_H
#define FERRY_CLI_PROGRESS_H

#include <stdbool.h>

struct progress {
    bool terminal;
    char last[40]; /* key of the line that was shown last */
};

/* From now on the first interrupt is progress_interrupted()'s; a second one ends the program. */
void progress_begin(struct progress *progress);

/* Shows the line: over itself on a terminal, cut to its width; else only if the key differs from that of the one before. */
void progress_show(struct progress *progress, const char *key, const char *line);

/* Takes the line away, for something else to be written. */
void progress_clear(struct progress *progress);

/* Whether there was an interrupt since this was asked last. */
bool progress_interrupted(void);

#endif
