/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks with what was done to them, and cards, as QMP shows them. */
#include "backend/block.h"
#include "base/bits.h"
#include "base/text.h"
#include "devices/virtio/net.h"
#include "vmm/board.h"
#include "vmm/control_arguments.h"
#include "vmm/control_plug.h"
#include "vmm/machine.h"
#include "vmm/plug.h"

static json_t *describe_disk(const struct plug_card *card)
{
    const struct plug_backend *backend = card->backend;
    char path[128];

    snprintf(path, sizeof(path), "/machine/peripheral/%s/virtio-backend", card->id);
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:{s:s, s:s, s:s, s:b, s:{s:s, s:s, s:I}}}", "device", card->id, "qdev", path, "type",
                     "unknown", "removable", 0, "locked", 0, "inserted", "node-name", backend->id, "file", backend->source,
                     "drv", backend->format, "ro", block_readonly(backend->image), "image", "filename", backend->source,
                     "format", backend->format, "virtual-size", (json_int_t)block_size(backend->image));
}

int control_query_block(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const struct plug_card *card;
    json_t *list = json_array();

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        json_array_append_new(list, describe_disk(card));
    *ret_value = list;
    return 0;
}

/* QEMU's names. What has been discarded is counted as "unmap". */
static json_t *describe_counters(const struct block_counters *counters)
{
    static const struct {
        const char *name;
        enum block_operation operation;
    } kinds[] = {{"rd", BLOCK_READ}, {"wr", BLOCK_WRITE}, {"flush", BLOCK_FLUSH}, {"unmap", BLOCK_DISCARD}};
    json_t *object = json_object();
    char name[32];

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        text_format(name, sizeof(name), "%s_operations", kinds[i].name);
        json_object_set_new(object, name, json_integer((json_int_t)counters->of[kinds[i].operation].operations));
        text_format(name, sizeof(name), "%s_bytes", kinds[i].name);
        json_object_set_new(object, name, json_integer((json_int_t)counters->of[kinds[i].operation].bytes));
        text_format(name, sizeof(name), "%s_total_time_ns", kinds[i].name);
        json_object_set_new(object, name, json_integer((json_int_t)counters->of[kinds[i].operation].nanoseconds));
    }
    json_object_set_new(object, "x-ferry-failed", json_integer((json_int_t)counters->failed));
    return object;
}

int control_query_blockstats(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"query-nodes", NULL};
    int r = control_check_keys(arguments, allowed, err);
    const struct plug_card *card;
    json_t *list;

    if (r < 0)
        return r;
    list = json_array();
    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "device", card->id, "node-name", card->backend->id, "stats",
                                              describe_counters(block_counters(card->backend->image))));
    *ret_value = list;
    return 0;
}

static json_t *describe_device(const struct plug_card *card, unsigned slot, bool nic)
{
    json_t *device = json_pack("{s:s, s:s, s:i, s:s, s:s}", "id", card->id, "driver", nic ? "virtio-net-pci" : "virtio-blk-pci",
                               "slot", slot, nic ? "netdev" : "drive", card->backend->id, "source", card->backend->source);
    uint8_t mac[6];
    char text[18];

    if (nic && device != NULL) {
        virtio_net_mac(card->dev, mac);
        snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        json_object_set_new(device, "mac", json_string(text));
    }
    return device;
}

int control_query_devices(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const struct plug *plug = board_plug(machine->board);
    json_t *list = json_array();

    for (unsigned slot = 0; slot < PLATFORM_PCI_SLOTS; slot++) {
        const struct plug_card *card = &plug->card[slot];

        if (card->dev != NULL && !card->ejected)
            json_array_append_new(list, describe_device(card, slot, card->backend->image == NULL));
    }
    *ret_value = list;
    return 0;
}
