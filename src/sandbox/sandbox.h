/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Confines a thread of a VM to the system calls that its role needs, for good: what a guest that broke out could ask of
 * the host's kernel.
 *
 * A call outside of the role's table raises SIGSYS, which ends the process with a sentence. Nothing the thread starts can
 * gain privileges (no_new_privs). Threads that it creates later inherit its confinement. */
#ifndef FERRY_SANDBOX_SANDBOX_H
#define FERRY_SANDBOX_SANDBOX_H

#include <stdbool.h>

struct err;

enum sandbox_role {
    SANDBOX_CPU,  /* runs guest code and, under the machine lock, devices */
    SANDBOX_LOOP, /* serves devices, backends and the control socket; workers inherit it */
    SANDBOX_NFS,  /* talks to an NFS server whose address is known */
    SANDBOX_ROLES,
};

/* False where it would break the program: under sanitizers, which need calls of their own. */
bool sandbox_supported(void);

/* Confines the calling thread. A sentence when the kernel refuses. */
int sandbox_enter(enum sandbox_role role, struct err *err);

/* Once per process, before any sandbox_enter(): what a forbidden call does. before_exit (may be NULL) is called in the signal
 * handler first. */
void sandbox_report_violations(void (*before_exit)(void));

#endif
