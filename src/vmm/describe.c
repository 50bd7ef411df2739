/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions of machines, made and compared. */
#include "vmm/describe.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "backend/block.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "memory/memory.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/version.h"

bool describe_can_arbitrate(const struct machine *machine)
{
    const char *path = board_arbiter(machine->board);
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    char directory[PATH_MAX] = ".";

    if (path == NULL || text_starts_with(path, "/dev/"))
        return false;
    if (slash != NULL && text_format(directory, sizeof(directory), "%.*s", (int)(slash - path + 1), path) < 0)
        return false;
    return access(directory, W_OK) == 0;
}

static json_t *describe_memory(const struct memory *memory)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < memory->region_count; i++)
        json_array_append_new(list, json_pack("[I, I]", (json_int_t)memory->region[i].address, (json_int_t)memory->region[i].size));
    return list;
}

static json_t *describe(const struct machine *machine, bool arbiter)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:i, s:b}", "ferry", FERRY_VERSION, "name", machine->config->name, "engine",
                     machine->engine_type->name, "memory", describe_memory(machine->memory), "cpus", (int)machine->cpu_count, "arbiter",
                     arbiter);
}

int describe_machine(struct machine *machine, bool arbiter, struct buffer *out, struct err *err)
{
    json_t *object = describe(machine, arbiter);
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    int r = text != NULL ? buffer_append(out, text, strlen(text)) : -ENOMEM;

    free(text);
    json_decref(object);
    return r < 0 ? err_set(err, r, "cannot describe this VM: %s", strerror(-r)) : 0;
}

static int parse(const void *description, size_t size, json_t **ret_object, struct err *err)
{
    json_t *object = json_loadb(description, size, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(err, -EBADMSG, "the other side's description is no JSON object");
    }
    *ret_object = object;
    return 0;
}

static int check_memory(const struct machine *machine, const json_t *source, struct err *err)
{
    json_t *own = describe_memory(machine->memory), *other = json_object_get(source, "memory");
    uint64_t size = 0;
    size_t i;
    json_t *region;
    bool equal = json_equal(own, other);

    json_array_foreach (other, i, region)
        size += (uint64_t)json_integer_value(json_array_get(region, 1));
    json_decref(own);
    if (equal)
        return 0;
    if (size == machine->memory->size)
        return err_set(err, -EINVAL, "the VM's %llu MiB of memory lie at other addresses on the destination: use the same version of "
                       "Ferry on both sides", (unsigned long long)size >> 20);
    return err_set(err, -EINVAL, "the VM has %llu MiB of memory on the source and %llu MiB on the destination: start the destination "
                   "with --memory %lluM", (unsigned long long)size >> 20, (unsigned long long)machine->memory->size >> 20,
                   (unsigned long long)size >> 20);
}

static int check_cpus(const struct machine *machine, const json_t *source, struct err *err)
{
    json_int_t cpus = json_integer_value(json_object_get(source, "cpus"));

    if (cpus == machine->cpu_count)
        return 0;
    return err_set(err, -EINVAL, "the VM has %lld CPUs on the source and %u on the destination: start the destination with --cpus %lld",
                   (long long)cpus, machine->cpu_count, (long long)cpus);
}

int describe_check(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err)
{
    json_t *source = NULL;
    int r = parse(description, size, &source, err);

    if (r < 0)
        return r;
    r = check_cpus(machine, source, err);
    if (r == 0)
        r = check_memory(machine, source, err);
    if (r == 0)
        *ret_arbiter = json_is_true(json_object_get(source, "arbiter")) && describe_can_arbitrate(machine);
    json_decref(source);
    return r;
}

int describe_examine(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err)
{
    json_t *destination = NULL;
    int r = parse(description, size, &destination, err);

    if (r < 0)
        return r;
    *ret_arbiter = *ret_arbiter && json_is_true(json_object_get(destination, "arbiter"));
    json_decref(destination);
    return 0;
}
