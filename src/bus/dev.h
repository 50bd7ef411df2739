/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device contract: one const dev_type, one plain state struct of hardware facts, one field table.
 *
 * A device works on (window, offset, size, data); only the bus knows where it sits. It never ends the process: a bad
 * access reads as all ones and writes are dropped. Every call into a device happens under the machine lock.
 *
 * Life: init (may fail; fini follows even then) -> reset -> read/write/... -> [state loaded -> check -> loaded] ->
 * fini.
 *
 * Reset gives power-on state. `check` looks at a state that a stream brought before it goes live and says in err what
 * is impossible about it; the device stays as it was if check refuses. `loaded` re-arms timers and lines from the
 * accepted state. */
#ifndef FERRY_BUS_DEV_H
#define FERRY_BUS_DEV_H

#include <stddef.h>
#include <stdint.h>

#include "bus/irq.h"
#include "state/field.h"

struct buffer;
struct dev;
struct err;
struct memory;
struct section;
struct timer_queue;
struct clock;
struct loop;

/* What a board lends to its devices. All of it outlives them. */
struct dev_env {
    struct memory *memory;
    const struct clock *clock;  /* the VM's clock: stops with the VM */
    struct timer_queue *timers; /* on that clock */
    struct loop *loop;          /* NULL in device tests */
    struct msi_target msi;
};

struct dev_type {
    const char *name;    /* of the section in a saved state: lower case, at most 31 characters */
    size_t size;         /* of the whole device struct, whose first member is struct dev */
    size_t state_offset; /* of the state struct in it */
    size_t state_size;
    const struct field *fields; /* of the state struct; NULL: stateless */
    uint16_t version;           /* of the saved state */
    int (*init)(struct dev *dev, const void *config, struct err *err);
    void (*reset)(struct dev *dev);
    /* size is 1, 2, 4 or 8; offset + size lies in the window. */
    uint64_t (*read)(struct dev *dev, unsigned window, uint64_t offset, unsigned size);
    void (*write)(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value);
    void (*saving)(struct dev *dev); /* optional: bring the state struct up to date */
    int (*check)(const struct dev *dev, const void *state, struct err *err); /* optional */
    void (*loaded)(struct dev *dev);                                         /* optional */
    /* optional: the VM stops or goes on. While it stands still the device has nothing in flight and leaves guest
     * memory, lines and the host side alone; a new device is running. */
    void (*set_running)(struct dev *dev, bool running);
    void (*fini)(struct dev *dev); /* optional; accepts a half-built device */
};

struct dev {
    const struct dev_type *type;
    const struct dev_env *env;
    uint32_t instance; /* tells devices of one type apart in a saved state */
};

/* Allocates a zeroed device of type->size, runs init and reset (both may be NULL). config is the type's own struct (see
 * its header). */
int dev_new(const struct dev_type *type, uint32_t instance, const struct dev_env *env, const void *config,
            struct dev **ret_dev, struct err *err);
void dev_free(struct dev *dev); /* accepts NULL */
void dev_reset(struct dev *dev);
void dev_set_running(struct dev *dev, bool running);

static inline void *dev_state(struct dev *dev)
{
    return (char *)dev + dev->type->state_offset;
}

/* Appends the device's section to out. */
int dev_save(struct dev *dev, struct buffer *out);

/* Loads a section that carries this device's name: fields are read into a copy that starts from the present state,
 * checked, and only then become live. On failure the device is as it was: -EINVAL (another device's section), -EPROTO
 * (of a later version), -EBADMSG, -ENOMEM, or what check returned. */
int dev_load(struct dev *dev, const struct section *section, struct err *err);

#endif
