/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a VM uses of the host, as the kernel counts it. */
#ifndef FERRY_DAEMON_USAGE_H
#define FERRY_DAEMON_USAGE_H

#include <stdint.h>

struct domain;

struct usage {
    uint64_t cpu_ns, user_ns, system_ns; /* since its start */
    uint64_t resident_kib;
};

/* All zero when nothing runs. */
struct usage usage_of(const struct domain *domain);

/* Time of one CPU's thread, in nanoseconds. In a coroutine: the VM may have to be asked for the thread. */
uint64_t usage_of_cpu(struct domain *domain, unsigned cpu);

/* A counter of a network interface, by its name in /sys/class/net/IF/statistics; 0 when there is none. */
uint64_t usage_of_interface(const char *interface, const char *counter);

#endif
