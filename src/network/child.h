/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A helper program run to its end, with what it complained about. */
#ifndef FERRY_NETWORK_CHILD_H
#define FERRY_NETWORK_CHILD_H

struct err;

/* Runs argv[0] (looked up in PATH) with nothing on its standard input, default signals and no descriptor of ours, and
 * waits at most timeout_ms, after which it is killed. Not 0 at its exit: -EIO, and a sentence with the last line that
 * it wrote. A process that it leaves behind goes on. */
int child_run(const char *const argv[], int timeout_ms, struct err *err);

#endif
