/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of stages and statuses. */
#include "migration/progress.h"

const char *migration_stage_name(enum migration_stage stage)
{
    static const char *const names[] = {
        [STAGE_SETUP] = "setup",       [STAGE_TRANSFER_MEMORY] = "transfer memory",
        [STAGE_STOP] = "stop",         [STAGE_TRANSFER_STATE] = "transfer state",
        [STAGE_CONTINUE] = "continue",
    };

    return names[stage];
}

const char *migration_status_name(enum migration_status status)
{
    static const char *const names[] = {
        [MIGRATION_NONE] = "none",
        [MIGRATION_SETUP] = "setup",
        [MIGRATION_ACTIVE] = "active",
        [MIGRATION_DEVICE] = "device",
        [MIGRATION_CANCELLING] = "cancelling",
        [MIGRATION_UNSETTLED] = "x-ferry-unsettled",
        [MIGRATION_POSTCOPY] = "postcopy-active",
        [MIGRATION_POSTCOPY_PAUSED] = "postcopy-paused",
        [MIGRATION_POSTCOPY_RECOVER] = "postcopy-recover",
        [MIGRATION_COMPLETED] = "completed",
        [MIGRATION_FAILED] = "failed",
        [MIGRATION_CANCELLED] = "cancelled",
    };

    return names[status];
}

bool migration_status_over(enum migration_status status)
{
    return status >= MIGRATION_COMPLETED || status == MIGRATION_NONE;
}
