/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taps for interfaces of type network and bridge. */
#include "daemon/interfaces.h"

#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/networks.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

int interface_open(struct domain *domain, xmlNode *interface, int *ret_fd, struct err *err)
{
    const xmlNode *source = xml_first(interface, "source");
    const char *wanted = xml_attribute(xml_first(interface, "target"), "dev");
    uint8_t mac[6] = {0};
    bool bridge = tree_is(interface, "type", "bridge");
    struct tap tap;
    int r;

    if (tree_is(interface, "type", "user"))
        return 0;
    text_parse_mac(xml_attribute(xml_first(interface, "mac"), "address"), mac);
    r = daemon_networks_tap(domain->daemon, bridge ? NULL : xml_attribute(source, "network"),
                            bridge ? xml_attribute(source, "bridge") : NULL, wanted, mac, &tap, err);
    if (r < 0)
        return r > RPC_FAULT(0) ? RPC_FAULT(RPC_OPERATION_FAILED) : r;
    tree_set(tree_child(interface, "target"), "dev", "%s", tap.name);
    *ret_fd = tap.fd;
    return 0;
}
