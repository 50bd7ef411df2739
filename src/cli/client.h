/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a VM's control socket: one command a connection. */
#ifndef FERRY_CLI_CLIENT_H
#define FERRY_CLI_CLIENT_H

#include <jansson.h>

struct err;

/* Connects to the socket at path, executes the command and returns its value (a new reference) in *ret_value. arguments
 * may be NULL. A refusal by the VM is -EREMOTEIO with its sentence; waits at most ten seconds for each message. */
int client_call(const char *path, const char *command, const json_t *arguments, json_t **ret_value, struct err *err);

#endif
