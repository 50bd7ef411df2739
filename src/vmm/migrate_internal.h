/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to migrate.c and migrate_disks.c. */
#ifndef FERRY_VMM_MIGRATE_INTERNAL_H
#define FERRY_VMM_MIGRATE_INTERNAL_H

#include "migration/migration.h"

struct block_image;
struct board;
struct err;
struct migrate;

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

#endif
