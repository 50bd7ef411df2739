/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source at and behind the point of decision: docs/formats/migration.md, "The source". */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "migration/channel.h"
#include "migration/source_internal.h"

/* The other side may be a moment behind in letting go. false: this process is being ended. */
static bool take_disks_back(struct migration_source *source)
{
    struct err trouble = ERR_INIT;

    while (source->machine.take_disks(source->machine.ctx, &trouble) < 0) {
        if (source->ending)
            return false;
        source_set_message(source, trouble.message);
        usleep(50000);
    }
    return true;
}

/* What trouble says, behind what err says. */
static void add_trouble(struct err *err, const char *what, const struct err *trouble)
{
    char text[ERR_MESSAGE_MAX];

    text_format(text, sizeof(text), "%s", err->message);
    err_set(err, err->code, "%s; %s: %s", text, what, trouble->message);
}

/* The destination has no COMMIT, or refused it. Its copy may wait there all the same, so that this guest goes on is
 * decided. */
enum verdict source_run_on(struct migration_source *source, struct err *err)
{
    struct err trouble = ERR_INIT;
    bool mine = true;
    int r =
        source->state_sent ? source->machine.decide(source->machine.ctx, source->session, &mine, &trouble) : -ENOENT;

    if (r == 0 && !mine)
        return VERDICT_THERE;
    if (r < 0 && r != -ENOENT)
        add_trouble(err, "a copy that waits on the destination must not be run, which can't be written down", &trouble);
    if (source->released && !take_disks_back(source))
        return VERDICT_NOBODY_KNOWS;
    if (r == 0 && err->code == -EREMOTEIO)
        source->machine.forget(source->machine.ctx, source->session);
    return VERDICT_HERE;
}

/* COMMIT is out, and what became of it is not known. */
static enum verdict arbitrate(struct migration_source *source, struct err *err)
{
    struct err trouble = ERR_INIT;
    bool mine = false;
    int r = source->machine.decide(source->machine.ctx, source->session, &mine, &trouble);

    if (r == 0 && !mine)
        return VERDICT_THERE;
    if (r == 0 && take_disks_back(source))
        return VERDICT_HERE;
    if (r < 0 && r != -ENOENT)
        add_trouble(err, "the arbiter can't be reached", &trouble);
    return VERDICT_NOBODY_KNOWS;
}

static enum verdict await_taken(struct migration_source *source, struct err *err)
{
    struct message message;
    int r = source_expect(source, MESSAGE_TAKEN, SOURCE_ANSWER_MS, &message, err);

    if (r == 0)
        return VERDICT_THERE;
    if (r == -EREMOTEIO)
        return source_run_on(source, err);
    link_break(source->link); /* an answer that comes too late must not be believed */
    return arbitrate(source, err);
}

static bool begin_commit(struct migration_source *source)
{
    bool go;

    pthread_mutex_lock(&source->lock);
    go = !source->cancel && !source->ending;
    source->committed = go;
    pthread_mutex_unlock(&source->lock);
    return go;
}

/* From COMMIT on the guest stands here until it is known that it is not the destination's. */
enum verdict source_hand_over(struct migration_source *source, struct err *err)
{
    bool untouched = false;
    int r = source->machine.release_disks(source->machine.ctx, err);

    source->released = true;
    source_end_part(source, DOWNTIME_DISKS);
    if (r < 0) {
        stream_send(link_first(source->link), MESSAGE_CANCEL, 0, err->message,
                    strnlen(err->message, STREAM_SENTENCE_MAX), NULL);
        return source_run_on(source, err);
    }
    if (!begin_commit(source)) {
        stream_lost(err, -ECANCELED, "destination");
        return source_run_on(source, err);
    }
    r = stream_send(link_first(source->link), MESSAGE_COMMIT, 0, NULL, 0, &untouched);
    if (r == 0)
        return await_taken(source, err);
    stream_lost(err, r, "destination");
    link_break(source->link);
    return untouched ? source_run_on(source, err) : arbitrate(source, err);
}

static enum settlement await_settlement(struct migration_source *source)
{
    enum settlement settlement;

    pthread_mutex_lock(&source->lock);
    while (source->settlement == SETTLE_NOTHING && !source->ending)
        pthread_cond_wait(&source->settled, &source->lock);
    settlement = source->settlement;
    source->settlement = SETTLE_NOTHING;
    pthread_mutex_unlock(&source->lock);
    return settlement;
}

/* "run" is checked with the arbiter, where there is one. */
static enum verdict settle_run(struct migration_source *source, struct err *err)
{
    struct err trouble = ERR_INIT;
    bool mine = true;
    int r = source->machine.decide(source->machine.ctx, source->session, &mine, &trouble);

    if (r == 0 && !mine)
        return VERDICT_THERE;
    if (r < 0 && r != -ENOENT) {
        add_trouble(err, "the arbiter can't be reached", &trouble);
        return VERDICT_NOBODY_KNOWS;
    }
    return take_disks_back(source) ? VERDICT_HERE : VERDICT_NOBODY_KNOWS;
}

enum verdict source_settle(struct migration_source *source, struct err *err)
{
    enum verdict verdict = VERDICT_NOBODY_KNOWS;
    struct err first = *err;
    char text[ERR_MESSAGE_MAX + 300];

    while (verdict == VERDICT_NOBODY_KNOWS && !source->ending) {
        text_format(text, sizeof(text),
                    "%s; whether the VM runs on the destination can't be told from here, so it stays paused: look "
                    "there, then x-ferry-migrate-settle with outcome run (it does not) or discard (it does)",
                    err->message);
        *err = first;
        source_set_message(source, text);
        source_set_status(source, MIGRATION_UNSETTLED);
        switch (await_settlement(source)) {
        case SETTLE_RUN:
            verdict = settle_run(source, err);
            break;
        case SETTLE_DISCARD:
            verdict = VERDICT_THERE;
            break;
        case SETTLE_NOTHING:
            break; /* the process ends */
        }
    }
    return verdict;
}
