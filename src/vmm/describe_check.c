/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's look at the source's description. Each refusal is one sentence with both sides' values and what to
 * change. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backend/block.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "memory/memory.h"
#include "vmm/board.h"
#include "vmm/describe.h"
#include "vmm/describe_cpu.h"
#include "vmm/machine.h"
#include "vmm/machine_cpu.h"
#include "vmm/plug.h"
#include "vmm/version.h"
#include "x86/cpuid_compare.h"
#include "x86/cpuid_xsave.h"

#define CLOCK_TOLERANCE_S 1.0

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "?";
}

static json_int_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static int check_memory(const struct machine *machine, const json_t *source, struct err *err)
{
    json_t *own = describe_memory(machine->memory), *other = json_object_get(source, "memory");
    unsigned long long size = 0, available = describe_free_memory();
    size_t i;
    json_t *region;
    bool equal = json_equal(own, other);

    json_array_foreach(other, i, region) size += (unsigned long long)json_integer_value(json_array_get(region, 1));
    json_decref(own);
    if (equal && machine->memory->size <= available)
        return 0;
    if (equal)
        return err_set(
            err, -ENOMEM,
            "the VM has %llu MiB of memory on the source, and the destination's host can give %llu MiB: free "
            "some there, or choose another host",
            size >> 20, available >> 20);
    if (size == machine->memory->size)
        return err_set(err, -EINVAL,
                       "the VM's %llu MiB of memory lie at other addresses on the destination: use the same version of "
                       "Ferry on both sides",
                       size >> 20);
    return err_set(err, -EINVAL,
                   "the VM has %llu MiB of memory on the source and %llu MiB on the destination: start the destination "
                   "with --memory %lluM",
                   size >> 20, (unsigned long long)machine->memory->size >> 20, size >> 20);
}

static int check_cpus(const struct machine *machine, const json_t *source, struct err *err)
{
    json_int_t cpus = number_of(source, "cpus");

    if (cpus == machine->cpu_count)
        return 0;
    return err_set(
        err, -EINVAL,
        "the VM has %lld CPUs on the source and %u on the destination: start the destination with --cpus %lld",
        (long long)cpus, machine->cpu_count, (long long)cpus);
}

/* Where XSAVE puts registers is the VM's from now on, if this engine can have it so. */
static int check_cpu_model(struct machine *machine, const struct describe_cpu *source, struct err *err)
{
    struct cpuid_table own = machine->cpuid;
    struct cpuid_xsave_layout layout;
    int r = 0;

    cpuid_get_xsave_layout(&source->cpuid, &layout);
    if (machine->engine_type->xsave_set_layout != NULL)
        r = cpuid_set_xsave_layout(&own, &layout, err);
    if (r < 0)
        return err_prefix(err, "the source's description of its CPU can't be right");
    r = cpuid_compare(&source->cpuid, &own, source->long_mode, err);
    return r < 0 ? r : machine_cpus_set_xsave_layout(machine, &layout, err);
}

/* The frequency is the VM's from now on: one that waits here has none of its own. */
static int check_time(struct machine *machine, const struct describe_cpu *source, struct err *err)
{
    struct timespec now;
    double ahead;
    int r = machine_cpus_set_tsc_khz(machine, source->tsc_khz, err);

    if (r < 0)
        return err_prefix(err, "the VM runs at another TSC frequency on the source");
    clock_gettime(CLOCK_REALTIME, &now);
    ahead = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)source->clock_ns / 1e9;
    if (ahead > CLOCK_TOLERANCE_S || ahead < -CLOCK_TOLERANCE_S)
        log_warning("this host's time of day is %.1f s away from the source's: have both follow a time server", ahead);
    return 0;
}

static int check_cpu_and_time(struct machine *machine, const json_t *source, struct err *err)
{
    struct describe_cpu cpu;
    int r = describe_read_cpu(source, &cpu, err);

    if (r == 0)
        r = check_cpu_model(machine, &cpu, err);
    return r < 0 ? r : check_time(machine, &cpu, err);
}

/* A section of the source's that is not here, or of a later version. */
static int check_section(const struct machine *machine, const json_t *item, struct err *err)
{
    const char *name = json_string_value(json_array_get(item, 0));
    json_int_t instance = json_integer_value(json_array_get(item, 1)),
               version = json_integer_value(json_array_get(item, 2));
    struct board_section section;

    if (name == NULL)
        return err_set(err, -EBADMSG, "the source's list of devices is damaged");
    for (unsigned i = 0; board_section(machine->board, i, &section); i++) {
        if (!text_equal(section.name, name) || section.instance != instance)
            continue;
        if (version <= section.version)
            return 0;
        return err_set(
            err, -ENOTSUP,
            "the state of %.32s %lld has version %lld on the source, and the destination's Ferry %s knows up to %u: "
            "update it",
            name, (long long)instance, (long long)version, FERRY_VERSION, section.version);
    }
    return err_set(
        err, -EINVAL,
        "the VM has a device %.32s %lld on the source and none on the destination: start it with the same options",
        name, (long long)instance);
}

