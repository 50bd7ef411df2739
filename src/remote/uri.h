/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connection URIs as libvirt has them: qemu[+TRANSPORT]://[USER@][HOST][:PORT]/system[?NAME=VALUE&...] (libvirt.org/uri.html). */
#ifndef FERRY_REMOTE_URI_H
#define FERRY_REMOTE_URI_H

#include <limits.h>
#include <stdbool.h>

struct err;

#define REMOTE_SYSTEM_SOCKET "/var/run/libvirt/libvirt-sock"
#define REMOTE_TCP_PORT "16509"
#define REMOTE_TLS_PORT "16514"

enum remote_transport { REMOTE_UNIX, REMOTE_TCP, REMOTE_TLS, REMOTE_SSH };

struct remote_uri { /* texts are empty when they are not given */
    enum remote_transport transport;
    char user[64], host[256], port[16];
    char socket[108];                                    /* a path on the host that is reached */
    char keyfile[PATH_MAX], known_hosts[PATH_MAX];       /* of ssh */
    char netcat[256];                                    /* the program that connects to the socket there; of ssh */
    bool no_verify, no_tty;                              /* of ssh: takes any host key; asks nobody anything */
    char pki_directory[PATH_MAX];                        /* cacert.pem, clientcert.pem, clientkey.pem; of TLS */
};

/* The port that the URI says, or its transport's. */
const char *remote_uri_port(const struct remote_uri *uri);

/* Sentences; -EINVAL, and -ENOTSUP for transports and parameters that are not here. Parameters that speak of other things than the way
 * are ignored, as libvirt's server does. */
int remote_uri_parse(const char *text, struct remote_uri *ret_uri, struct err *err);

#endif
