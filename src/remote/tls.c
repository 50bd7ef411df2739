/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS sessions on non-blocking sockets. */
#include "remote/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"

struct tls_credentials {
    gnutls_certificate_credentials_t x509;
    bool server;
};

struct tls_session {
    gnutls_session_t session;
    bool server;
};

struct tls_files {
    char ca[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX];
};

static void name_files(const char *dir, bool server, struct tls_files *files)
{
    const char *role = server ? "server" : "client";

    if (dir != NULL) {
        text_format(files->ca, sizeof(files->ca), "%s/cacert.pem", dir);
        text_format(files->certificate, sizeof(files->certificate), "%s/%scert.pem", dir, role);
        text_format(files->key, sizeof(files->key), "%s/%skey.pem", dir, role);
        return;
    }
    text_format(files->ca, sizeof(files->ca), "/etc/pki/CA/cacert.pem");
    text_format(files->certificate, sizeof(files->certificate), "/etc/pki/libvirt/%scert.pem", role);
    text_format(files->key, sizeof(files->key), "/etc/pki/libvirt/private/%skey.pem", role);
}

static int load_files(struct tls_credentials *credentials, const struct tls_files *files, struct err *err)
{
    int r = gnutls_certificate_set_x509_trust_file(credentials->x509, files->ca, GNUTLS_X509_FMT_PEM);

    if (r < 0)
        return err_set(err, -ENOENT, "cannot load the CA's certificate %s: %s", files->ca, gnutls_strerror(r));
    if (!credentials->server && access(files->certificate, F_OK) < 0)
        return 0; /* the server may not ask for one */
    r = gnutls_certificate_set_x509_key_file(credentials->x509, files->certificate, files->key, GNUTLS_X509_FMT_PEM);
    if (r < 0)
        return err_set(err, -ENOENT, "cannot load the certificate %s with the key %s: %s", files->certificate, files->key,
                       gnutls_strerror(r));
    return 0;
}

int tls_credentials_load(const char *dir, bool server, struct tls_credentials **ret_credentials, struct err *err)
{
    struct tls_credentials *credentials = calloc(1, sizeof(*credentials));
    struct tls_files files;
    int r;

    if (credentials == NULL || gnutls_certificate_allocate_credentials(&credentials->x509) < 0) {
        free(credentials);
        return err_set(err, -ENOMEM, "out of memory");
    }
    credentials->server = server;
    name_files(dir, server, &files);
    r = load_files(credentials, &files, err);
    if (r < 0) {
        tls_credentials_free(credentials);
        return r;
    }
    *ret_credentials = credentials;
    return 0;
}

void tls_credentials_free(struct tls_credentials *credentials)
{
    if (credentials == NULL)
        return;
    gnutls_certificate_free_credentials(credentials->x509);
    free(credentials);
}

/* No session tickets: libvirt 9's client takes one for the server's confirmation. */
static int set_up(struct tls_session *session, struct tls_credentials *credentials, int fd, const char *host)
{
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS | (session->server ? GNUTLS_SERVER : GNUTLS_CLIENT);

    if (gnutls_init(&session->session, flags) < 0)
        return -ENOMEM;
    if (gnutls_set_default_priority(session->session) < 0 ||
        gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE, credentials->x509) < 0)
        return -EINVAL;
    if (session->server)
        gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_REQUIRE);
    else if (host != NULL)
        gnutls_session_set_verify_cert(session->session, host, 0);
    gnutls_transport_set_int(session->session, fd);
    return 0;
}

int tls_session_new(struct tls_credentials *credentials, int fd, const char *host, struct tls_session **ret_session)
{
    struct tls_session *session = calloc(1, sizeof(*session));
    int r;

    if (session == NULL)
        return -ENOMEM;
    session->server = credentials->server;
    r = set_up(session, credentials, fd, host);
    if (r < 0) {
        tls_session_free(session);
        return r;
    }
    *ret_session = session;
    return 0;
}

void tls_session_free(struct tls_session *session)
{
    if (session == NULL)
        return;
    if (session->session != NULL)
        gnutls_deinit(session->session);
    free(session);
}

/* gnutls_session_set_verify_cert() serves clients; a server checks the chain itself. */
static int verify_peer(struct tls_session *session, struct err *err)
{
    unsigned status = 0;
    int r = gnutls_certificate_verify_peers2(session->session, &status);

    if (r < 0)
        return err_set(err, -EACCES, "the client's certificate cannot be checked: %s", gnutls_strerror(r));
    if (status != 0)
        return err_set(err, -EACCES, "the client's certificate is not signed by this host's CA, or not valid now");
    return 0;
}

int tls_handshake(struct tls_session *session, struct err *err)
{
    int r = gnutls_handshake(session->session);

    if (r < 0 && gnutls_error_is_fatal(r) == 0)
        return -EAGAIN;
    if (r < 0)
        return err_set(err, -EPROTO, "the TLS handshake failed: %s", gnutls_strerror(r));
    return session->server ? verify_peer(session, err) : 0;
}

bool tls_wants_write(const struct tls_session *session)
{
    return gnutls_record_get_direction(session->session) == 1;
}

static ssize_t result(ssize_t done)
{
    if (done >= 0)
        return done;
    if (done == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    return gnutls_error_is_fatal((int)done) != 0 ? -EPIPE : -EAGAIN;
}

ssize_t tls_read(struct tls_session *session, void *data, size_t size)
{
    return result(gnutls_record_recv(session->session, data, size));
}

ssize_t tls_write(struct tls_session *session, const void *data, size_t size)
{
    return result(gnutls_record_send(session->session, data, size));
}

bool tls_pending(const struct tls_session *session)
{
    return gnutls_record_check_pending(session->session) > 0;
}
