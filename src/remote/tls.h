/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS by GnuTLS with libvirt's layout of keys: who is who is settled by certificates on both sides. */
#ifndef FERRY_REMOTE_TLS_H
#define FERRY_REMOTE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;
struct tls_credentials;
struct tls_session;

/* Loads cacert.pem, and servercert.pem with serverkey.pem (client: clientcert.pem with clientkey.pem), from dir; NULL: from
 * /etc/pki/CA, /etc/pki/libvirt and /etc/pki/libvirt/private. Sentences name the file. */
int tls_credentials_load(const char *dir, bool server, struct tls_credentials **ret_credentials, struct err *err);
void tls_credentials_free(struct tls_credentials *credentials); /* accepts NULL */

/* A session on a non-blocking socket that stays the caller's. A client checks that the certificate is for host. */
int tls_session_new(struct tls_credentials *credentials, int fd, const char *host, struct tls_session **ret_session);
void tls_session_free(struct tls_session *session); /* accepts NULL */

/* One step of the handshake: 0 done and the peer's certificate good; -EAGAIN: call again when tls_wants_write() says it can be
 * written, or else when there is something to read; others are final, with a sentence. */
int tls_handshake(struct tls_session *session, struct err *err);
bool tls_wants_write(const struct tls_session *session);

ssize_t tls_read(struct tls_session *session, void *data, size_t size);
ssize_t tls_write(struct tls_session *session, const void *data, size_t size);
bool tls_pending(const struct tls_session *session);

#endif
