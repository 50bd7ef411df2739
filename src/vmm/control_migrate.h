/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands about migration, by QEMU's names for commands, arguments and results. Each is a command
 * of control_commands.c's table and checks its own arguments. */
#ifndef FERRY_VMM_CONTROL_MIGRATE_H
#define FERRY_VMM_CONTROL_MIGRATE_H

#include <jansson.h>

struct err;
struct machine;

typedef int control_migrate_fn(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err);

control_migrate_fn control_migrate, control_migrate_incoming, control_migrate_cancel, control_migrate_settle;
control_migrate_fn control_start_postcopy;
control_migrate_fn control_migrate_pause;
control_migrate_fn control_migrate_recover;
control_migrate_fn control_query_migrate;
control_migrate_fn control_set_parameters, control_query_parameters;
control_migrate_fn control_set_capabilities, control_query_capabilities;

#endif
