/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network interfaces of domains: from the definition to a tap on the right bridge. */
#ifndef FERRY_DAEMON_INTERFACES_H
#define FERRY_DAEMON_INTERFACES_H

#include <libxml/tree.h>

struct domain;
struct err;

/* Makes the tap, and writes its name into the interface's <target>. *ret_fd stays -1 for an interface that needs none (type user). */
int interface_open(struct domain *domain, xmlNode *interface, int *ret_fd, struct err *err);

#endif
