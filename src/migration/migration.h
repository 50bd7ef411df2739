/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live migration: a source that sends a running VM away, and a destination that takes one in. docs/formats/migration.md
 * has the five stages, the messages, and what each side does on every loss.
 *
 * Both run in threads of their own, which touch guest RAM and the engine's dirty log directly and ask the machine for
 * all else by the functions below. Those are called with no lock held, by one thread at a time, and may wait. */
#ifndef FERRY_MIGRATION_MIGRATION_H
#define FERRY_MIGRATION_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "migration/address.h"
#include "migration/disks.h"
#include "migration/parameters.h"
#include "migration/progress.h"

struct buffer;
struct memory;

/* What both sides ask of the machine. */
struct migration_machine {
    void *ctx;
    struct memory *memory;
    const struct engine_type *engine_type;
    struct engine_vm *vm;
    const char *tls_directory; /* of certificates, for tls: addresses: tls.h */
    int userfault_device;      /* the destination's, for post-copy: userfault.h; 0 or below: none */

    /* This side's DESCRIPTION, appended to out. active: the source's, which shows its beacons. */
    int (*describe)(void *ctx, struct buffer *out, struct err *err);
    /* Takes the right to write to the disks, or lets it go with everything written out. */
    int (*take_disks)(void *ctx, struct err *err);
    int (*release_disks)(void *ctx, struct err *err);
    /* Asks the arbiter for this side: 0 with *ret_mine; -ENOENT when there is no arbiter; others: it can't be reached.
     */
    int (*decide)(void *ctx, const char *session, bool *ret_mine, struct err *err);
    void (*forget)(void *ctx, const char *session); /* what was decided */
    /* The disks whose contents move too, when both sides know which (behind examine, check). The destination takes the
     * right to write to its own. */
    int (*copied_disks)(void *ctx, struct migration_disks *ret_disks, struct err *err);
    /* progress->status has changed. */
    void (*changed)(void *ctx, enum migration_status status);
    void (*passed)(void *ctx, unsigned round); /* a round begins */

    /* The source's: */
    int (*examine)(void *ctx, const void *description, size_t size, struct err *err); /* the destination's */
    void (*flush_disks)(
        void *ctx); /* while the guest runs, so that the stop finds little to write; waits 2 s at most */
    int (*stop)(void *ctx, bool *ret_running, struct err *err); /* ret_running: it was, and is to run on */
    int (*save)(void *ctx, struct buffer *out, struct err *err);
    void (*resume)(void *ctx); /* as before stop */
    void (*gone)(void *ctx);   /* the guest is on the other side */
    void (*throttle)(void *ctx, unsigned percent);

    /* The destination's: */
    int (*check)(void *ctx, const void *description, size_t size, struct err *err);
    int (*load)(void *ctx, const void *state, size_t size, struct err *err);
    void (*run)(void *ctx, bool running); /* the guest is here; false: it stays paused */
    /* In post-copy whoever serves these functions may stand still, waiting for a page. So these two wait for nothing.
     * accept: whoever connects where this destination is waited for, from run() on; -1: nobody just now. stalled: every
     * 50 ms or so from a thread of its own, to do what must not wait. */
    int (*accept)(void *ctx);
    void (*stalled)(void *ctx);
};

/* --- the source ----------------------------------------------------------------------------------------- */

struct migration_source;

/* Begins. The machine's functions are called until migration_source_free(). */
int migration_source_start(const struct migration_machine *machine, const struct address *address,
                           const struct migration_parameters *parameters, bool dry_run,
                           struct migration_source **ret_source, struct err *err);

/* Ends the thread: from the thread that serves the machine's functions, so a call of them that waits must have been
 * ended before. Accepts NULL. */
void migration_source_free(struct migration_source *source);

/* -EBUSY: the handover is under way, or over. */
int migration_source_cancel(struct migration_source *source, struct err *err);

/* Says where the guest is when nobody here knows: see the document. -EINVAL: that is not so. */
int migration_source_settle(struct migration_source *source, bool run_here, struct err *err);

/* The guest goes to the destination now, and the rest of its memory behind it. -EINVAL: that was not prepared. */
int migration_source_start_postcopy(struct migration_source *source, struct err *err);

/* Breaks off the connection of post-copy, as if it were lost. -EINVAL: there is none. */
int migration_source_pause(struct migration_source *source, struct err *err);

/* Goes on with post-copy whose connection was lost. -EINVAL: there is none. */
int migration_source_resume(struct migration_source *source, const struct address *address, struct err *err);

/* Changes what can be changed while it runs: bandwidth, downtime, throttling. */
void migration_source_set_parameters(struct migration_source *source, const struct migration_parameters *parameters);

const struct migration_progress *migration_source_progress(const struct migration_source *source);

/* Why it failed, or what else there is to say; "" for nothing. */
void migration_source_message(struct migration_source *source, char *ret_text, size_t size);

/* --- the destination ------------------------------------------------------------------------------------ */

struct migration_destination;

enum destination_outcome {
    DESTINATION_AGAIN, /* nothing has changed here: another source may come */
    DESTINATION_RUNS,  /* the guest is here */
    DESTINATION_ENDED, /* the guest is not here, and this process's memory is worth nothing */
};

/* Serves one session on a connected socket, which it takes over on failure too. finished() is called once, from its
 * thread, at the very end; -errno and a sentence for AGAIN and ENDED. */
typedef void migration_finished_fn(void *ctx, enum destination_outcome outcome, const struct err *err);
int migration_destination_start(const struct migration_machine *machine, int fd, bool use_tls, unsigned channels_max,
                                migration_finished_fn *finished, void *finished_ctx,
                                struct migration_destination **ret_destination, struct err *err);

/* One more connection: takes fd over if the session is waiting for some; one that does not belong to it is closed then.
 */
bool migration_destination_add(struct migration_destination *destination, int fd);

/* As migration_source_settle(). To say that the guest is not to run here is possible at any time before the decision, and holds: -EBUSY
 * means that it is being taken over, or has been. */
int migration_destination_settle(struct migration_destination *destination, bool run_here, struct err *err);

/* As migration_source_free(). */
void migration_destination_free(struct migration_destination *destination);

/* While it is MIGRATION_UNSETTLED: the sentence on it. Otherwise "". */
void migration_destination_message(struct migration_destination *destination, char *ret_text, size_t size);

const struct migration_progress *migration_destination_progress(const struct migration_destination *destination);

#endif
