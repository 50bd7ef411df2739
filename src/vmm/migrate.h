/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's migrations, away and to here: what the control socket commands, and what the migration room asks of the
 * machine.
 *
 * All calls in the loop's thread with the lock held. Errors are sentences. */
#ifndef FERRY_VMM_MIGRATE_H
#define FERRY_VMM_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "migration/parameters.h"
#include "migration/progress.h"

#define MIGRATE_DISKS_MAX 64

struct err;
struct machine;
struct migrate;

int migrate_new(struct machine *machine, struct err *err);

/* Ends what is under way, wherever it stands. Before the CPUs and devices go; the lock is not held. Accepts NULL. */
void migrate_free(struct migrate *migrate);

/* Waits for a source at the URI; "defer": for migrate-incoming. The machine is MACHINE_INMIGRATE. */
int migrate_incoming(struct machine *machine, const char *uri, struct err *err);

/* The address of the socket at which a source is waited for. false: at none. Any thread. */
bool migrate_waits_at(const struct machine *machine, struct sockaddr *ret_address, socklen_t *size);

struct migrate_order {
    const char *uri;
    bool dry_run;                           /* only asks whether it would work, and measures */
    bool storage;                           /* disks that are not shared are copied, also if the parameters don't say so */
    const char *disk[MIGRATE_DISKS_MAX];    /* host sides of those that may be copied; none: all */
    unsigned disks;
};

/* Begins. */
int migrate_outgoing(struct machine *machine, const struct migrate_order *order, struct err *err);

int migrate_cancel(struct machine *machine, struct err *err);
/* See migration/migration.h. Not to run here: also where nobody has come yet. */
int migrate_settle(struct machine *machine, bool run_here, struct err *err);
int migrate_start_postcopy(struct machine *machine, struct err *err);

/* Breaks off the connection of post-copy on its source; migrate_resume() goes on. -EINVAL: there is none. */
int migrate_pause(struct machine *machine, struct err *err);

/* On its destination, paused: the source is waited for there from now on. -EINVAL: nothing is to be recovered, or not
 * there. */
int migrate_recover(struct machine *machine, const char *uri, struct err *err);
int migrate_resume(struct machine *machine, const char *uri, struct err *err);

/* What is done every 50 ms or so from the migration's thread while the loop's thread does not come round: in post-copy
 * whose connection is lost, a device may have touched what is missing, and the thread, or one that has the machine's
 * lock, waits for it. fn may call migrate_recover(), migrate_progress(), migrate_message() and what only reads. NULL:
 * nothing more, when this returns. Any thread. */
typedef void migrate_stand_in_fn(void *ctx);
void migrate_set_stand_in(struct machine *machine, migrate_stand_in_fn *fn, void *ctx);

/* For whoever stands in: the next change of a migration's status that nobody has been told of, which is for him to send as an event if
 * *ret_event says so. false: there is none. */
bool migrate_take_news(struct machine *machine, enum migration_status *ret_status, bool *ret_event);

/* Whether memory of this VM is still on another host, so that the guest can't outlive this process and must not be
 * waited for. */
bool migrate_lacks_memory(const struct machine *machine);

/* Parameters of the next migration, and of the one under way as far as they can be changed. */
const struct migration_parameters *migrate_parameters(const struct machine *machine);
void migrate_set_parameters(struct machine *machine, const struct migration_parameters *parameters);

/* Of the last migration, either way; NULL: there was none. */
const struct migration_progress *migrate_progress(const struct machine *machine);
bool migrate_is_source(const struct machine *machine);
bool migrate_is_under_way(const struct machine *machine); /* from here */

/* Why it failed, or what else there is to say; "" for nothing. */
void migrate_message(const struct machine *machine, char *ret_text, size_t size);

/* -EBUSY with a sentence while a migration is under way, or the guest is not here: devices, memory and state must not
 * be changed. */
int migrate_check_idle(const struct machine *machine, struct err *err);

#endif
