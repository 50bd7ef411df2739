/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a VM's control socket. */
#include "cli/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "protocol/qmp.h"

struct client {
    int fd;
    struct qmp_reader reader;
};

static int client_connect(struct client *client, const char *path, struct err *err)
{
    const struct timeval patience = {.tv_sec = 10};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (text_format(address.sun_path, sizeof(address.sun_path), "%s", path) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the control socket %s is too long", path);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return err_set(err, -errno, "cannot reach a VM at the control socket %s: %s", path, strerror(errno));
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return 0;
}

/* The next message that is not an event. */
static int client_receive(struct client *client, json_t **ret_message, struct err *err)
{
    char bytes[4096];
    ssize_t got;
    int r;

    for (;;) {
        while ((r = qmp_reader_next(&client->reader, ret_message, err)) != 0) {
            if (r < 0)
                return r;
            if (json_object_get(*ret_message, "event") == NULL)
                return 0;
            json_decref(*ret_message);
        }
        got = recv(client->fd, bytes, sizeof(bytes), 0);
        if (got <= 0)
            return err_set(err, got < 0 ? -errno : -EPIPE, "the VM did not answer: %s",
                           got < 0 ? strerror(errno) : "it hung up");
        r = qmp_reader_feed(&client->reader, bytes, got);
        if (r < 0)
            return err_set(err, r, "the VM's answer is too long");
    }
}

static int client_execute(struct client *client, const char *command, const json_t *arguments, json_t **ret_value,
                          struct err *err)
{
    struct buffer out = BUFFER_INIT(QMP_MESSAGE_MAX);
    json_t *message, *error;
    int r = qmp_write_command(&out, command, arguments);

    if (r == 0 && send(client->fd, out.data, out.size, MSG_NOSIGNAL) != (ssize_t)out.size)
        r = -errno;
    buffer_fini(&out);
    if (r < 0)
        return err_set(err, r, "cannot send %s to the VM: %s", command, strerror(-r));
    r = client_receive(client, &message, err);
    if (r < 0)
        return r;
    error = json_object_get(message, "error");
    if (error != NULL) {
        const char *text = json_string_value(json_object_get(error, "desc"));

        r = err_set(err, -EREMOTEIO, "the VM refuses %s: %s", command, text != NULL ? text : "without a reason");
    } else {
        *ret_value = json_incref(json_object_get(message, "return"));
    }
    json_decref(message);
    return r;
}

static int negotiate(struct client *client, struct err *err)
{
    json_t *message;
    int r = client_receive(client, &message, err);

    if (r < 0)
        return r;
    if (json_object_get(message, "QMP") == NULL)
        r = err_set(err, -EPROTO, "what answers at the control socket does not speak QMP");
    json_decref(message);
    message = NULL;
    if (r == 0)
        r = client_execute(client, "qmp_capabilities", NULL, &message, err);
    json_decref(message);
    return r;
}

int client_call(const char *path, const char *command, const json_t *arguments, json_t **ret_value, struct err *err)
{
    struct client client = {.fd = -1};
    int r = client_connect(&client, path, err);

    qmp_reader_init(&client.reader);
    if (r == 0)
        r = negotiate(&client, err);
    if (r == 0)
        r = client_execute(&client, command, arguments, ret_value, err);
    qmp_reader_fini(&client.reader);
    fd_close(&client.fd);
    return r;
}
