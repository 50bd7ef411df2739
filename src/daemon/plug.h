/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and interfaces of a running domain: added and removed by the VM's PCI hot plug. Under the domain's job. */
#ifndef FERRY_DAEMON_PLUG_H
#define FERRY_DAEMON_PLUG_H

#include <libxml/tree.h>
#include <stdbool.h>

struct domain;
struct err;

/* Adds a copy of the device to the VM and to the live definition. Nothing has changed on failure. */
int plug_attach(struct domain *domain, const xmlNode *device, struct err *err);

/* Asks the guest to let the device go, and waits for that at most five seconds: a guest that takes longer does it behind our back, and
 * an event tells of it, as with libvirt. */
int plug_detach(struct domain *domain, const xmlNode *device, struct err *err);

/* Changes a device in its place, as far as that is possible while the VM runs: whether an interface's cable is plugged in. Anything else
 * that differs is named. */
int plug_update(struct domain *domain, const xmlNode *device, struct err *err);

/* Pulls out the cables of interfaces whose link is down by the live definition: a VM starts with all of them in. */
int plug_set_links(struct domain *domain, struct err *err);

/* The guest has let a device go: its host side is closed. Not in a coroutine. */
void plug_deleted(struct domain *domain, const char *alias, bool disk);

#endif
