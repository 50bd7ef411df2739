/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the board hands over in a migration: the right to write to the disks, and its place in the network. */
#include "backend/block.h"
#include "backend/net.h"
#include "devices/virtio/net.h"
#include "vmm/board_pc.h"

int board_inactivate_disks(struct board *board, struct err *err)
{
    for (unsigned i = 0; i < board->machine->config->disk_count; i++) {
        int r = block_inactivate(board->image[i], err);

        if (r == 0)
            continue;
        while (i-- > 0)
            block_activate(board->image[i], NULL);
        return r;
    }
    return 0;
}

int board_activate_disks(struct board *board, struct err *err)
{
    for (unsigned i = 0; i < board->machine->config->disk_count; i++) {
        int r = block_activate(board->image[i], err);

        if (r == 0)
            continue;
        while (i-- > 0)
            block_inactivate(board->image[i], NULL);
        return r;
    }
    return 0;
}

const char *board_arbiter(const struct board *board)
{
    for (unsigned i = 0; i < board->machine->config->disk_count; i++)
        if (!block_readonly(board->image[i]))
            return block_path(board->image[i]);
    return NULL;
}

void board_announce(struct board *board)
{
    for (unsigned i = 0; i < board->machine->config->nic_count; i++) {
        uint8_t mac[6];

        if (board->net[i] == NULL)
            continue;
        virtio_net_mac(board->nic[i], mac);
        net_announce(board->net[i], mac);
        virtio_net_announce(board->nic[i]);
    }
}
