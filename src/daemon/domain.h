/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain: its definitions, its state, and its VM while there is one. */
#ifndef FERRY_DAEMON_DOMAIN_H
#define FERRY_DAEMON_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/definition.h"
#include "event/coroutine.h"

struct call;
struct daemon;
struct err;
struct migration;
struct monitor;
struct rpc_object;

/* libvirt's numbers. */
enum domain_state { DOMAIN_RUNNING = 1, DOMAIN_PAUSED = 3, DOMAIN_SHUTDOWN = 4, DOMAIN_SHUTOFF = 5, DOMAIN_CRASHED = 6 };
enum { RUNNING_UNKNOWN, RUNNING_BOOTED, RUNNING_MIGRATED, RUNNING_RESTORED, RUNNING_UNPAUSED = 5, RUNNING_MIGRATION_CANCELED,
       RUNNING_SAVE_CANCELED, RUNNING_POSTCOPY = 10 };
enum { PAUSED_UNKNOWN, PAUSED_USER, PAUSED_MIGRATION, PAUSED_SAVE, PAUSED_STARTING = 11, PAUSED_POSTCOPY, PAUSED_POSTCOPY_FAILED };
enum { SHUTOFF_UNKNOWN, SHUTOFF_SHUTDOWN, SHUTOFF_DESTROYED, SHUTOFF_CRASHED, SHUTOFF_MIGRATED, SHUTOFF_SAVED, SHUTOFF_FAILED,
       SHUTOFF_DAEMON = 8 };

enum { EVENT_ID_MIGRATION_ITERATION = 20 }; /* libvirt's number of the event */
enum domain_event { EVENT_DEFINED, EVENT_UNDEFINED, EVENT_STARTED, EVENT_SUSPENDED, EVENT_RESUMED, EVENT_STOPPED, EVENT_SHUTDOWN,
                    EVENT_CRASHED = 8 };
enum { DEFINED_ADDED, DEFINED_UPDATED, DEFINED_RENAMED };
enum { STARTED_BOOTED, STARTED_MIGRATED, STARTED_RESTORED };
enum { SUSPENDED_PAUSED, SUSPENDED_MIGRATED, SUSPENDED_POSTCOPY = 7, SUSPENDED_POSTCOPY_FAILED };
enum { RESUMED_UNPAUSED, RESUMED_MIGRATED, RESUMED_POSTCOPY = 3 };
enum { STOPPED_SHUTDOWN, STOPPED_DESTROYED, STOPPED_CRASHED, STOPPED_MIGRATED, STOPPED_SAVED, STOPPED_FAILED };
enum { SHUTDOWN_FINISHED, SHUTDOWN_BY_GUEST, SHUTDOWN_BY_HOST };

enum domain_job { JOB_NONE, JOB_MODIFY, JOB_SAVE, JOB_MIGRATE_OUT, JOB_MIGRATE_IN };

struct domain {
    struct domain *next; /* in the inventory */
    struct daemon *daemon;
    unsigned references;
    bool gone;                 /* from the inventory: only calls in progress know it */
    struct definition *config; /* what it starts from; NULL: transient */
    struct definition *live;   /* what runs; NULL: nothing does */
    bool autostart;
    int id;                    /* while it runs; else -1 */
    enum domain_state state;
    int reason;
    struct monitor *monitor;   /* while it runs */
    pid_t pid;
    int pidfd;
    struct loop_source *pid_source;
    int lock_fd;
    bool rebooting;            /* when the guest has powered off, it starts anew; by its status file also after a restart of ferryd */
    bool stopping;             /* destroy was asked for, or the guest shut down: why it ended is known */
    int stop_reason, stop_event;
    struct wait_queue stopped; /* woken when the VM has ended */
    struct wait_queue changed; /* woken by events of the VM */
    enum domain_job job;
    int64_t job_start_ns;
    struct wait_queue job_free;
    bool job_abort;
    struct migration *migration; /* under way, or the last one's figures */
    struct { uint64_t bandwidth_mib, postcopy_mib, downtime_ms; } limits; /* for migrations; 0: default */
};

