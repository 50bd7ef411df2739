/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new definition among those that there are: whether it is in another's way, and what its document leaves open. */
#include <errno.h>

#include "base/checksum.h"
#include "base/err.h"
#include "base/text.h"
#include "network/link.h"
#include "network/network_private.h"

#define BRIDGES_MAX 1000 /* virbr0 to virbr999 */

static struct network *bridge_owner(const struct networks *networks, const char *bridge, const struct network *except)
{
    for (size_t i = 0; i < networks->count; i++) {
        struct network *network = networks->items[i];
        if (network != except && ((network->config != NULL && text_equal(network->config->bridge, bridge)) ||
                                  (network->live != NULL && text_equal(network->live->bridge, bridge))))
            return network;
    }
    return NULL;
}

/* The lowest virbrN that neither a network nor the host has. */
static int choose_bridge(const struct networks *networks, struct network_definition *definition, struct err *err)
{
    struct link_status status;
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        (void)text_format(definition->bridge, sizeof(definition->bridge), "virbr%u", i);
        if (bridge_owner(networks, definition->bridge, NULL) != NULL)
            continue;
        int r = link_query(definition->bridge, &status, err);
        if (r < 0 || !status.exists)
            return r;
    }
    return err_set(err, -ENOSPC, "virbr0 to virbr%d are all taken; give the network a <bridge name='...'/>",
                   BRIDGES_MAX - 1);
}

/* The owner of another name or bridge than the definition's is its rival. */
static int check_rivals(const struct networks *networks, const struct network_definition *definition,
                        const struct network *same, struct err *err)
{
    const struct network *other = definition->has_uuid ? networks_find_uuid(networks, definition->uuid) : NULL;
    char uuid[UUID_TEXT_SIZE];
    if (other != NULL && other != same)
        return err_set(err, -EEXIST, "the UUID of network %s is that of network %s, which exists already",
                       definition->name, network_name(other));
    if (same != NULL && definition->has_uuid && other == NULL) {
        uuid_format(network_uuid(same), uuid);
        return err_set(err, -EEXIST, "network %s exists already, with UUID %s", definition->name, uuid);
    }
    other = definition->bridge[0] == '\0' || definition->forward == NETWORK_BRIDGE
                ? NULL
                : bridge_owner(networks, definition->bridge, same);
    if (other != NULL)
        return err_set(err, -EEXIST, "bridge %s of network %s belongs to network %s already", definition->bridge,
                       definition->name, network_name(other));
    return 0;
}

/* By the network's name: the network of that name on another host has the same gateway, so a guest that migrates goes on sending
 * to the MAC address that it knows. Where an overlay joins them, bridges of different addresses must be told apart. */
static void choose_mac(struct network_definition *definition)
{
    uint32_t sum = crc32c(0, definition->name, strlen(definition->name));
    if (definition->overlay.there)
        sum = crc32c(sum, definition->ip4.net.address.bytes, sizeof(definition->ip4.net.address.bytes));
    definition->mac[0] = 0x52;
    definition->mac[1] = 0x54;
    definition->mac[2] = 0x00;
    for (unsigned i = 0; i < 3; i++)
        definition->mac[3 + i] = (uint8_t)(sum >> (8 * i));
    definition->has_mac = true;
}

/* What the document left open: UUID, bridge and its MAC. A redefined network keeps what it has. */
static int complete(const struct networks *networks, struct network_definition *definition, const struct network *same,
                    struct err *err)
{
    if (!definition->has_uuid && same != NULL)
        memcpy(definition->uuid, network_uuid(same), UUID_SIZE);
    else if (!definition->has_uuid)
        uuid_random(definition->uuid);
    definition->has_uuid = true;
    if (definition->forward == NETWORK_BRIDGE)
        return 0;
    if (!definition->has_mac)
        choose_mac(definition);
    if (definition->bridge[0] != '\0')
        return 0;
    if (same != NULL && network_definition(same)->forward != NETWORK_BRIDGE) {
        memcpy(definition->bridge, network_definition(same)->bridge, IFNAMSIZ);
        return 0;
    }
    return choose_bridge(networks, definition, err);
}

int network_parse_new(const struct networks *networks, const char *xml, struct network_definition **ret_definition,
                     struct network **ret_same, struct err *err)
{
    struct network_definition *definition;
    int r = network_definition_parse(xml, &definition, err);
    if (r < 0)
        return r;
    struct network *same = networks_find(networks, definition->name);
    r = check_rivals(networks, definition, same, err);
    if (r == 0)
        r = complete(networks, definition, same, err);
    if (r < 0) {
        network_definition_free(definition);
        return r;
    }
    *ret_definition = definition;
    *ret_same = same;
    return 0;
}
