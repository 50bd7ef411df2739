/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Credentials and handshakes by GnuTLS. */
#include "migration/tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

/* As QEMU and libvirt: the system's policy without what is broken. */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct tls {
    gnutls_certificate_credentials_t credentials;
    bool server;
};

static int set_path(char path[static PATH_MAX], const char *directory, const char *name, struct err *err)
{
    if (text_format(path, PATH_MAX, "%s/%s", directory, name) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the TLS directory is too long");
    if (access(path, R_OK) < 0)
        return err_set(err, -errno, "cannot read %s for TLS: %s", path, strerror(errno));
    return 0;
}

static int load_authority(struct tls *tls, const char *directory, struct err *err)
{
    char path[PATH_MAX];
    int r = set_path(path, directory, "ca-cert.pem", err), count;

    if (r < 0)
        return r;
    count = gnutls_certificate_set_x509_trust_file(tls->credentials, path, GNUTLS_X509_FMT_PEM);
    if (count <= 0)
        return err_set(err, -EINVAL, "%s holds no certificate%s%s", path, count < 0 ? ": " : "",
                       count < 0 ? gnutls_strerror(count) : "");
    if (set_path(path, directory, "ca-crl.pem", NULL) < 0)
        return 0;
    count = gnutls_certificate_set_x509_crl_file(tls->credentials, path, GNUTLS_X509_FMT_PEM);
    return count < 0 ? err_set(err, -EINVAL, "%s holds no revocation list: %s", path, gnutls_strerror(count)) : 0;
}

static int load_own(struct tls *tls, const char *directory, struct err *err)
{
    char certificate[PATH_MAX], key[PATH_MAX];
    int r = set_path(certificate, directory, tls->server ? "server-cert.pem" : "client-cert.pem", err);

    if (r == 0)
        r = set_path(key, directory, tls->server ? "server-key.pem" : "client-key.pem", err);
    if (r < 0)
        return r;
    r = gnutls_certificate_set_x509_key_file(tls->credentials, certificate, key, GNUTLS_X509_FMT_PEM);
    return r < 0 ? err_set(err, -EINVAL, "%s and %s are no certificate and its key: %s", certificate, key,
                           gnutls_strerror(r))
                 : 0;
}

int tls_new(const char *directory, bool server, struct tls **ret_tls, struct err *err)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    int r;

    if (tls == NULL || gnutls_certificate_allocate_credentials(&tls->credentials) < 0) {
        free(tls);
        return err_set(err, -ENOMEM, "no memory for TLS");
    }
    tls->server = server;
    r = load_authority(tls, directory, err);
    if (r == 0)
        r = load_own(tls, directory, err);
    if (r < 0) {
        tls_free(tls);
        return r;
    }
    *ret_tls = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    gnutls_certificate_free_credentials(tls->credentials);
    free(tls);
}

static int refusal(gnutls_session_t session, int r, struct err *err)
{
    gnutls_datum_t text = {0};
    int status = (int)gnutls_session_get_verify_cert_status(session);

    if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
        gnutls_certificate_verification_status_print((unsigned)status, GNUTLS_CRT_X509, &text, 0) == 0) {
        err_set(err, -EACCES, "the other side's certificate is refused: %s", text.data);
        gnutls_free(text.data);
        return -EACCES;
    }
    if (r == GNUTLS_E_UNEXPECTED_PACKET || r == GNUTLS_E_UNEXPECTED_PACKET_LENGTH || r == GNUTLS_E_UNSUPPORTED_VERSION_PACKET)
        return err_set(err, -EPROTO, "no TLS with the other side, which does not speak it: %s; both need the same address, tls:HOST:PORT",
                       gnutls_strerror(r));
    return err_set(err, -EPROTO, "no TLS with the other side: %s", gnutls_strerror(r));
}

static int set_up(struct tls *tls, gnutls_session_t session, int fd, const char *host, int timeout_ms)
{
    const char *purpose = tls->server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
    gnutls_typed_vdata_st expected[] = {
        {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (void *)purpose},
        {.type = GNUTLS_DT_DNS_HOSTNAME, .data = (void *)host},
    };
    int r = gnutls_priority_set_direct(session, PRIORITY, NULL);

    if (r == 0)
        r = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials);
    if (tls->server)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert2(session, expected, !tls->server && host != NULL ? 2 : 1, 0);
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, (unsigned)timeout_ms);
    return r;
}

int tls_handshake(struct tls *tls, int fd, const char *host, int timeout_ms, gnutls_session_t *ret_session,
                  struct err *err)
{
    gnutls_session_t session;
    int r = gnutls_init(&session, (tls->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_SIGNAL);

    if (r < 0)
        return err_set(err, -ENOMEM, "no memory for TLS");
    r = set_up(tls, session, fd, host, timeout_ms);
    while (r == 0 && (r = gnutls_handshake(session)) < 0 && gnutls_error_is_fatal(r) == 0)
        r = 0;
    if (r < 0) {
        if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
            gnutls_alert_send_appropriate(session, r); /* so that the other side knows why */
        r = refusal(session, r, err);
        gnutls_deinit(session);
        return r;
    }
    *ret_session = session;
    return 0;
}
