/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live migration over libvirt's protocol, version 3 with parameters: begin, prepare, perform, finish, confirm.
 *
 * The VMs settle among themselves which of them runs the guest (docs/formats/migration.md); the daemons start and end them, carry the
 * parameters, and settle what a lost connection left open. Whoever conducts the steps, a client or the source's daemon, may die between
 * any two of them: the destination's daemon sees by its VM that the guest has come, the source's by its own that it has gone. */
#ifndef FERRY_DAEMON_MIGRATION_H
#define FERRY_DAEMON_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/definition.h"

struct buffer;
struct client;
struct daemon;
struct domain;
struct rpc_param;

enum migration_flag {
    MIGRATE_LIVE = 0x1,
    MIGRATE_PEER2PEER = 0x2,
    MIGRATE_PERSIST_DEST = 0x8,
    MIGRATE_UNDEFINE_SOURCE = 0x10,
    MIGRATE_PAUSED = 0x20,
    MIGRATE_NON_SHARED_DISK = 0x40,
    MIGRATE_NON_SHARED_INC = 0x80,
    MIGRATE_COPY = MIGRATE_NON_SHARED_DISK | MIGRATE_NON_SHARED_INC, /* one and the same here: what is there already is not sent */
    MIGRATE_CHANGE_PROTECTION = 0x100,
    MIGRATE_UNSAFE = 0x200,
    MIGRATE_COMPRESSED = 0x800,
    MIGRATE_ABORT_ON_ERROR = 0x1000,
    MIGRATE_AUTO_CONVERGE = 0x2000,
    MIGRATE_POSTCOPY = 0x8000,
    MIGRATE_TLS = 0x10000,
    MIGRATE_PARALLEL = 0x20000,
    MIGRATE_POSTCOPY_RESUME = 0x80000,
};
#define MIGRATE_FLAGS 0x1fffffu /* all that libvirt 9.0 knows */

#define MIGRATION_DISKS_MAX 64

enum migration_result { MIGRATION_UNDER_WAY, MIGRATION_DONE, MIGRATION_NOT_DONE };

/* How far it is: of the migration under way, or the last one. */
struct migration_figures {
    uint64_t elapsed_ms, downtime_ms;
    uint64_t total, transferred, remaining; /* bytes of memory */
    uint64_t rounds, dirty_pages, bandwidth, requests;
    uint64_t disk_total, disk_remaining; /* bytes of disks that are copied */
    bool known;
};

struct migration {
    const struct client *client;   /* who conducts it; NULL: nobody any more, or this daemon */
    bool client_gone;
    bool incoming;                 /* to here */
    bool performing;               /* somebody watches the VM that sends */
    enum migration_result result;
    uint32_t flags;
    struct migration_figures figures;
    struct err err;                /* why it is not done */
    char address[512];             /* on the source: where the destination's VM waits; "": not known */
    unsigned tries;                /* to go on with post-copy since its connection was lost */
    bool held;                     /* it was broken off on purpose: none until somebody says so */
    char peer[512], peer_name[DOMAIN_NAME_MAX + 1]; /* on the source: URI of the other daemon ("": not known), the domain's name there */
    bool never_ran;                /* on the destination: it is certain that the guest has not run here, and will not */
    struct definition *persistent; /* on the destination: what is to be defined there, if not what runs */
};

void migration_free(struct migration *migration); /* accepts NULL */

/* What a migration is to be like, from a client's parameters. Texts are the parameters' own. */
struct migration_request {
    const char *uri, *name, *xml, *persistent_xml, *listen_address;
    const void *cookie; /* of perform: what the destination's daemon says of itself */
    size_t cookie_size;
    uint64_t bandwidth_mib, postcopy_bandwidth_mib; /* 0: not said */
    const char *disk[MIGRATION_DISKS_MAX];          /* targets of those that are copied, none: all that are not shared */
    unsigned disks;
    const char *compression, *tls_destination; /* QEMU's multifd-compression and tls-hostname; NULL: not said */
    bool delta;                                /* QEMU's xbzrle */
    uint64_t delta_cache, connections, throttle_initial, throttle_increment; /* QEMU's units; 0: not said */
    uint32_t flags;
};
int migration_read_request(const struct rpc_param *params, size_t count, uint32_t flags, struct migration_request *ret_request,
                           struct err *err);

/* The part of a domain's status file that tells of its migration, if it still matters; NULL: there is none. -ENOBUFS, -ENOMEM. */
int migration_format(const struct migration *migration, struct buffer *out);
int migration_read(const xmlNode *node, struct migration **ret_migration, struct err *err);

/* Guests that certainly did not run here: whoever asks again is told so, though the domain is no more. The last 32 names. NULL: all. */
void migration_note_given_up(struct daemon *daemon, const char *name);
void migration_forget_given_up(struct daemon *daemon, const char *name);
bool migration_was_given_up(const struct daemon *daemon, const char *name);

/* The source. begin takes the domain's job if flags ask for protection, and appends the document for the destination; perform gives
 * the guest away (uri: of the destination's VM), or fails and the guest runs on; confirm ends what is left here, or lets it run on.
 *
 * Post-copy that has lost its connection is tried again by whoever watches it, without end; perform is told after a minute's tries. With
 * MIGRATE_POSTCOPY_RESUME these steps give it another address, and wait for the same end: begin takes no job. */
int migration_begin(struct domain *domain, const struct client *client, const struct migration_request *request, struct buffer *xml,
                    struct err *err);
int migration_perform(struct domain *domain, const struct client *client, const struct migration_request *request, struct err *err);
/* While it performs, if it was begun with MIGRATE_POSTCOPY: the guest goes to the other side now, and the rest of its memory behind it. */
int migration_start_postcopy(struct domain *domain, struct err *err);
/* Breaks post-copy off: it goes on only with MIGRATE_POSTCOPY_RESUME. */
int migration_pause_postcopy(struct domain *domain, struct err *err);
int migration_confirm(struct domain *domain, const struct client *client, uint32_t flags, bool cancelled, struct err *err);

/* All of it at once, as a client of the other daemon. */
int migration_peer_to_peer(struct domain *domain, const char *destination, const struct migration_request *request, struct err *err);

/* The destination. prepare starts a VM that waits, and writes the URI where it does; finish says whether the guest came. Prepare with
 * MIGRATE_POSTCOPY_RESUME has the VM that lacks memory wait at another URI. */
int migration_prepare(struct daemon *daemon, const struct client *client, const struct migration_request *request, const void *cookie,
                      size_t cookie_size, char *ret_uri, size_t uri_size, struct err *err);
int migration_finish(struct daemon *daemon, const struct migration_request *request, bool cancelled, struct domain **ret_domain,
                     struct err *err);

/* A domain that was found again after a restart of ferryd may stand in the middle of a migration: it is watched to its end, which the
 * VMs know. False: its guest has left, and it is off now. */
bool migration_adopt(struct domain *domain);

/* The client has gone: what it conducted is brought to an end. */
void migration_client_gone(struct daemon *daemon, const struct client *client);

#endif
