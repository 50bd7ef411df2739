/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's stage setup: versions, descriptions, what will be needed. */
#include <errno.h>

#include "base/buffer.h"
#include "migration/channel.h"
#include "migration/destination_internal.h"
#include "migration/postcopy.h"
#include "migration/storage_in.h"

int destination_negotiate(struct migration_destination *destination, struct channel *channel, struct err *err)
{
    struct hello *hello = &destination->hello;
    int r = stream_receive_hello(channel, hello, err);

    if (r < 0)
        return r;
    if (hello->channel != 0)
        return err_set(err, -EBADMSG, "channel %u came before channel 0", hello->channel);
    if (hello->version < STREAM_VERSION_OLDEST || hello->oldest > STREAM_VERSION)
        return err_set(err, -EPROTO,
                       "the source speaks versions %u to %u of the migration stream, and this Ferry %u to %u",
                       hello->oldest, hello->version, STREAM_VERSION_OLDEST, STREAM_VERSION);
    r = stream_send(channel, MESSAGE_WELCOME, hello->version < STREAM_VERSION ? hello->version : STREAM_VERSION, NULL,
                    0, NULL);
    return r < 0 ? stream_lost(err, r, "source") : 0;
}

static int send_acceptance(struct migration_destination *destination, struct channel *channel, unsigned channels,
                           struct err *err)
{
    struct buffer own = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    int r = destination->machine.describe(destination->machine.ctx, &own, err);

    pthread_mutex_lock(&destination->lock);
    destination->channels = channels < destination->channels_max ? channels : destination->channels_max;
    if (destination->channels < 1)
        destination->channels = 1;
    /* Before the source can know. */
    destination->open = destination->channels > 1 || (destination->hello.flags & SESSION_POSTCOPY) != 0;
    pthread_mutex_unlock(&destination->lock);
    if (r == 0) {
        r = stream_send(channel, MESSAGE_ACCEPT, destination->channels, own.data, own.size, NULL);
        if (r < 0)
            stream_lost(err, r, "source");
    }
    buffer_fini(&own);
    return r;
}

static int open_storage(struct migration_destination *destination, struct err *err)
{
    int r = destination->machine.copied_disks(destination->machine.ctx, &destination->disks, err);

    if (r == 0 && destination->disks.count > 0)
        r = storage_in_new(&destination->disks, &destination->progress, &destination->storage, err);
    return r;
}

int destination_examine(struct migration_destination *destination, struct channel *channel, struct err *err)
{
    struct buffer description = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    struct message message;
    int r = stream_receive(channel, true, &message, err);

    if (r == 0 && message.type != MESSAGE_DESCRIPTION)
        r = err_set(err, -EBADMSG, "the source sent %s instead of DESCRIPTION", message_name(message.type));
    if (r == 0)
        r = stream_receive_body(channel, &message, &description, err);
    if (r == 0 && (destination->hello.flags & SESSION_POSTCOPY) != 0)
        r = postcopy_check(destination->machine.userfault_device, err);
    if (r == 0)
        r = destination->machine.check(destination->machine.ctx, description.data, description.size, err);
    if (r == 0 && (destination->hello.flags & (SESSION_STORAGE | SESSION_DRY_RUN)) == SESSION_STORAGE)
        r = open_storage(destination, err);
    buffer_fini(&description);
    return r < 0 ? r : send_acceptance(destination, channel, message.argument, err);
}
