/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board: which devices a VM has, where they sit, and how interrupts find their way. */
#ifndef FERRY_VMM_BOARD_H
#define FERRY_VMM_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct board;
struct buffer;
struct character;
struct dev;
struct err;
struct machine;
struct section;

/* Adds the RAM of the configuration to the machine's memory. */
int board_add_memory(struct machine *machine, struct err *err);

/* What the engine calls; ctx is the machine. Usable before the board exists. */
void board_fill_hooks(struct machine *machine, struct engine_hooks *ret_hooks);

/* Makes all devices and opens their backends; the machine's vCPUs exist. Fails with a sentence and nothing left behind. */
int board_new(struct machine *machine, struct board **ret_board, struct err *err);
void board_free(struct board *board); /* accepts NULL and half-built ones */

/* Power-on state of all devices and interrupt controllers, wherever they live. CPUs are parked. */
int board_reset(struct board *board, struct err *err);

/* The VM stops or goes on. Stopped, devices have nothing in flight: what they hold is in their state. */
void board_set_running(struct board *board, bool running);

/* The i-th section that board_save() writes, in some order; false past the last. */
struct board_section {
    const char *name;
    uint32_t instance;
    uint16_t version;
};
bool board_section(const struct board *board, unsigned i, struct board_section *ret_section);

/* The CPUs' time stamp counters have another frequency. */
void board_set_tsc_khz(struct board *board, uint32_t khz);

/* Appends the sections of all devices and interrupt controllers. CPUs are parked. */
int board_save(struct board *board, struct buffer *out, struct err *err);

/* Loads sections one by one between begin and end; -ENOENT (err unset) when nothing here is called so. CPUs hold their
 * loaded state before the end. */
void board_load_begin(struct board *board);
int board_load(struct board *board, const struct section *section, struct err *err);
int board_load_end(struct board *board, struct err *err);

/* The handover of all disks that are written to: all or none. See backend/block.h. */
int board_inactivate_disks(struct board *board, struct err *err);
int board_activate_disks(struct board *board, struct err *err);

/* Has everything that was written so far put on stable storage, while the VM runs. done() is called once, within the call or from
 * the loop, at the latest when the board is freed. */
void board_flush_disks(struct board *board, void (*done)(void *ctx), void *ctx);

/* The disk image beside which a handover is decided (backend/handover.h): the first that is written to and not copied;
 * NULL: there is none. */
const char *board_arbiter(const struct board *board);

/* Each network card tells its network once that it is here, and asks its guest to do the same. */
void board_announce(struct board *board);

void board_power_button(struct board *board);

/* The devices that can be added and removed, for plug.h. */
struct plug *board_plug(struct board *board);

struct dev *board_balloon(const struct board *board);

/* The pseudo-terminal of the serial port, or of the virtio console; "" when it goes elsewhere. */
const char *board_pty(const struct board *board, bool console);

#endif