static bool has_section(const json_t *devices, const struct board_section *section)
{
    size_t i;
    json_t *item;

    json_array_foreach(devices, i, item)
    {
        const char *name = json_string_value(json_array_get(item, 0));

        if (name != NULL && text_equal(name, section->name) &&
            json_integer_value(json_array_get(item, 1)) == section->instance)
            return true;
    }
    return false;
}

static int check_devices(const struct machine *machine, const json_t *source, struct err *err)
{
    const json_t *devices = json_object_get(source, "devices");
    struct board_section section;
    size_t i;
    json_t *item;

    json_array_foreach(devices, i, item)
    {
        int r = check_section(machine, item, err);

        if (r < 0)
            return r;
    }
    for (unsigned k = 0; board_section(machine->board, k, &section); k++) {
        if (!has_section(devices, &section))
            return err_set(
                err, -EINVAL,
                "the VM has a device %s %u on the destination and none on the source: start it with the same "
                "options",
                section.name, section.instance);
    }
    return 0;
}

/* Disk number i of both sides, which is handed over: the same name, the same size, and really the same file. way_out:
 * what else could be done where it is another. */
static int check_shared(const struct plug_card *card, unsigned number, const json_t *here, const json_t *there,
                        const char *way_out, struct err *err)
{
    static const char *const same[] = {"path", "format"};
    json_int_t beacon = number_of(there, "beacon");

    for (unsigned i = 0; i < ARRAY_SIZE(same); i++) {
        if (!text_equal(text_of(here, same[i]), text_of(there, same[i])))
            return err_set(
                err, -EINVAL,
                "disk %u has the %s %.120s on the source and %.120s on the destination: start it with the source's",
                number, same[i], text_of(there, same[i]), text_of(here, same[i]));
    }
    if (number_of(here, "size") != number_of(there, "size"))
        return err_set(err, -EINVAL,
                       "disk %s has %lld bytes on the source and %lld on the destination: it is not the same file",
                       text_of(there, "path"), (long long)number_of(there, "size"), (long long)number_of(here, "size"));
    if (beacon > 0 && !block_sees_beacon(card->backend->image, (uint64_t)beacon))
        return err_set(
            err, -EINVAL,
            "disk %s is another file on the destination than on the source, though of the same name: both must see "
            "it in a directory that they share%s",
            text_of(there, "path"), way_out);
    return 0;
}

/* A disk that is copied: its own file here, as large, whatever its name and format. */
static int check_copied(struct plug_backend *backend, const json_t *there, struct err *err)
{
    long long size = number_of(there, "size"), own = (long long)block_size(backend->image);
    const char *path = block_path(backend->image);

    if (number_of(there, "beacon") <= 0)
        return err_set(
            err, -EOPNOTSUPP,
            "whether disk %.120s of the source is the same file as %.120s of the destination can't be told: the "
            "source's file system has no locks; move the image to one that has",
            text_of(there, "path"), path);
    if (size != own && text_equal(backend->format, "raw"))
        return err_set(
            err, -EINVAL,
            "disk %.120s has %lld bytes on the source, and %.120s on the destination has %lld: truncate -s %lld "
            "%.120s there",
            text_of(there, "path"), size, path, own, size, path);
    if (size != own)
        return err_set(
            err, -EINVAL,
            "disk %.120s has %lld bytes on the source, and %.120s on the destination has %lld: make it anew with "
            "the source's size",
            text_of(there, "path"), size, path, own);
    backend->copied = true;
    return 0;
}

static int check_disk(const struct plug_card *card, unsigned number, const json_t *here, const json_t *there,
                      bool storage, struct err *err)
{
    bool readonly = json_is_true(json_object_get(there, "readonly")), kept = json_is_true(json_object_get(there, "kept"));
    const char *way_out = !storage ? ", or copy it with --copy-storage" : kept ? ", or have it copied, too" : "";
    json_int_t beacon = number_of(there, "beacon");

    if (block_readonly(card->backend->image) != readonly)
        return err_set(err, -EINVAL, "disk %s is %s on the source and %s on the destination: start it with readonly=%s",
                       text_of(there, "path"), readonly ? "read-only" : "written to",
                       readonly ? "written to" : "read-only", readonly ? "on" : "off");
    if (storage && !kept && !readonly && !(beacon > 0 && block_sees_beacon(card->backend->image, (uint64_t)beacon)))
        return check_copied(card->backend, there, err);
    return check_shared(card, number, here, there, way_out, err);
}

/* What the source's disk may take more than the file here has already; 0 also where that can't be told. */
static uint64_t room_needed(const struct plug_card *card, const json_t *there, struct block_room *ret_room)
{
    uint64_t used = (uint64_t)number_of(there, "used");

    if (!card->backend->copied || block_room(card->backend->image, ret_room) < 0)
        return 0;
    return used > ret_room->used ? used - ret_room->used : 0;
}

