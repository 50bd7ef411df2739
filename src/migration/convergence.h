/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When to stop the guest, and how much to slow it: pure decisions on what the rounds measured. */
#ifndef FERRY_MIGRATION_CONVERGENCE_H
#define FERRY_MIGRATION_CONVERGENCE_H

#include <stdbool.h>
#include <stdint.h>

struct migration_parameters;

struct convergence {
    uint64_t bandwidth; /* bytes a second of the way, without the limit's pauses */
    uint64_t pace;      /* bytes of pages and blocks a second that these were: more where they go packed */
    uint64_t round_trip_us;
    uint64_t expected_us, previous_us; /* downtime if the guest stopped behind this round, and behind the one before */
    unsigned throttle;                 /* percent; 0: none */
    unsigned failures;                 /* rounds in a row that did not bring the end nearer */
    unsigned idle;                     /* rounds that fitted the limit and hardly made the downtime shorter */
};

struct round {
    uint64_t sent;     /* bytes */
    uint64_t plain;    /* bytes of pages and disk blocks that these were, zeros not counted */
    uint64_t busy_us;  /* time in which they were sent, without the limit's pauses */
    uint64_t total_us; /* with them, and with the fetching of the log */
    uint64_t written;  /* bytes that were dirtied in it, */
    uint64_t dirty;    /* those of them that have to be sent again, */
    uint64_t memory;   /* and how many of them in RAM, not on copied disks */
};

enum convergence_step { CONVERGENCE_ITERATE, CONVERGENCE_STOP };

/* What to do behind a round; c->throttle is then what the guest's CPUs are to lose. */
enum convergence_step convergence_decide(struct convergence *c, const struct round *round,
                                         const struct migration_parameters *parameters);

/* The guest stands, and has dirtied so much since the last decision that the stop would take a quarter more than the limit at least: it had
 * better run on for some rounds. */
bool convergence_overruns(const struct convergence *c, uint64_t dirty, const struct migration_parameters *parameters);

/* How the guest dirties memory: a small part of it again and again counts much in the first, little in the second. */
struct dirtying {
    uint64_t at_once;   /* bytes a second, in a twentieth of one */
    uint64_t in_second; /* bytes that are different ones, in one second */
};

/* A prediction for `dry-run`: the decisions above on rounds as they would come. bandwidth: bytes a second. */
struct prediction {
    uint64_t total_ms, downtime_ms;
    unsigned rounds;   /* with the last one, behind the stop; 0: it would not end */
    unsigned throttle; /* percent, at the end */
};
void convergence_predict(uint64_t memory, uint64_t bandwidth, uint64_t round_trip_us, const struct dirtying *dirtying,
                         const struct migration_parameters *parameters, struct prediction *ret_prediction);

#endif
