/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of stages and statuses, and what is said of a downtime. */
#include "migration/progress.h"

#include <string.h>

#include "base/text.h"

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

const char *migration_downtime_part_name(enum downtime_part part)
{
    static const char *const names[DOWNTIME_PARTS] = {
        [DOWNTIME_CPUS] = "cpus",   [DOWNTIME_MEMORY] = "memory", [DOWNTIME_STATE] = "state", [DOWNTIME_DESTINATION] = "destination",
        [DOWNTIME_DISKS] = "disks", [DOWNTIME_TAKEOVER] = "takeover",
    };

    return names[part];
}

void migration_downtime_sentence(const struct migration_progress *progress, uint64_t limit_ms, char *ret_text, size_t size)
{
    static const char *const what[DOWNTIME_PARTS] = {
        [DOWNTIME_CPUS] = "until its CPUs stood",
        [DOWNTIME_MEMORY] = "to send memory",
        [DOWNTIME_STATE] = "to send the devices' state",
        [DOWNTIME_DESTINATION] = "until the destination was ready",
        [DOWNTIME_DISKS] = "to write out the disks",
        [DOWNTIME_TAKEOVER] = "until the destination had taken over",
    };
    const char *before = ": ";

    ret_text[0] = 0;
    if (progress->downtime_us / 1000 <= limit_ms)
        return;
    text_format(ret_text, size, "the VM stood for %llu ms, and its limit is %llu ms",
                (unsigned long long)progress->downtime_us / 1000, (unsigned long long)limit_ms);
    for (unsigned i = 0; i < DOWNTIME_PARTS; i++) {
        size_t used = strlen(ret_text);

        if (progress->downtime_part_us[i] * 10 < progress->downtime_us)
            continue;
        text_format(ret_text + used, size - used, "%s%llu ms %s", before,
                    (unsigned long long)progress->downtime_part_us[i] / 1000, what[i]);
        before = ", ";
    }
}
