/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the migration files. */
#ifndef FERRY_DAEMON_MIGRATION_PRIVATE_H
#define FERRY_DAEMON_MIGRATION_PRIVATE_H

#include <jansson.h>

#include "daemon/migration.h"

struct remote_client;

/* migration_record.c: a new record in domain->migration. */
int migration_record(struct domain *domain, const struct client *client, bool incoming, uint32_t flags, struct err *err);

/* The VM's own word on its migration: QEMU's names of the states, and figures into the record; err gets its sentence, if there is
 * one. */
int migration_query(struct domain *domain, char ret_status[static 32], struct err *err);

/* MiB a second of a client as ours, 0: no limit. libvirt's way to say that is a huge number. */
static inline uint64_t migration_speed(uint64_t mib)
{
    return mib > UINT64_C(1) << 30 ? 0 : mib;
}

/* migration_parameters.c: what was asked for, to the VM that sends; what was not, as if nothing ever had been. */
int migration_set_parameters(struct domain *domain, const struct migration_request *request, struct err *err);
int migration_set_postcopy_bandwidth(struct domain *domain, const struct migration_request *request, struct err *err);
/* A client's URI as the VM has it: "tcp://HOST:PORT" of QEMU's older users too is "tcp:HOST:PORT", or "tls:HOST:PORT" with MIGRATE_TLS. */
void migration_vmm_address(const char *uri, uint32_t flags, char ret_address[static 512]);

bool migration_owns_job(const struct domain *domain, const struct client *client);
/* What the domain is after a migration that went nowhere. */
void migration_take_state(struct domain *domain);

/* migration_settle.c: the source's end. guest: where the destination's daemon says that it is; anywhere: it has said nothing, and is asked
 * if the VM here does not know. A sentence when the VM stays paused. */
enum whereabouts { GUEST_ANYWHERE, GUEST_THERE, GUEST_NOT_THERE };
int migration_end(struct domain *domain, const struct client *client, uint32_t flags, enum whereabouts guest, struct err *err);

/* The destination's daemon: finish on a connection to it, what its answer means, and where it is: by its URI, or by what it said of
 * itself when it prepared. name: of the domain there; NULL: the same. */
int migration_remote_finish(struct remote_client *remote, const char *name, uint32_t flags, bool cancelled, struct err *err);
enum whereabouts migration_answer(int finished);
void migration_note_peer(struct domain *domain, const char *uri, const char *name);
void migration_note_cookie(struct domain *domain, const void *cookie, size_t size, const char *name);

/* What a destination's daemon tells of itself: where it can be asked, if it listens on the network. */
int migration_own_cookie(const struct daemon *daemon, struct buffer *out);

/* Watches a VM that waits for its guest, when nobody conducts any more. */
int migration_watch_incoming(struct domain *domain);

/* The conductor is gone: ends the source's part by what its VM knows, and its job. */
void migration_settle_alone(struct domain *domain);

#define MIGRATION_COOKIE_MAX 16384 /* bytes */

/* Appends what the source tells of itself: a document in which a destination finds out that it is the same host, and how large the disks
 * are, if they are to be copied. */
int migration_cookie(struct domain *domain, const struct migration_request *request, struct buffer *out, struct err *err);
/* The document of either side; NULL: there is none, or it can't be read. The caller's. */
xmlDoc *migration_read_cookie(const void *cookie, size_t size);

/* migration_disks.c: the source's part of the cookie; and the destination, which makes the files that the copies need. Those that are
 * there stay as they are. */
int migration_describe_disks(struct domain *domain, const struct migration_request *request, struct buffer *out, struct err *err);
/* The VM's names of the disks that the request chooses; NULL: it does not choose. A new reference. */
int migration_choose_disks(const struct domain *domain, const struct migration_request *request, json_t **ret_list, struct err *err);
int migration_make_disks(struct daemon *daemon, const struct definition *definition, const void *cookie, size_t size, struct err *err);

#endif
