/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "I'm over here": what a VM tells its networks after it moved, several times because frames get lost. */
#ifndef FERRY_VMM_ANNOUNCE_H
#define FERRY_VMM_ANNOUNCE_H

#include "event/timer.h"

struct err;
struct machine;

struct announce_parameters { /* QEMU's announce-initial, -max, -step (milliseconds) and -rounds */
    unsigned initial_ms; /* between the first and the second round; each later wait is step_ms longer */
    unsigned max_ms;     /* but no longer than this */
    unsigned rounds;
    unsigned step_ms;
};

#define ANNOUNCE_DEFAULT ((struct announce_parameters){.initial_ms = 50, .max_ms = 550, .rounds = 5, .step_ms = 100})

struct announce { /* inside the machine */
    struct announce_parameters parameters;
    unsigned done; /* rounds */
    struct timer timer;
};

/* The first round now, the others by themselves; what is still under way from an earlier call ends. Loop thread, lock held, the
 * machine running. -EINVAL with a sentence when a parameter is out of range: rounds 1 to 1000, times at most 100000 ms. */
int machine_announce(struct machine *machine, const struct announce_parameters *parameters, struct err *err);

#endif
