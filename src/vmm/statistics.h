/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a VM costs and how it fares: times, memory of this process, the engine's counters. */
#ifndef FERRY_VMM_STATISTICS_H
#define FERRY_VMM_STATISTICS_H

#include <jansson.h>
#include <stdio.h>

struct machine;

/* A new reference, or NULL without memory. Lock held. */
json_t *statistics_json(struct machine *machine);

/* The same for people. Lock held. */
void statistics_print(struct machine *machine, FILE *out);

#endif
