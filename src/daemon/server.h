/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RPC server: its listening sockets and its clients. */
#ifndef FERRY_DAEMON_SERVER_H
#define FERRY_DAEMON_SERVER_H

#include <stdbool.h>

struct client;
struct daemon;
struct err;
struct listener;
struct tls_credentials;

#define SERVER_CLIENTS_MAX 1000

struct server {
    struct daemon *daemon;
    struct listener *listeners;
    struct client *clients;
    unsigned client_count;
    struct tls_credentials *tls;
};

/* Listens where the daemon's configuration says. */
int server_new(struct daemon *daemon, struct server **ret_server, struct err *err);

/* Closes every connection, and removes the sockets' names. Accepts NULL. */
void server_free(struct server *server);

void server_forget(struct client *client); /* by client_close() */

#endif
