/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands about devices that come and go, and the descriptors that are handed over for them. Each is
 * a command of control_commands.c's table and checks its own arguments. */
#ifndef FERRY_VMM_CONTROL_PLUG_H
#define FERRY_VMM_CONTROL_PLUG_H

#include <jansson.h>

struct err;
struct machine;

typedef int control_plug_fn(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err);

control_plug_fn control_getfd, control_closefd, control_add_fd, control_remove_fd;
control_plug_fn control_netdev_add, control_netdev_del;
control_plug_fn control_blockdev_add, control_blockdev_del;
control_plug_fn control_device_add, control_device_del;
control_plug_fn control_query_block, control_query_blockstats, control_query_devices;
control_plug_fn control_set_link;

#endif
