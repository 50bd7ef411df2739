/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's stage setup: connections, versions, descriptions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/delta.h"
#include "migration/source_internal.h"
#include "migration/tls.h"

#define CONNECT_MS 10000

static int start_tls(struct migration_source *source, struct channel *channel, struct err *err)
{
    struct migration_parameters parameters = source_parameters(source);
    const char *host = source->address.host[0] != 0 ? source->address.host : "localhost";

    if (parameters.tls_hostname[0] != 0)
        host = parameters.tls_hostname;
    return source->tls != NULL ? channel_start_tls(channel, source->tls, host, CONNECT_MS, err) : 0;
}

int source_open_channel(struct migration_source *source, unsigned number, uint32_t flags, struct channel **ret_channel,
                        struct err *err)
{
    struct hello hello = {
        .channel = number, .version = STREAM_VERSION, .oldest = STREAM_VERSION_OLDEST, .flags = flags};
    struct channel *channel;
    int fd, r = address_connect(&source->address, CONNECT_MS, &source->cancel, &fd, err);

    if (r < 0)
        return r;
    r = channel_new(fd, &channel);
    if (r < 0)
        return stream_lost(err, r, "destination");
    memcpy(hello.session, source->session, sizeof(hello.session));
    r = start_tls(source, channel, err);
    if (r == 0 && (r = stream_send_hello(channel, &hello)) < 0)
        stream_lost(err, r, "destination");
    if (r == 0)
        *ret_channel = channel;
    else
        channel_free(channel);
    return r;
}

static int add_channel(struct migration_source *source, struct link *link, unsigned number, struct err *err)
{
    struct migration_parameters parameters = source_parameters(source);
    uint32_t flags = (source->dry_run ? SESSION_DRY_RUN : 0) | (parameters.postcopy ? SESSION_POSTCOPY : 0) |
                     (parameters.storage ? SESSION_STORAGE : 0) | (source->delta != NULL ? SESSION_DELTA : 0);
    struct channel *channel;
    int r = source_open_channel(source, number, flags, &channel, err);

    if (r == 0 && (r = link_add(link, channel)) < 0)
        stream_lost(err, r, "destination");
    return r;
}

/* The connection on which post-copy will ask for pages; nothing is said on it until then. */
static int open_pages_channel(struct migration_source *source, struct err *err)
{
    struct channel *channel;
    int r;

    if (source->address.kind == ADDRESS_FD)
        return err_set(err, -EINVAL, "post-copy needs two connections, and fd: is one: switch postcopy-ram off");
    r = source_open_channel(source, STREAM_PAGES_CHANNEL, 0, &channel, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&source->lock);
    source->pages = channel;
    pthread_mutex_unlock(&source->lock);
    return 0;
}

static void name_session(struct migration_source *source)
{
    uint8_t bytes[STREAM_SESSION_SIZE / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        store_le64(bytes, (uint64_t)host_monotonic_ns());
    for (unsigned i = 0; i < sizeof(bytes); i++)
        snprintf(source->session + i * 2, 3, "%02x", bytes[i]);
}

static int open_link(struct migration_source *source, struct err *err)
{
    struct migration_parameters parameters = source_parameters(source);
    struct link *link;
    int r = 0;

    if (parameters.delta && !source->dry_run)
        r = delta_cache_new(parameters.delta_cache_size, &source->progress, &source->delta);
    if (r == 0)
        r = link_new(source->machine.memory, &source->progress, &source->cancel, parameters.compression, &link);
    if (r < 0)
        return err_set(err, r, "out of memory");
    link_use_delta(link, source->delta);
    name_session(source);
    if (source->address.tls)
        r = tls_new(source->machine.tls_directory, false, &source->tls, err);
    if (r == 0)
        r = add_channel(source, link, 0, err);
    pthread_mutex_lock(&source->lock);
    if (r == 0 && !source->cancel)
        source->link = link;
    pthread_mutex_unlock(&source->lock);
    if (source->link == NULL) {
        link_free(link);
        return r < 0 ? r : err_set(err, -ECANCELED, "it was cancelled");
    }
    return 0;
}

static int greet(struct migration_source *source, struct err *err)
{
    int64_t start = host_monotonic_ns();
    struct message message;
    int r = source_expect(source, MESSAGE_WELCOME, SOURCE_ANSWER_MS, &message, err);

    if (r < 0)
        return r;
    if (message.argument < STREAM_VERSION_OLDEST || message.argument > STREAM_VERSION)
        return err_set(err, -EBADMSG, "the destination chose version %u of the stream; this Ferry speaks %u to %u",
                       message.argument, STREAM_VERSION_OLDEST, STREAM_VERSION);
    source->convergence.round_trip_us = (uint64_t)(host_monotonic_ns() - start) / 1000;
    return 0;
}

/* ret_channels: as many as the destination waits for. */
static int introduce(struct migration_source *source, unsigned wanted, unsigned *ret_channels, struct err *err)
{
    struct buffer description = BUFFER_INIT(STREAM_DESCRIPTION_MAX), other = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    struct message message;
    int r = source->machine.describe(source->machine.ctx, &description, err);

    if (r == 0) {
        r = stream_send(link_first(source->link), MESSAGE_DESCRIPTION, wanted, description.data, description.size,
                        NULL);
        if (r < 0)
            source_explain(source, r, err);
    }
    if (r == 0)
        r = source_expect(source, MESSAGE_ACCEPT, SOURCE_ANSWER_MS, &message, err);
    if (r == 0)
        r = stream_receive_body(link_first(source->link), &message, &other, err);
    if (r == 0 && (message.argument < 1 || message.argument > wanted))
        r = err_set(err, -EBADMSG, "the destination wants %u channels instead of at most %u", message.argument, wanted);
    if (r == 0)
        r = source->machine.examine(source->machine.ctx, other.data, other.size, err);
    if (r == 0)
        *ret_channels = message.argument;
    buffer_fini(&description);
    buffer_fini(&other);
    return r;
}

static unsigned channels_wanted(struct migration_source *source)
{
    struct migration_parameters parameters = source_parameters(source);

    return source->address.kind == ADDRESS_FD || !parameters.multifd ? 1 : parameters.channels;
}

int source_setup(struct migration_source *source, struct err *err)
{
    size_t words = memory_bitmap_words(source->machine.memory);
    unsigned channels = 0, wanted = channels_wanted(source);
    int r;

    source->bitmap = calloc(words, sizeof(uint64_t));
    source->bitmap_late = calloc(words, sizeof(uint64_t));
    source->fetched = calloc(words, sizeof(uint64_t));
    source->written = calloc(words, sizeof(uint64_t));
    if (source->bitmap == NULL || source->bitmap_late == NULL || source->fetched == NULL || source->written == NULL)
        return err_set(err, -ENOMEM, "no memory for the map of dirty pages");
    r = open_link(source, err);
    if (r == 0)
        r = greet(source, err);
    if (r == 0)
        r = introduce(source, wanted, &channels, err);
    for (unsigned i = 1; r == 0 && i < channels; i++)
        r = add_channel(source, source->link, i, err);
    if (r == 0 && source_parameters(source).postcopy && !source->dry_run)
        r = open_pages_channel(source, err);
    return r == 0 ? source_storage_prepare(source, err) : r;
}
