/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferryd as a whole: what its parts share. One event loop's thread owns all of it; there are no locks. */
#ifndef FERRY_DAEMON_DAEMON_H
#define FERRY_DAEMON_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "event/coroutine.h"
#include "event/loop.h"

struct err;
struct host;
struct inventory;
struct daemon_networks;
struct given_up;
struct daemon_storage;
struct server;

/* What an administrator decides. Texts are allocated; NULL is what the comment says. */
struct daemon_config {
    char *socket_dir;   /* libvirt-sock, libvirt-sock-ro and virtqemud-sock are made here */
    char *state_dir;    /* what must outlive the host's restart: definitions, saved domains */
    char *run_dir;      /* what need not: control sockets, the state of running domains */
    char *log_dir;      /* a log for each VM */
    char *vmm;          /* path of ferry-vmm */
    char *hostname;     /* NULL: the kernel's */
    char *listen_tcp;   /* ADDRESS[:PORT]; NULL: no TCP */
    char *listen_tls;   /* the same with TLS */
    char *pki_dir;      /* cacert.pem, servercert.pem, serverkey.pem; NULL: libvirt's places */
    char *user, *group; /* that VMMs run as; NULL: ferryd's own */
    char *migration_host; /* name or address at which other hosts reach this one; NULL: the host's name */
    char *migration_tls_dir; /* certificates of migrations by TLS: ca-cert.pem and so on; NULL: QEMU's place */
    unsigned migration_port_first, migration_port_last;
    char *default_network; /* "autostart", "define" or "none": what becomes of libvirt's network "default" at the first start */
    bool verbose;
};

struct daemon {
    struct daemon_config config;
    struct loop *loop;
    struct worker_pool *pool;
    struct scheduler *scheduler;
    struct host *host;
    struct inventory *inventory;
    struct daemon_networks *networks;
    struct daemon_storage *storage;
    struct server *server;
    unsigned migration_port;   /* the last one that a migration got, counted from the first of the range */
    struct given_up *given_up; /* guests that certainly did not run here, the latest first: whoever asks again is told so */
    bool ready; /* what ran before this ferryd has been found again: calls are served from then on */
    struct wait_queue became_ready;
    bool stopping;
};

/* Waits for sockets to be connected and calls to come until told to stop by a signal. Returns the exit code. */
int daemon_run(const struct daemon_config *config);

void daemon_config_fini(struct daemon_config *config);

/* Fills *ret_config with the defaults, then by the file and the options of the command line. 0, 1: help or version has been
 * printed, or a negative errno with a sentence. ret_config needs daemon_config_fini() in any case. */
int daemon_options_parse(int argc, char *const argv[], struct daemon_config *ret_config, struct err *err);

#endif
