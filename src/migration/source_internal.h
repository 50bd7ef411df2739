/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the source's files of this room: what its thread has in its hands, stage by stage. */
#ifndef FERRY_MIGRATION_SOURCE_INTERNAL_H
#define FERRY_MIGRATION_SOURCE_INTERNAL_H

#include <pthread.h>

#include "migration/convergence.h"
#include "migration/link.h"
#include "migration/migration.h"
#include "migration/pages_out.h"
#include "migration/stream.h"

#define SOURCE_ANSWER_MS 30000 /* how long the destination may take for one */

enum settlement { SETTLE_NOTHING, SETTLE_RUN, SETTLE_DISCARD };

struct migration_source {
    struct migration_machine machine;
    struct address address;
    bool dry_run;
    pthread_t thread;
    struct migration_progress progress;

    pthread_mutex_t lock; /* of the members up to `message` */
    pthread_cond_t settled;
    struct migration_parameters parameters;
    enum settlement settlement;
    bool committed, resume;
    struct address resume_address;
    struct link *link; /* set once */
    char message[ERR_MESSAGE_MAX + 400];
    _Atomic bool cancel, ending;

    /* The thread's own: */
    char session[STREAM_SESSION_SIZE + 1];
    struct rate rate;
    struct tls *tls; /* NULL: plain */
    struct convergence convergence;
    struct delta_cache *delta;      /* NULL: pages go whole */
    uint64_t *bitmap, *bitmap_late; /* of pages that this round sends; that were dirtied behind their sending */
    uint64_t *fetched, *written;    /* what the log had last, and in this round */
    int64_t look_ns;                /* when the log is to be looked at next, within a round */
    unsigned round;
    int64_t part_ns; /* when the present part of the downtime began */
    bool logging, stopped, running, state_sent, released;
    struct source_storage *storage; /* NULL: no disk is copied */

    /* Post-copy: */
    struct channel *pages;  /* set once, but for reconnecting; NULL: not asked for */
    _Atomic bool switching; /* begin it */
    pthread_t pages_thread;
    bool pages_started;
    int pages_result;
    struct err pages_error;
};

/* source.c */
void source_set_status(struct migration_source *source, enum migration_status status);
void source_set_message(struct migration_source *source, const char *text);
struct migration_parameters source_parameters(struct migration_source *source); /* as they are now */
/* That part of the downtime ends now. */
void source_end_part(struct migration_source *source, enum downtime_part part);

/* The next message from the destination, of that type or REFUSE. -EREMOTEIO: refused, err says why. timeout_ms: for
 * which nothing comes nor anything that was sent gets there; -1: none. */
int source_expect(struct migration_source *source, enum message_type type, int timeout_ms, struct message *ret_message,
                  struct err *err);

/* A send failed with r: perhaps the destination said why before it hung up. */
int source_explain(struct migration_source *source, int r, struct err *err);

/* source_setup.c: the stage setup. */
int source_setup(struct migration_source *source, struct err *err);

/* source_rounds.c: the stages from transfer memory to transfer state, up to READY. */
int source_transfer(struct migration_source *source, struct err *err);
int source_fetch(struct migration_source *source, uint64_t *bitmap, uint64_t *ret_bytes, struct err *err);

/* A connection that has said HELLO; the caller's. */
int source_open_channel(struct migration_source *source, unsigned number, uint32_t flags, struct channel **ret_channel,
                        struct err *err);

/* source_postcopy.c: pages of source->bitmap go from here while the guest runs there. begin: the guest stands, in place
 * of its last round. abandon: it goes on here after all. finish: it is there; a negative errno: this process ends. */
int source_postcopy_begin(struct migration_source *source, struct err *err);
void source_postcopy_abandon(struct migration_source *source);
int source_postcopy_finish(struct migration_source *source, struct err *err);

/* source_storage.c: disks whose contents go too; nothing is done where there are none. prepare: both sides know which.
 * copy: all that differs, and what changed meanwhile, until little is left; before memory. fetch: looks what changed,
 * and returns the bytes that are to be sent; send sends them, as a part of a round, within the limit (NULL: none).
 * measure: bytes that are not known to be zeros. */
int source_storage_prepare(struct migration_source *source, struct err *err);
int source_storage_copy(struct migration_source *source, struct err *err);
uint64_t source_storage_fetch(struct migration_source *source);
int source_storage_send(struct migration_source *source, struct rate *rate, int64_t *ret_waited_ns, struct err *err);
int source_storage_measure(struct migration_source *source, uint64_t *ret_bytes, struct err *err);
void source_storage_end(struct migration_source *source);

/* source_predict.c: instead of them, in a dry run. */
int source_predict(struct migration_source *source, struct err *err);

/* source_handover.c: where the guest is in the end. */
enum verdict { VERDICT_HERE, VERDICT_THERE, VERDICT_NOBODY_KNOWS };
enum verdict source_hand_over(struct migration_source *source, struct err *err);
/* The destination has no COMMIT, or refused it. */
enum verdict source_run_on(struct migration_source *source, struct err *err);
/* Waits to be told; VERDICT_NOBODY_KNOWS: the process ends. */
enum verdict source_settle(struct migration_source *source, struct err *err);

#endif
