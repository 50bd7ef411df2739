/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket: a QMP server on a Unix socket in the VM's event loop. */
#ifndef FERRY_VMM_CONTROL_H
#define FERRY_VMM_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

struct control;
struct err;
struct machine;

/* Listens at path (mode 0600; a socket that nobody answers at is replaced) and takes the machine's events. */
int control_new(struct machine *machine, const char *path, struct control **ret_control, struct err *err);

/* Sends what can be sent at once, hangs up, removes the socket's name. Before machine_free(). Accepts NULL. */
void control_free(struct control *control);

/* Serves those that wait, in place of the loop's thread, which waits for memory: see migrate_set_stand_in(). Commands
 * for which the machine would have to be touched are refused. true: one has told it to quit. */
bool control_stand_in(struct control *control);

/* One command: 0 with *ret_value a new reference or NULL (empty object); -ENOENT: no such command; -ENODEV: no
 * such device, and others: err says why. A descriptor that came with it is in machine->fds.received.
 * Loop thread, lock held; standing_in: any thread, without. */
int control_execute(struct machine *machine, const char *name, bool standing_in, json_t *arguments, json_t **ret_value,
                    struct err *err);

#endif
