/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading /proc and /sys. */
#include "daemon/usage.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/domain.h"
#include "daemon/monitor.h"

/* One short file as text; empty when it can't be read. */
static void read_short(const char *path, char *out, size_t size)
{
    FILE *stream = fopen(path, "re");
    size_t got = stream != NULL ? fread(out, 1, size - 1, stream) : 0;

    out[got] = 0;
    if (stream != NULL)
        fclose(stream);
}

/* Fields 14 and 15 of stat, behind the name in brackets, which may hold anything. */
static void read_times(const char *path, uint64_t *ret_user, uint64_t *ret_system)
{
    unsigned long long user = 0, system = 0;
    uint64_t tick = NANOSECONDS_PER_SECOND / (uint64_t)sysconf(_SC_CLK_TCK);
    char text[1024];
    const char *behind;

    read_short(path, text, sizeof(text));
    behind = strrchr(text, ')');
    if (behind != NULL)
        sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
    *ret_user = user * tick;
    *ret_system = system * tick;
}

struct usage usage_of(const struct domain *domain)
{
    struct usage usage = {0};
    unsigned long long size = 0, resident = 0;
    char path[64], text[256];

    if (domain->pid <= 0)
        return usage;
    text_format(path, sizeof(path), "/proc/%d/stat", (int)domain->pid);
    read_times(path, &usage.user_ns, &usage.system_ns);
    usage.cpu_ns = usage.user_ns + usage.system_ns;
    text_format(path, sizeof(path), "/proc/%d/statm", (int)domain->pid);
    read_short(path, text, sizeof(text));
    sscanf(text, "%llu %llu", &size, &resident);
    usage.resident_kib = resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    return usage;
}

uint64_t usage_of_cpu(struct domain *domain, unsigned cpu)
{
    json_t *list = NULL;
    uint64_t user = 0, system = 0;
    char path[96];

    if (domain->monitor == NULL || monitor_call(domain->monitor, "query-cpus-fast", NULL, &list, NULL) < 0)
        return 0;
    text_format(path, sizeof(path), "/proc/%d/task/%lld/stat", (int)domain->pid,
                (long long)json_integer_value(json_object_get(json_array_get(list, cpu), "thread-id")));
    read_times(path, &user, &system);
    json_decref(list);
    return user + system;
}

uint64_t usage_of_interface(const char *interface, const char *counter)
{
    char path[160], text[64];

    if (interface == NULL || strchr(interface, '/') != NULL)
        return 0;
    text_format(path, sizeof(path), "/sys/class/net/%s/statistics/%s", interface, counter);
    read_short(path, text, sizeof(text));
    return strtoull(text, NULL, 10);
}
