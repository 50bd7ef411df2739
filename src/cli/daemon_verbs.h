/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs that talk to ferryd: list, start, stop, pause, resume, reset, status, console, migrate, net, pool. */
#ifndef FERRY_CLI_DAEMON_VERBS_H
#define FERRY_CLI_DAEMON_VERBS_H

#include <stdbool.h>
#include <stdio.h>

/* Whether there is such a verb. argv[0] is its name. Those that a VM's control socket knows too (stop, reset, status, migrate) are
 * ferryd's only without --control. */
bool daemon_verb_find(int argc, char *const argv[]);

/* Runs it: the exit code. */
int daemon_verb_run(int argc, char *argv[]);

void daemon_verbs_print_help(FILE *out);

#endif
