/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the migration files. */
#ifndef FERRY_DAEMON_MIGRATION_PRIVATE_H
#define FERRY_DAEMON_MIGRATION_PRIVATE_H

#include <jansson.h>

#include "daemon/migration.h"

/* A new record in domain->migration. */
int migration_record(struct domain *domain, const struct client *client, uint32_t flags, struct err *err);

/* The VM's own word on its migration: QEMU's names of the states, and figures into the record; err gets its sentence, if there is
 * one. */
int migration_query(struct domain *domain, char ret_status[static 32], struct err *err);
void migration_take_figures(struct migration *migration, const json_t *answer);

/* Watches a VM that waits for its guest, when nobody conducts any more. */
int migration_watch_incoming(struct domain *domain);

/* The conductor is gone: ends the source's part by what its VM knows, and its job. */
void migration_settle_alone(struct domain *domain);

#define MIGRATION_COOKIE_MAX 16384 /* bytes */

/* Appends what the source tells of itself: a document in which a destination finds out that it is the same host, and how large the disks
 * are, if they are to be copied. */
int migration_cookie(struct domain *domain, uint32_t flags, struct buffer *out, struct err *err);
int migration_check_cookie(const struct daemon *daemon, const void *cookie, size_t size, struct err *err);

/* migration_disks.c: the source's part of the cookie; and the destination, which makes the files that the copies need. Those that are
 * there stay as they are. */
int migration_describe_disks(struct domain *domain, struct buffer *out, struct err *err);
int migration_make_disks(struct daemon *daemon, const struct definition *definition, const void *cookie, size_t size, struct err *err);

#endif
