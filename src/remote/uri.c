/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Takes connection URIs apart (RFC 3986). */
#include "remote/uri.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"

/* Copies a part, with %XX replaced. */
static int copy_part(const char *part, size_t length, const char *what, char *out, size_t size, struct err *err)
{
    size_t used = 0;

    for (size_t i = 0; i < length; i++) {
        unsigned byte = (unsigned char)part[i];

        if (byte == '%' && i + 2 < length && isxdigit((unsigned char)part[i + 1]) && isxdigit((unsigned char)part[i + 2])) {
            const char digits[] = {part[i + 1], part[i + 2], 0};

            byte = (unsigned)strtoul(digits, NULL, 16);
            i += 2;
        }
        if (used + 1 >= size || byte < ' ' || byte == 0x7f)
            return err_set(err, -EINVAL, "the %s in the URI is too long or has control characters", what);
        out[used++] = (char)byte;
    }
    out[used] = 0;
    return 0;
}

static int parse_transport(const char *text, const char *end, bool has_host, enum remote_transport *ret_transport, struct err *err)
{
    static const char *const names[] = {[REMOTE_UNIX] = "unix", [REMOTE_TCP] = "tcp", [REMOTE_TLS] = "tls", [REMOTE_SSH] = "ssh"};
    const char *plus = memchr(text, '+', (size_t)(end - text));

    *ret_transport = has_host ? REMOTE_TLS : REMOTE_UNIX;
    if (plus == NULL)
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strlen(names[i]) == (size_t)(end - plus - 1) && strncmp(plus + 1, names[i], strlen(names[i])) == 0) {
            *ret_transport = (enum remote_transport)i;
            return 0;
        }
    }
    return err_set(err, -ENOTSUP, "transport '%.*s' of the URI is not supported; there are: unix, tcp, tls, ssh", (int)(end - plus - 1),
                   plus + 1);
}

/* [USER@]HOST[:PORT], where an IPv6 address stands in brackets. */
static int parse_authority(const char *text, size_t length, struct remote_uri *uri, struct err *err)
{
    const char *end = text + length, *at = memchr(text, '@', length), *close, *host_end, *colon;
    int r = 0;

    if (at != NULL) {
        r = copy_part(text, (size_t)(at - text), "user", uri->user, sizeof(uri->user), err);
        text = at + 1;
    }
    close = *text == '[' ? memchr(text, ']', (size_t)(end - text)) : NULL;
    if (close != NULL) {
        text++;
        host_end = close;
        colon = close + 1;
    } else {
        colon = memchr(text, ':', (size_t)(end - text));
        colon = colon != NULL ? colon : end;
        host_end = colon;
    }
    if (r == 0)
        r = copy_part(text, (size_t)(host_end - text), "host", uri->host, sizeof(uri->host), err);
    if (r == 0 && colon < end && *colon != ':')
        r = err_set(err, -EINVAL, "'%.*s' in the URI is no port", (int)(end - colon), colon);
    if (r == 0 && colon + 1 < end)
        r = copy_part(colon + 1, (size_t)(end - colon - 1), "port", uri->port, sizeof(uri->port), err);
    if (r == 0 && uri->port[strspn(uri->port, "0123456789")] != 0)
        r = err_set(err, -EINVAL, "'%s' in the URI is no port", uri->port);
    if (r == 0 && (uri->host[0] == '-' || uri->user[0] == '-')) /* ssh would take it for an option */
        r = err_set(err, -EINVAL, "'%s' in the URI is no %s", uri->host[0] == '-' ? uri->host : uri->user,
                    uri->host[0] == '-' ? "host" : "user");
    return r;
}

static int parse_flag(const char *name, const char *value, bool *ret_flag, struct err *err)
{
    if (!text_equal(value, "0") && !text_equal(value, "1"))
        return err_set(err, -EINVAL, "%s of the URI is '%.40s', neither 0 nor 1", name, value);
    *ret_flag = text_equal(value, "1");
    return 0;
}

static int take_parameter(const char *name, const char *value, struct remote_uri *uri, struct err *err)
{
    const struct {
        const char *name;
        char *text;
        size_t size;
    } texts[] = {
        {"socket", uri->socket, sizeof(uri->socket)},
        {"keyfile", uri->keyfile, sizeof(uri->keyfile)},
        {"known_hosts", uri->known_hosts, sizeof(uri->known_hosts)},
        {"netcat", uri->netcat, sizeof(uri->netcat)},
        {"pkipath", uri->pki_directory, sizeof(uri->pki_directory)},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        if (text_equal(name, texts[i].name))
            return text_format(texts[i].text, texts[i].size, "%s", value) == 0
                       ? 0
                       : err_set(err, -EINVAL, "%s of the URI is longer than %zu bytes", name, texts[i].size - 1);
    }
    if (text_equal(name, "no_verify"))
        return parse_flag(name, value, &uri->no_verify, err);
    if (text_equal(name, "no_tty"))
        return parse_flag(name, value, &uri->no_tty, err);
    if (text_equal(name, "command") || text_equal(name, "auth") || text_equal(name, "tls_priority"))
        return err_set(err, -ENOTSUP, "%s in the URI is not supported", name);
    return 0;
}

static int parse_query(const char *query, struct remote_uri *uri, struct err *err)
{
    char name[32], value[PATH_MAX];
    int r = 0;

    while (r == 0 && *query != 0) {
        size_t length = strcspn(query, "&;"), name_length = strcspn(query, "=&;");

        r = copy_part(query, name_length, "name of a parameter", name, sizeof(name), err);
        value[0] = 0;
        if (r == 0 && name_length < length)
            r = copy_part(query + name_length + 1, length - name_length - 1, "value of a parameter", value, sizeof(value), err);
        if (r == 0)
            r = take_parameter(name, value, uri, err);
        query += length;
        query += *query != 0;
    }
    return r;
}

const char *remote_uri_port(const struct remote_uri *uri)
{
    if (uri->port[0] != 0)
        return uri->port;
    return uri->transport == REMOTE_TLS ? REMOTE_TLS_PORT : REMOTE_TCP_PORT;
}

int remote_uri_parse(const char *text, struct remote_uri *ret_uri, struct err *err)
{
    struct remote_uri uri = {0};
    const char *scheme_end = strstr(text, "://"), *authority, *query = strchr(text, '?');
    size_t length;
    int r;

    if (scheme_end == NULL || !text_starts_with(text, "qemu") || (text[4] != '+' && text[4] != ':'))
        return err_set(err, -EINVAL, "'%.200s' is no URI of a ferryd or libvirtd, such as qemu:///system or qemu+ssh://HOST/system", text);
    authority = scheme_end + 3;
    length = strcspn(authority, "/?");
    r = parse_transport(text, scheme_end, length > 0, &uri.transport, err);
    if (r == 0)
        r = parse_authority(authority, length, &uri, err);
    if (r == 0 && query != NULL)
        r = parse_query(query + 1, &uri, err);
    if (r == 0 && uri.transport != REMOTE_UNIX && uri.host[0] == 0)
        r = err_set(err, -EINVAL, "the URI '%.200s' names no host", text);
    if (r == 0 && uri.transport == REMOTE_TLS && uri.no_verify)
        r = err_set(err, -ENOTSUP, "no_verify is for ssh; with TLS a server's certificate is always checked");
    if (r == 0)
        *ret_uri = uri;
    return r;
}
