/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry console: the terminal here, the domain's console there. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/daemon_internal.h"
#include "protocol/remote.h"

#define ESCAPE 0x1d /* Ctrl-] */

static int from_domain(struct verb_call *call, bool *ret_end, struct err *err)
{
    const uint8_t *data;
    uint32_t status;
    size_t size;
    int r = daemon_client_stream_receive(&call->client, &status, &data, &size, err);

    if (r < 0)
        return r;
    *ret_end = status == RPC_OK || size == 0;
    return fd_write_all(STDOUT_FILENO, data, size);
}

/* true at the end: of the input, or by the escape. */
static bool to_domain(struct verb_call *call)
{
    char bytes[1024];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
    char *escape = got > 0 ? memchr(bytes, ESCAPE, (size_t)got) : NULL;
    size_t size = escape != NULL ? (size_t)(escape - bytes) : got > 0 ? (size_t)got : 0;

    if (size > 0 && daemon_client_stream_send(&call->client, REMOTE_DOMAIN_OPEN_CONSOLE, RPC_CONTINUE, bytes, size) < 0)
        return true;
    return escape != NULL || got <= 0;
}

/* Until one side ends it; then the other is told. */
static int pump(struct verb_call *call, struct err *err)
{
    struct pollfd events[] = {{.fd = call->client.channel.fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    bool end = false;
    int r = 0;

    while (r == 0 && !end) {
        bool pending = channel_pending(&call->client.channel); /* of which poll() knows nothing */

        if (poll(events, 2, pending ? 0 : -1) < 0 && errno != EINTR)
            return -errno;
        if (pending || events[0].revents != 0)
            r = from_domain(call, &end, err);
        else if (events[1].revents != 0)
            end = to_domain(call);
    }
    if (r < 0)
        return r;
    daemon_client_stream_send(&call->client, REMOTE_DOMAIN_OPEN_CONSOLE, RPC_OK, NULL, 0);
    for (end = false; !end;) {
        const uint8_t *data;
        uint32_t status;
        size_t size;

        if (daemon_client_stream_receive(&call->client, &status, &data, &size, NULL) < 0)
            break;
        end = status == RPC_OK;
    }
    return 0;
}

int verb_console(struct verb_call *call, struct err *err)
{
    struct termios before, raw;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    struct rpc_object domain;
    int r = verb_find(call, REMOTE_DOMAIN_LOOKUP_BY_NAME, call->word[0], &domain, err);

    if (r < 0)
        return r;
    verb_put_domain(call, &domain);
    xdr_put_optional_string(&call->client.writer, NULL);
    xdr_put_u32(&call->client.writer, call->force ? 1 : 0);
    r = daemon_client_call(&call->client, REMOTE_DOMAIN_OPEN_CONSOLE, err);
    if (r < 0)
        return r;
    fprintf(stderr, "Connected to %s. Ctrl-] leaves.\n", domain.name);
    if (terminal) {
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    r = pump(call, err);
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    fprintf(stderr, "\n");
    return r;
}
