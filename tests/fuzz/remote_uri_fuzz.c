/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: connection URIs, which clients give for migrations from daemon to daemon. */
#include <assert.h>

#include "base/err.h"
#include "fuzz.h"
#include "remote/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct remote_uri uri;
    struct err err = ERR_INIT;
    char *text = fuzz_text(data, size);

    if (text == NULL)
        return 0;
    if (remote_uri_parse(text, &uri, &err) == 0) {
        assert(uri.transport == REMOTE_UNIX || uri.host[0] != 0);
        assert(uri.host[0] != '-' && uri.user[0] != '-'); /* these become arguments of ssh */
        assert(uri.port[strspn(uri.port, "0123456789")] == 0);
    } else {
        assert(err.code != 0);
    }
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const char *const seeds[] = {
        "qemu:///system",
        "qemu+ssh://root@[fd00::1%25eth0]:22/system?socket=/run/a%20b&keyfile=/k&no_verify=1&no_tty=0&netcat=nc",
        "qemu+tls://h/system?pkipath=/p;known_hosts=/k",
    };

    return fuzz_text_seed(seeds, sizeof(seeds) / sizeof(seeds[0]), index, out, max);
}
