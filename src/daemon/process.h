/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process of a VM: started with descriptors instead of rights, watched, found again after a restart of ferryd. */
#ifndef FERRY_DAEMON_PROCESS_H
#define FERRY_DAEMON_PROCESS_H

#include <stdbool.h>

struct daemon;
struct domain;
struct err;

struct process_options {
    const char *load;     /* file to continue from; NULL: boot */
    const char *incoming; /* URI to wait for a migration at; NULL: none */
    bool paused;          /* a guest that comes stays so */
    bool postcopy;        /* which may become one by post-copy */
};

/* Starts the VM that domain->live describes, paused before its first instruction, and connects to it. On failure nothing is left
 * behind. */
int process_start(struct domain *domain, const struct process_options *options, struct err *err);

/* A VM that an earlier ferryd started: true when it lives and is connected. Waits for one that is just starting. */
bool process_find(struct domain *domain, struct err *err);

/* Kills it and waits for its end. */
void process_kill(struct domain *domain);

/* Lets go of everything that belongs to the VM: connection, descriptors, files in the run directory. After its end. */
void process_clear(struct domain *domain);

/* Makes a path the property of the user that VMs run as. */
int process_give(const struct daemon *daemon, const char *path, struct err *err);

#endif