/* For all disks of the same file system together. */
static int check_room(const struct machine *machine, const json_t *there, struct err *err)
{
    const struct plug_card *card, *other;
    struct block_room room = {0}, other_room = {0};

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++) {
        uint64_t needed = room_needed(card, json_array_get(there, i), &room);

        if (card->backend->copied && block_room(card->backend->image, &room) < 0)
            log_warning("whether there is room for the copy of disk %.120s can't be told from here",
                        block_path(card->backend->image));
        for (unsigned k = 0; needed > 0 && k < i && (other = plug_disk(machine->board, k)) != NULL; k++) {
            uint64_t more = room_needed(other, json_array_get(there, k), &other_room);

            needed += other_room.device == room.device ? more : 0;
        }
        if (needed > 0 && needed >= room.left)
            return err_set(
                err, -ENOSPC,
                "disk %.120s needs up to %llu MiB more on the destination, whose file system has %llu MiB: make "
                "room there",
                block_path(card->backend->image), (unsigned long long)needed >> 20,
                (unsigned long long)room.left >> 20);
    }
    return 0;
}

static int check_disks(const struct machine *machine, const json_t *source, struct err *err)
{
    json_t *here = describe_disks(machine->board, false), *there = json_object_get(source, "disks");
    bool storage = json_is_true(json_object_get(source, "copy-storage"));
    size_t count = json_array_size(here);
    int r = 0;

    describe_forget_copies(machine);
    if (count != json_array_size(there))
        r = err_set(
            err, -EINVAL,
            "the VM has %zu disks on the source and %zu on the destination: start it with the same --disk options",
            json_array_size(there), count);
    for (unsigned i = 0; r == 0 && i < count; i++)
        r = check_disk(plug_disk(machine->board, i), i, json_array_get(here, i), json_array_get(there, i), storage,
                       err);
    if (r == 0 && storage)
        r = check_room(machine, there, err);
    json_decref(here);
    return r;
}

static bool is_user(const char *backend)
{
    return text_starts_with(backend, "user");
}

/* What is connected to a bridge must be connected to that of the same name, and not end in a network of the process's own. */
static int check_network(unsigned number, const json_t *here, const json_t *there, struct err *err)
{
    const char *ours = text_of(here, "backend"), *theirs = text_of(there, "backend");

    if (!text_equal(text_of(here, "mac"), text_of(there, "mac")))
        return err_set(
            err, -EINVAL,
            "network card %u has the address %s on the source and %s on the destination: give the destination "
            "mac=%s",
            number, text_of(there, "mac"), text_of(here, "mac"), text_of(there, "mac"));
    if (is_user(ours) != is_user(theirs) ||
        (text_starts_with(theirs, "bridge=") && text_starts_with(ours, "bridge=") && !text_equal(ours, theirs)))
        return err_set(
            err, -EINVAL,
            "network card %u is at %.100s on the source and at %.100s on the destination: connect both to networks of "
            "one name",
            number, theirs, ours);
    return 0;
}

static int check_networks(const struct machine *machine, const json_t *source, struct err *err)
{
    json_t *here = describe_networks(machine->board), *there = json_object_get(source, "networks");
    size_t count = json_array_size(here);
    int r = 0;

    if (count != json_array_size(there))
        r = err_set(
            err, -EINVAL,
            "the VM has %zu network cards on the source and %zu on the destination: start it with the same --net "
            "options",
            json_array_size(there), count);
    for (unsigned i = 0; r == 0 && i < count; i++)
        r = check_network(i, json_array_get(here, i), json_array_get(there, i), err);
    json_decref(here);
    return r;
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

int describe_check(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err)
{
    static int (*const checks[])(const struct machine *machine, const json_t *source, struct err *err) = {
        check_cpus, check_memory, check_disks, check_networks, check_devices};
    json_t *source = NULL;
    int r = parse(description, size, &source, err);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(checks); i++)
        r = checks[i](machine, source, err);
    if (r == 0)
        r = check_cpu_and_time(machine, source, err);
    if (r == 0)
        *ret_arbiter = json_is_true(json_object_get(source, "arbiter")) && describe_can_arbitrate(machine, false);
    json_decref(source);
    return r;
}

/* Which disks the destination takes copies of. */
static int examine_disks(struct machine *machine, const json_t *there, bool storage, struct err *err)
{
    const struct plug_card *card;

    describe_forget_copies(machine);
    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++) {
        bool copied = json_is_true(json_object_get(json_array_get(there, i), "copied"));

        if (copied && (!storage || card->backend->kept || block_readonly(card->backend->image)))
            return err_set(err, -EBADMSG, "the destination wants a copy of disk %.120s, which was not offered",
                           block_path(card->backend->image));
        card->backend->copied = copied;
    }
    return 0;
}

int describe_examine(struct machine *machine, const void *description, size_t size, bool storage, bool *arbiter,
                     struct err *err)
{
    json_t *destination = NULL;
    int r = parse(description, size, &destination, err);

    if (r < 0)
        return r;
    r = examine_disks(machine, json_object_get(destination, "disks"), storage, err);
    *arbiter = *arbiter && json_is_true(json_object_get(destination, "arbiter"));
    json_decref(destination);
    return r;
}
