/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions of machines, made. Compared: describe_check.c. */
#include "vmm/describe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/block.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "devices/virtio/net.h"
#include "memory/memory.h"
#include "vmm/board.h"
#include "vmm/describe_cpu.h"
#include "vmm/machine.h"
#include "vmm/plug.h"
#include "vmm/version.h"

/* Whether a decision could be made beside the image. */
static bool can_decide(const char *path)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX] = ".";

    if (text_starts_with(path, "/dev/"))
        return false;
    if (slash != NULL && text_format(directory, sizeof(directory), "%.*s", (int)(slash - path + 1), path) < 0)
        return false;
    return access(directory, W_OK) == 0;
}

bool describe_can_arbitrate(const struct machine *machine, bool storage)
{
    const struct plug_card *card;
    bool can = false;

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++) {
        if (block_readonly(card->backend->image) || card->backend->copied)
            continue;
        can = can_decide(block_path(card->backend->image));
        if (!can || !storage)
            return can;
    }
    return can;
}

void describe_forget_copies(const struct machine *machine)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        card->backend->copied = false;
}

json_t *describe_memory(const struct memory *memory)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < memory->region_count; i++)
        json_array_append_new(
            list, json_pack("[I, I]", (json_int_t)memory->region[i].address, (json_int_t)memory->region[i].size));
    return list;
}

/* One line of /proc/meminfo, in bytes. */
static uint64_t meminfo(const char *text, const char *name)
{
    const char *line = strstr(text, name);

    return line != NULL ? strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

uint64_t describe_free_memory(void)
{
    char text[8192] = "";
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    fd_close(&fd);
    return got > 0 ? meminfo(text, "MemAvailable:") + meminfo(text, "SwapFree:") : UINT64_MAX;
}

static json_t *describe_devices(const struct board *board)
{
    json_t *list = json_array();
    struct board_section section;

    for (unsigned i = 0; board_section(board, i, &section); i++)
        json_array_append_new(list, json_pack("[s, i, i]", section.name, (int)section.instance, (int)section.version));
    return list;
}

uint64_t describe_disk_used(const struct block_image *image)
{
    struct block_room room;

    return block_room(image, &room) == 0 ? room.used : block_size(image);
}

json_t *describe_disks(const struct board *board, bool beacons)
{
    json_t *list = json_array();
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(board, i)) != NULL; i++) {
        struct block_image *image = card->backend->image;
        json_t *disk =
            json_pack("{s:s, s:s, s:I, s:b, s:b, s:I}", "path", block_path(image), "format", card->backend->format,
                      "size", (json_int_t)block_size(image), "readonly", block_readonly(image), "copied",
                      card->backend->copied, "used", (json_int_t)describe_disk_used(image));
        uint64_t beacon;

        if (beacons && block_show_beacon(image, &beacon) == 0)
            json_object_set_new(disk, "beacon", json_integer((json_int_t)beacon));
        if (beacons && card->backend->kept)
            json_object_set_new(disk, "kept", json_true());
        json_array_append_new(list, disk);
    }
    return list;
}

void describe_end(struct machine *machine)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        block_hide_beacon(card->backend->image);
}

json_t *describe_networks(const struct board *board)
{
    json_t *list = json_array();
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_nic(board, i)) != NULL; i++) {
        uint8_t mac[6];
        char text[18];

        virtio_net_mac(card->dev, mac);
        snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        json_array_append_new(list, json_pack("{s:s, s:s}", "mac", text, "backend", card->backend->source));
    }
    return list;
}

static json_int_t time_of_day(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

static json_t *describe(struct machine *machine, bool source, bool storage, bool arbiter)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:i, s:b, s:s, s:I, s:I, s:I}", "ferry", FERRY_VERSION, "name",
                  machine->config->name, "engine", machine->engine_type->name, "cpus", (int)machine->cpu_count,
                  "arbiter", arbiter, "cpu-model", machine->config->cpu != NULL ? machine->config->cpu : "max",
                  "tsc-khz", (json_int_t)machine->engine_type->tsc_khz(machine->vm), "memory-free",
                  (json_int_t)(describe_free_memory() & INT64_MAX), "clock", time_of_day());

    json_object_set_new(object, "memory", describe_memory(machine->memory));
    json_object_set_new(object, "cpuid", describe_cpuid(&machine->cpuid));
    json_object_set_new(object, "devices", describe_devices(machine->board));
    json_object_set_new(object, "disks", describe_disks(machine->board, source));
    json_object_set_new(object, "networks", describe_networks(machine->board));
    if (source)
        json_object_set_new(object, "long-mode", json_boolean(machine_in_long_mode(machine)));
    if (storage)
        json_object_set_new(object, "copy-storage", json_true());
    return object;
}

int describe_machine(struct machine *machine, bool source, bool storage, bool arbiter, struct buffer *out,
                     struct err *err)
{
    json_t *object = describe(machine, source, storage, arbiter);
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    int r = text != NULL ? buffer_append(out, text, strlen(text)) : -ENOMEM;

    free(text);
    json_decref(object);
    return r < 0 ? err_set(err, r, "cannot describe this VM: %s", strerror(-r)) : 0;
}
