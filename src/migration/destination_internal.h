/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the destination's files of this room: one session, whose threads share a lock. */
#ifndef FERRY_MIGRATION_DESTINATION_INTERNAL_H
#define FERRY_MIGRATION_DESTINATION_INTERNAL_H

#include <pthread.h>

#include "migration/migration.h"
#include "migration/stream.h"

#define DESTINATION_SETUP_MS 10000 /* that a connection may take to introduce itself */
#define DESTINATION_ANSWER_MS 30000 /* and a source that has, for what comes next in setup */

#define ARRIVALS_MAX (2 * STREAM_CHANNELS_MAX) /* those that turn out not to belong here included */

struct arrival { /* one connection and its thread; the first is the session's own */
    struct migration_destination *destination;
    struct channel *channel;
    struct compressor *compressor;
    pthread_t thread;
    unsigned round; /* of the last ROUND */
    bool resume;    /* it goes on with post-copy */
};

struct migration_destination {
    struct migration_machine machine;
    migration_finished_fn *finished;
    void *finished_ctx;
    unsigned channels_max;
    bool use_tls;
    struct tls *tls;
    pthread_t thread;
    struct migration_progress progress;
    struct hello hello;
    struct migration_disks disks;
    struct storage_in *storage; /* NULL: no disk is copied */

    pthread_mutex_t lock; /* of the members below */
    pthread_cond_t changed;
    struct arrival *arrival[ARRIVALS_MAX];
    unsigned arrivals;
    unsigned channels, joined; /* agreed on, and here */
    unsigned round, at_barrier;
    bool pages_joined;
    bool failed, unsettled, settled, run_here, open;
    bool deciding, abandoned; /* the guest is being taken, or here; it never will be */
    _Atomic bool ending, postcopy_over;
    char message[ERR_MESSAGE_MAX + 200];
    struct err failure;         /* the first one */
    struct postcopy *postcopy;  /* set once */
    struct channel *recovering; /* a later connection for pages; NULL: none */
    int pages_result;           /* 0: under way; 1: all memory is here; negative: the connection was lost */
    struct err pages_error;
};

/* destination.c */
void destination_set_status(struct migration_destination *destination, enum migration_status status);

/* destination_setup.c. negotiate: HELLO; examine: from DESCRIPTION to ACCEPT. */
int destination_negotiate(struct migration_destination *destination, struct channel *channel, struct err *err);
int destination_examine(struct migration_destination *destination, struct channel *channel, struct err *err);

/* destination_rounds.c. add_first: the session's own connection, whose descriptor it takes over. end_channels: all others end. */
int destination_add_first(struct migration_destination *destination, int fd);
void destination_end_channels(struct migration_destination *destination);

/* Lock held, given up while waiting: at most a second. */
void destination_wait(struct migration_destination *destination);

enum channel_kind { CHANNEL_FOREIGN, CHANNEL_ROUNDS, CHANNEL_PAGES };

/* Whether the connection belongs to this session, and what it is for. */
enum channel_kind destination_join(struct arrival *own);

/* Messages of pages and disks up to one of another kind, which is returned. */
int destination_receive_rounds(struct migration_destination *destination, struct arrival *own, struct message *ret_message,
                               struct err *err);

/* The message CANCEL has come: -ECANCELED with what it says. */
int destination_cancelled(struct channel *channel, const struct message *message, struct err *err);

/* destination_handover.c: state is in place and checked. */
enum destination_outcome destination_hand_over(struct migration_destination *destination, struct channel *channel, bool running,
                                               struct err *err);

/* destination_postcopy.c. begin: the message POSTCOPY has come. serve_pages: a connection for pages, until it ends.
 * finish: the guest runs here; until all of its memory is here. */
int destination_begin_postcopy(struct migration_destination *destination, struct channel *channel,
                               const struct message *message, struct err *err);
void destination_serve_pages(struct arrival *own);
void destination_finish_postcopy(struct migration_destination *destination);

#endif
