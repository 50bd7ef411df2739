/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firewall rules of all running networks: one nftables table of our own, `inet ferry`, replaced as a whole in one
 * transaction and removed with the last network. Nobody else's table is looked at or changed, so a rule elsewhere that
 * drops still drops. */
#ifndef FERRY_NETWORK_FIREWALL_H
#define FERRY_NETWORK_FIREWALL_H

#include <stddef.h>

struct buffer;
struct err;
struct network_definition;

/* Makes the rules be those of these networks and no others. definitions[i]->bridge must be set. */
int firewall_apply(const struct network_definition *const *definitions, size_t count, struct err *err);

/* The commands that firewall_apply() gives to the kernel, in nft's language. -ENOBUFS, -ENOMEM. */
int firewall_format(const struct network_definition *const *definitions, size_t count, struct buffer *out);

#endif
