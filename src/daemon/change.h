/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of a domain that take place now (live), at its next start (config), or both. */
#ifndef FERRY_DAEMON_CHANGE_H
#define FERRY_DAEMON_CHANGE_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

struct definition;
struct domain;
struct err;

enum { AFFECT_CURRENT, AFFECT_LIVE = 1, AFFECT_CONFIG = 2, AFFECT_FORCE = 4 };

/* "current" becomes one of the two; sentences about what is not there. */
int change_settle_flags(const struct domain *domain, uint32_t *flags, struct err *err);

/* Replaces the lasting definition by a changed copy, which it takes over, once that is on disk. */
int change_commit(struct domain *domain, struct definition *changed, struct err *err);

/* Adds a device, or takes it away: both definitions or neither. Under the domain's job. */
int change_device(struct domain *domain, const xmlNode *device, bool attach, uint32_t flags, struct err *err);

#endif
