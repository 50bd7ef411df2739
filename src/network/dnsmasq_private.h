/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the dnsmasq files: its configuration as text, and where it stands. */
#ifndef FERRY_NETWORK_DNSMASQ_PRIVATE_H
#define FERRY_NETWORK_DNSMASQ_PRIVATE_H

#include <limits.h>

#include "network/dnsmasq.h"

int dnsmasq_path(const struct dnsmasq_place *place, const char *name, const char *suffix,
                 char ret_path[static PATH_MAX]);

int dnsmasq_format_dhcp_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                              struct buffer *out);
int dnsmasq_format_dns_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                             struct buffer *out);

#endif