const char *domain_name(const struct domain *domain);
const uint8_t *domain_uuid(const struct domain *domain);
bool domain_active(const struct domain *domain);
/* What is true now: the live definition, or else the other. */
struct definition *domain_definition(const struct domain *domain);

void domain_hold(struct domain *domain);
void domain_release(struct domain *domain);

/* One job at a time: waits for the turn, at most 30 seconds. The caller is in a coroutine. RPC_FAULT(RPC_OPERATION_TIMEOUT). */
int domain_begin_job(struct domain *domain, enum domain_job job, struct err *err);
void domain_end_job(struct domain *domain);

/* RPC_FAULT(RPC_OPERATION_INVALID) and a sentence. */
int domain_need_active(const struct domain *domain, struct err *err);
int domain_need_inactive(const struct domain *domain, struct err *err);

/* Sets the state, writes it down, and tells. */
void domain_set_state(struct domain *domain, enum domain_state state, int reason);
void domain_send_event(struct domain *domain, enum domain_event event, int detail);
/* An event of one text: DEVICE_ADDED, DEVICE_REMOVED by an alias. */
void domain_send_device_event(struct domain *domain, int32_t id, int32_t procedure, const char *alias);

/* Files of the domain; path is PATH_MAX bytes. */
enum domain_file { FILE_CONFIG, FILE_AUTOSTART, FILE_MANAGED_SAVE, FILE_STATUS, FILE_LOCK, FILE_DIRECTORY, FILE_CONTROL, FILE_LOG };
void domain_path(const struct domain *domain, enum domain_file file, char *path);

int domain_write_config(struct domain *domain, struct err *err);
void domain_write_status(struct domain *domain);
bool domain_has_managed_save(const struct domain *domain);

/* The inventory: all domains of this host. */
struct inventory {
    struct domain *domains;
    unsigned count;
    int last_id;
};

/* Reads what is defined and finds what runs: afterwards both are there, and calls may come; VMs that have gone meanwhile are
 * cleared away. Then starts, in coroutines, what is to be started with the host (once after its boot). */
int inventory_load(struct daemon *daemon, struct err *err);
void inventory_free(struct daemon *daemon);

struct domain *inventory_find_uuid(const struct daemon *daemon, const uint8_t uuid[16]);
struct domain *inventory_find_name(const struct daemon *daemon, const char *name);

/* A new domain from a definition, which it takes over as its live (transient) or lasting one: -EEXIST's RPC_FAULT when the name or
 * the UUID is taken by another. */
int inventory_add(struct daemon *daemon, struct definition *definition, bool transient, struct domain **ret_domain, struct err *err);
/* A domain that is to run by this definition, which is taken over: one that is defined, has this name and UUID and does not run, else a
 * new, transient one. */
int inventory_add_live(struct daemon *daemon, struct definition *definition, struct domain **ret_domain, struct err *err);
void inventory_remove(struct domain *domain);
/* Takes its lasting definition away, which must be there, with what marks it for autostart: a running domain goes on without one,
 * another is removed. Nothing has changed on failure but that mark. */
int inventory_undefine(struct domain *domain, struct err *err);

/* Refuses a definition whose name belongs to another UUID, or the other way round. ret_domain: the one with both, or NULL. */
int inventory_check(const struct daemon *daemon, const struct definition *definition, struct domain **ret_domain, struct err *err);

/* Whether the domain is one of those that the flags of CONNECT_LIST_ALL_DOMAINS ask for. */
bool domain_matches(const struct domain *domain, uint32_t flags);

/* For handlers: the domain that an argument names, held until the call ends. NULL with the sentence in call->err, to be returned as
 * call->err.code. */
struct domain *call_domain(struct call *call, const struct rpc_object *object);

#endif
