/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the migrate files. */
#ifndef FERRY_VMM_MIGRATE_INTERNAL_H
#define FERRY_VMM_MIGRATE_INTERNAL_H

#include <pthread.h>

#include "migration/migration.h"
#include "vmm/machine.h"
#include "vmm/migrate.h"

struct block_image;
struct board;
struct err;
struct call;
struct flushing;
struct migrate;
struct news;

typedef int migrate_work_fn(struct migrate *migrate, void *argument, struct err *err);

/* Work of a migration thread, done in the loop's thread while that one waits. -ECANCELED: the VM is being ended. */
int migrate_in_loop(struct migrate *migrate, migrate_work_fn *work, void *argument, struct err *err);

/* The disks that are copied in the migration under way. They stay open until it is over. */
struct migrate_disks {
    struct migrate *migrate;
    unsigned count;
    struct block_image *image[MIGRATION_DISKS_MAX];
};

/* Loop thread. destination: takes the right to write to them. */
int migrate_disks_open(struct migrate_disks *disks, struct migrate *migrate, struct board *board, bool destination,
                       struct migration_disks *ret_interface, struct err *err);

struct migrate {
    struct machine *machine;
    struct migration_machine interface;
    struct migration_parameters parameters;
    struct migration_source *source; /* the last one, even when it is over */
    struct migration_destination *destination;
    bool arbiter; /* both sides can reach it */
    bool storage; /* disks that are not shared are copied */
    struct migrate_disks disks;

    struct address address; /* where a source is waited for */
    int listen_fd;
    struct loop_source *listening;
    bool serving; /* a session is under way */
    struct result {
        enum destination_outcome outcome;
        struct err err;
    } result;    /* of the session that is over */
    int next_fd; /* who came meanwhile; -1: nobody */

    pthread_mutex_t stand_in_lock; /* of these two; held while it is called */
    migrate_stand_in_fn *stand_in; /* NULL: nobody */
    void *stand_in_ctx;
    _Atomic bool beat_missing; /* the loop was asked for a sign of life at beat_ns, and has given none yet */
    int64_t beat_ns;

    enum machine_status status_before; /* the stop */

    pthread_mutex_t lock; /* of the members below */
    pthread_cond_t changed;
    struct call *call;         /* waits for the loop's thread */
    struct news *news;         /* to be told, oldest first */
    struct flushing *flushing; /* of the disks; NULL: none under way */
    bool ending;
};

/* migrate_out.c: the source's part of the interface; whether there is one at work; nobody waits for a flush of the
 * disks any more. */
void migrate_fill_source(struct migration_machine *interface);
bool migrate_source_active(const struct migrate *migrate);
void migrate_abandon_flush(struct migrate *migrate);

/* migrate_in.c: the destination's. stop_listening: nobody is waited for any more. */
void migrate_fill_destination(struct migration_machine *interface);
void migrate_stop_listening(struct migrate *migrate);

#endif
