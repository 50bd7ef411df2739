/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times, memory and counters of a VM. */
#include "vmm/statistics.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "vmm/machine.h"

/* One line of /proc/self/status in bytes; 0 when it isn't there. */
static uint64_t status_bytes(const char *text, const char *name)
{
    const char *line = strstr(text, name);

    return line != NULL ? strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

static void add_integer(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

/* Guest RAM is one memfd, so it is what the kernel counts as shared memory here. So is translated code. Own memory is the
 * rest but for what else the engine keeps of guest code. */
static void add_memory(json_t *object, uint64_t private_code_bytes)
{
    char text[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    fd_close(&fd);
    if (got <= 0)
        return;
    add_integer(object, "memory-resident", status_bytes(text, "\nVmRSS:"));
    add_integer(object, "memory-guest", status_bytes(text, "\nRssShmem:"));
    add_integer(object, "memory-own",
                status_bytes(text, "\nVmRSS:") - status_bytes(text, "\nRssShmem:") - private_code_bytes);
    add_integer(object, "memory-own-private", status_bytes(text, "\nRssAnon:"));
}

/* "name value" lines. */
static json_t *engine_counters(struct machine *machine)
{
    char text[4096] = "";
    json_t *object = json_object();

    if (machine->engine_type->print_statistics != NULL)
        machine->engine_type->print_statistics(machine->vm, text, sizeof(text));
    for (char *line = text, *next; *line != 0; line = next) {
        char *end = line + strcspn(line, "\n");
        char *space = line + strcspn(line, " \n");
        uint64_t value;

        next = *end != 0 ? end + 1 : end;
        *end = 0;
        if (space >= end)
            continue;
        *space = 0;
        if (text_parse_u64(space + 1, &value) == 0)
            add_integer(object, line, value);
        else
            json_object_set_new(object, line, json_string(space + 1));
    }
    return object;
}

json_t *statistics_json(struct machine *machine)
{
    json_t *object = json_pack("{s:s}", "engine", machine->engine_type->name);
    json_t *counters;

    if (object == NULL)
        return NULL;
    if (machine->engine_why[0] != 0)
        json_object_set_new(object, "engine-choice", json_string(machine->engine_why));
    if (machine->run_ns != 0)
        add_integer(object, "start-to-guest-us", (machine->run_ns - machine->start_ns) / 1000);
    add_integer(object, "guest-time-ms", clock_now(&machine->clock) / 1000000);
    counters = engine_counters(machine);
    add_memory(object, json_integer_value(json_object_get(counters, "code-cache-private-bytes")));
    json_object_set_new(object, "engine-counters", counters);
    return object;
}

static void print_object(json_t *object, const char *prefix, FILE *out)
{
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value) {
        if (json_is_object(value))
            print_object(value, "  ", out);
        else if (json_is_integer(value))
            fprintf(out, "%s%-28s %lld\n", prefix, key, (long long)json_integer_value(value));
        else
            fprintf(out, "%s%-28s %s\n", prefix, key, json_string_value(value));
    }
}

void statistics_print(struct machine *machine, FILE *out)
{
    json_t *object = statistics_json(machine);

    print_object(object, "", out);
    json_decref(object);
}
