/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a migration is: counters that its threads write and anybody may read. */
#ifndef FERRY_MIGRATION_PROGRESS_H
#define FERRY_MIGRATION_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum migration_stage { STAGE_SETUP, STAGE_TRANSFER_MEMORY, STAGE_STOP, STAGE_TRANSFER_STATE, STAGE_CONTINUE };

enum migration_status {
    MIGRATION_NONE,
    MIGRATION_SETUP,
    MIGRATION_ACTIVE,
    MIGRATION_DEVICE, /* the guest stands */
    MIGRATION_CANCELLING,
    MIGRATION_UNSETTLED,       /* nobody here knows where the guest is: settle */
    MIGRATION_POSTCOPY,        /* the guest runs on the destination, some of its memory is still on the source */
    MIGRATION_POSTCOPY_PAUSED, /* and the connection is lost */
    MIGRATION_POSTCOPY_RECOVER,
    MIGRATION_COMPLETED,
    MIGRATION_FAILED,
    MIGRATION_CANCELLED,
};

/* What the downtime is made of, in order. */
enum downtime_part {
    DOWNTIME_CPUS,        /* until all CPUs stood */
    DOWNTIME_MEMORY,      /* what they had dirtied last was sent */
    DOWNTIME_STATE,       /* the devices' state was saved and sent */
    DOWNTIME_DESTINATION, /* the destination was ready: memory in place, state checked and loaded */
    DOWNTIME_DISKS,       /* disks were written out and let go */
    DOWNTIME_TAKEOVER,    /* the destination said that the guest is its own */
    DOWNTIME_PARTS
};

struct migration_progress {
    _Atomic int status, stage;
    _Atomic uint64_t ram_total;                     /* bytes */
    _Atomic uint64_t transferred;                   /* bytes sent, of everything */
    _Atomic uint64_t transferred_stop, transferred_gone; /* when the guest was stopped last; when it was there */
    _Atomic uint64_t normal, duplicate;             /* pages sent with their contents; pages that were zero */
    _Atomic uint64_t delta_pages, delta_bytes;      /* pages sent as differences, and these */
    _Atomic uint64_t delta_same;                    /* pages that were what the destination had, and not sent */
    _Atomic uint64_t delta_misses, delta_overflows; /* pages not in the cache; with differences that were too long */
    _Atomic uint64_t remaining;                     /* bytes of RAM still to be sent in this round */
    _Atomic uint64_t rounds;                        /* begun */
    _Atomic uint64_t requests;                      /* pages that the destination has asked for, in post-copy */
    _Atomic uint64_t dirty_rate;                    /* pages a second in the last round */
    _Atomic uint64_t bandwidth;                     /* bytes a second, measured */
    _Atomic uint64_t throttle;                      /* percent */
    _Atomic uint64_t disk_total,
        disk_remaining;                /* bytes of disks that are copied; of them, not known to be the same there */
    _Atomic uint64_t disk_transferred; /* bytes sent of them, not in `transferred` */
    _Atomic int64_t start_ns, setup_ns, stop_ns,
        end_ns; /* host_monotonic_ns(): begun, setup done, guest stopped, over; 0: not yet */
    _Atomic uint64_t expected_downtime_us, downtime_us;
    _Atomic uint64_t downtime_part_us[DOWNTIME_PARTS];
    /* Of a dry run: */
    _Atomic bool predicted;
    _Atomic uint64_t predicted_rounds;   /* 0: it would not end */
    _Atomic uint64_t predicted_throttle; /* percent */
    _Atomic uint64_t predicted_ms, predicted_downtime_ms;
    _Atomic uint64_t predicted_disk; /* bytes that hold anything */
};

/* "setup", "transfer memory", "stop", "transfer state", "continue". */
const char *migration_stage_name(enum migration_stage stage);

/* QEMU's names. */
const char *migration_status_name(enum migration_status status);

bool migration_status_over(enum migration_status status);

/* "cpus", "memory", "state", "destination", "disks", "takeover". */
const char *migration_downtime_part_name(enum downtime_part part);

/* A sentence on a downtime that was longer than its limit, with its longest parts; empty if it was not. */
void migration_downtime_sentence(const struct migration_progress *progress, uint64_t limit_ms, char *ret_text, size_t size);

#endif
