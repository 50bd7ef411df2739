/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS for channels: both sides show certificates of one authority. The files are those of QEMU's tls-creds-x509, in one
 * directory: ca-cert.pem, on the destination server-cert.pem and server-key.pem, on the source client-cert.pem and
 * client-key.pem; optionally ca-crl.pem. */
#ifndef FERRY_MIGRATION_TLS_H
#define FERRY_MIGRATION_TLS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "base/err.h"

struct tls;

/* Reads the files. -ENOENT, -EINVAL with a sentence that names the file. */
int tls_new(const char *directory, bool server, struct tls **ret_tls, struct err *err);
void tls_free(struct tls *tls); /* accepts NULL; after its sessions */

/* Shakes hands on a connected socket and checks the other side's certificate: the source the destination's for `host`
 * (a name or an address), the destination that there is one of the authority's. Waits at most timeout_ms. */
int tls_handshake(struct tls *tls, int fd, const char *host, int timeout_ms, gnutls_session_t *ret_session,
                  struct err *err);

#endif
