/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that run vCPUs; machine.c's helpers. */
#ifndef FERRY_VMM_MACHINE_CPU_H
#define FERRY_VMM_MACHINE_CPU_H

#include <stdint.h>

struct cpuid_xsave_layout;
struct err;
struct machine;

/* Makes the vCPUs (not their threads) with what the configured model offers. */
int machine_cpus_new(struct machine *machine, struct err *err);

/* Threads that wait until the machine runs. */
int machine_cpus_start(struct machine *machine, struct err *err);

/* Ends the threads; lock not held. Then, when no device is left that would signal them, frees the vCPUs. */
void machine_cpus_stop(struct machine *machine);
void machine_cpus_free(struct machine *machine);

/* Waits until no CPU is in the engine; the status is not MACHINE_RUNNING. Lock held, given up while waiting. */
void machine_cpus_park(struct machine *machine);

/* Time as the CPUs see it stands between these two: kvmclock, and the TSC where the engine lets us read it. Parked. */
void machine_cpus_stop_time(struct machine *machine);
void machine_cpus_start_time(struct machine *machine);

/* The VM's TSC frequency becomes that of a VM that comes here, as far as this host can. -EBADMSG, -EINVAL, -ENOTSUP. Parked; the TSCs'
 * values are to be set anew. */
int machine_cpus_set_tsc_khz(struct machine *machine, uint32_t khz, struct err *err);

/* XSAVE puts registers where it does for a VM that comes here; machine->cpuid tells it too. -EBADMSG, or -ENOTSUP where this host's
 * processor decides, and decides otherwise. Parked. */
int machine_cpus_set_xsave_layout(struct machine *machine, const struct cpuid_xsave_layout *layout, struct err *err);

/* All CPUs to their reset state, the first one to `bsp`. Parked. */
struct x86_state;
int machine_cpus_reset(struct machine *machine, const struct x86_state *bsp, struct err *err);

#endif
