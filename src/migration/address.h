/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a migration goes to or comes from: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, fd:NUMBER, as QEMU's users know
 * them.
 *
 * HOST may be a name, an IPv4 address, an IPv6 address in brackets; empty or 0 stands for every address of this host
 * when listening, and for this host when connecting. fd: is a connected stream socket that the process was started
 * with. */
#ifndef FERRY_MIGRATION_ADDRESS_H
#define FERRY_MIGRATION_ADDRESS_H

#include <stdbool.h>
#include <sys/un.h>

struct err;

enum address_kind { ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_FD };

struct address {
    enum address_kind kind;
    bool tls;       /* by TCP */
    char host[256]; /* empty: any */
    char port[16];
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int fd;
};

/* -EINVAL with a sentence that lists the forms. */
int address_parse(const char *text, struct address *ret_address, struct err *err);

/* A listening socket, close-on-exec and non-blocking; the caller closes it. For unix: a socket that nobody answers at
 * is replaced; for fd: there is nothing to listen at: -EOPNOTSUPP. */
int address_listen(const struct address *address, int *ret_fd, struct err *err);

/* A connected socket, blocking. Gives up after timeout_ms, or soon after *cancel becomes true (-ECANCELED). An fd: is
 * handed over as it is. */
int address_connect(const struct address *address, int timeout_ms, const _Atomic bool *cancel, int *ret_fd,
                    struct err *err);

#endif
