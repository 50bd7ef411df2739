/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the board hands over in a migration: the right to write to the disks, and its place in the network. */
#include "backend/block.h"
#include "backend/net.h"
#include "devices/virtio/net.h"
#include "vmm/board_pc.h"

/* All images, also those that no device uses now: each has its lock. */

int board_inactivate_disks(struct board *board, struct err *err)
{
    for (struct plug_backend *at = board->plug.backends; at != NULL; at = at->next) {
        int r = at->image != NULL ? block_inactivate(at->image, err) : 0;

        if (r == 0)
            continue;
        for (struct plug_backend *done = board->plug.backends; done != at; done = done->next)
            if (done->image != NULL)
                block_activate(done->image, NULL);
        return r;
    }
    return 0;
}

int board_activate_disks(struct board *board, struct err *err)
{
    for (struct plug_backend *at = board->plug.backends; at != NULL; at = at->next) {
        int r = at->image != NULL ? block_activate(at->image, err) : 0;

        if (r == 0)
            continue;
        for (struct plug_backend *done = board->plug.backends; done != at; done = done->next)
            if (done->image != NULL)
                block_inactivate(done->image, NULL);
        return r;
    }
    return 0;
}

struct flush {
    unsigned pending; /* images, and one for the call itself */
    void (*done)(void *ctx);
    void *ctx;
};

static void flush_finish(struct flush *flush)
{
    if (--flush->pending > 0)
        return;
    flush->done(flush->ctx);
    free(flush);
}

static void flush_done(struct block_request *request)
{
    flush_finish(request->owner);
    free(request);
}

/* Failures don't matter: what could not be written is seen at the stop. */
void board_flush_disks(struct board *board, void (*done)(void *ctx), void *ctx)
{
    struct flush *flush = malloc(sizeof(*flush));

    if (flush == NULL) {
        done(ctx);
        return;
    }
    *flush = (struct flush){.pending = 1, .done = done, .ctx = ctx};
    for (struct plug_backend *at = board->plug.backends; at != NULL; at = at->next) {
        struct block_request *request;

        if (at->image == NULL || block_readonly(at->image) || (request = calloc(1, sizeof(*request))) == NULL)
            continue;
        *request = (struct block_request){.operation = BLOCK_FLUSH, .done = flush_done, .owner = flush};
        flush->pending++;
        block_submit(at->image, request);
    }
    flush_finish(flush);
}

/* By the slots, in which both sides of a migration have the same devices. */
const char *board_arbiter(const struct board *board)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(board, i)) != NULL; i++)
        if (!block_readonly(card->backend->image) && !card->backend->copied)
            return block_path(card->backend->image);
    return NULL;
}

void board_announce(struct board *board)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_nic(board, i)) != NULL; i++) {
        uint8_t mac[6];

        if (card->backend->net == NULL || card->ejected)
            continue;
        virtio_net_mac(card->dev, mac);
        net_announce(card->backend->net, mac);
        virtio_net_announce(card->dev);
    }
}
