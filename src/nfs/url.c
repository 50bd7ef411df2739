/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs:// URLs. */
#include "nfs/url.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"

#define SCHEME "nfs://"

bool nfs_is_url(const char *text)
{
    return text_starts_with(text, SCHEME);
}

static int wrong(struct err *err, const char *text, const char *why)
{
    return err_set(err, -EINVAL, "'%.200s' is not understood: %s; it looks like nfs://SERVER/PATH?version=4", text, why);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes [text, end) into out. False: too long, a broken escape or a NUL. */
static bool decode(const char *text, const char *end, char *out, size_t size)
{
    size_t used = 0;

    for (; text < end; text++) {
        int c = (unsigned char)*text;

        if (c == '%') {
            if (end - text < 3 || hex(text[1]) < 0 || hex(text[2]) < 0)
                return false;
            c = hex(text[1]) << 4 | hex(text[2]);
            text += 2;
        }
        if (c == 0 || used + 1 >= size)
            return false;
        out[used++] = (char)c;
    }
    out[used] = 0;
    return true;
}

static int parse_key(const char *text, char *key, struct nfs_url *url, struct err *err)
{
    char *value = strchr(key, '=');
    uint64_t number;

    if (value == NULL)
        return wrong(err, text, "a setting lacks its value");
    *value++ = 0;
    if (text_equal(key, "version"))
        return text_equal(value, "4") || text_equal(value, "4.0")
                   ? 0
                   : err_set(err, -EINVAL, "NFS version %.20s of '%.200s' is not spoken here; version=4 is", value, text);
    if (text_parse_u64(value, &number) < 0 || number > UINT32_MAX)
        return wrong(err, text, "a setting is no number");
    if (text_equal(key, "nfsport") && number > 0 && number <= UINT16_MAX)
        url->port = (uint16_t)number;
    else if (text_equal(key, "uid"))
        url->uid = (uid_t)number;
    else if (text_equal(key, "gid"))
        url->gid = (gid_t)number;
    else
        return wrong(err, text, "there are the settings version, nfsport, uid, gid");
    return 0;
}

static int parse_keys(const char *text, const char *query, struct nfs_url *url, struct err *err)
{
    char key[64];
    int r = 0;

    while (r == 0 && *query != 0) {
        size_t length = strcspn(query, "&");

        if (!decode(query, query + length, key, sizeof(key)))
            return wrong(err, text, "a setting is broken");
        r = parse_key(text, key, url, err);
        query += length;
        query += *query == '&';
    }
    return r;
}

static int parse_server(const char *text, const char *end, struct nfs_url *url, struct err *err)
{
    const char *begin = text + strlen(SCHEME), *stop = end, *colon;
    uint64_t port;
    char digits[8];

    if (*begin == '[') { /* an IPv6 address */
        stop = memchr(begin, ']', (size_t)(end - begin));
        if (stop == NULL || !decode(begin + 1, stop, url->server, sizeof(url->server)))
            return wrong(err, text, "the address is broken");
        colon = stop + 1 < end ? stop + 1 : NULL;
    } else {
        colon = memchr(begin, ':', (size_t)(end - begin));
        if (!decode(begin, colon != NULL ? colon : end, url->server, sizeof(url->server)) || url->server[0] == 0)
            return wrong(err, text, "the server is missing or too long");
    }
    if (colon == NULL)
        return 0;
    if (*colon != ':' || !decode(colon + 1, end, digits, sizeof(digits)) || text_parse_u64(digits, &port) < 0 || port == 0 ||
        port > UINT16_MAX)
        return wrong(err, text, "the port is no number from 1 to 65535");
    url->port = (uint16_t)port;
    return 0;
}

int nfs_url_parse(const char *text, struct nfs_url *ret_url, struct err *err)
{
    struct nfs_url url = {.port = NFS_PORT, .uid = geteuid(), .gid = getegid()};
    const char *path, *query;
    int r;

    if (!nfs_is_url(text))
        return wrong(err, text, "it does not begin with nfs://");
    path = text + strlen(SCHEME) + strcspn(text + strlen(SCHEME), "/?");
    query = path + strcspn(path, "?");
    r = parse_server(text, path, &url, err);
    if (r < 0)
        return r;
    if (!decode(path, query, url.path, sizeof(url.path) - 1))
        return wrong(err, text, "the path is too long or has a broken escape");
    if (!text_clean_path(url.path))
        return wrong(err, text, "a part of the path is . or ..");
    r = *query == '?' ? parse_keys(text, query + 1, &url, err) : 0;
    if (r == 0)
        *ret_url = url;
    return r;
}

bool nfs_url_append(char *url, size_t size, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    size_t used = strlen(url);

    if (used + 2 > size)
        return false;
    memcpy(url + used, "/", 2);
    for (used++; *name != 0; name++) {
        int n = snprintf(url + used, size - used, strchr(plain, *name) != NULL ? "%c" : "%%%02x", (unsigned char)*name);

        if (n < 0 || (size_t)n >= size - used)
            return false;
        used += (size_t)n;
    }
    return true;
}
