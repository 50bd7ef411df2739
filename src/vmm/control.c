/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's connections: accept, read messages, answer, send events. */
#include "vmm/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/block.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "devices/virtio/balloon.h"
#include "event/loop.h"
#include "protocol/qmp.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/migrate.h"
#include "vmm/version.h"

#define CLIENTS_MAX 16
#define DESCRIPTORS_MAX 16    /* that are taken from one message */
#define OUTPUT_MAX (1u << 20) /* bytes that a client may leave unread before it is dropped */

struct client {
    struct control *control;
    int fd; /* -1: free */
    struct loop_source *source;
    struct qmp_reader reader;
    struct buffer output;
    int received; /* descriptor that came with the message under way; -1: none */
    bool negotiated;
    bool busy; /* the loop's thread executes its command */
};

struct control {
    struct machine *machine;
    int fd;
    struct sockaddr_un address;
    struct loop_source *source;

    pthread_mutex_t lock; /* of the rest, as somebody may stand in for the loop's thread; not held while a command is
                             executed there */
    struct client client[CLIENTS_MAX];
    bool standing_in; /* somebody does; until the loop's thread comes by again */
    bool quit;        /* was told to whoever stands in */
};

static loop_fn on_client;

static void client_close(struct client *client)
{
    if (client->fd < 0)
        return;
    loop_remove(client->source);
    client->source = NULL;
    fd_close(&client->fd);
    fd_close(&client->received);
    qmp_reader_fini(&client->reader);
    buffer_fini(&client->output);
}

/* Sends what the socket takes. false: the connection is gone. */
static bool client_flush(struct client *client)
{
    while (client->output.size > 0) {
        ssize_t sent = send(client->fd, client->output.data, client->output.size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent < 0)
            break;
        buffer_consume(&client->output, sent);
    }
    if (!client->control->standing_in)
        loop_modify(client->source, client->output.size > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    return true;
}

/* r: what the writer of a message returned. */
static void client_finish(struct client *client, int r)
{
    if (r < 0 || !client_flush(client))
        client_close(client);
}

/* For the loop's thread, which takes over again what others did in its place. */
static void lock_in_loop(struct control *control)
{
    pthread_mutex_lock(&control->lock);
    if (!control->standing_in)
        return;
    control->standing_in = false;
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &control->client[i];

        if (client->fd < 0 || client->busy)
            continue;
        if (client->source == NULL &&
            loop_add(control->machine->loop, client->fd, LOOP_READ, on_client, client, &client->source) < 0)
            client_close(client);
        else
            client_finish(client, 0);
    }
}

/* Lock held, but given up meanwhile in the loop's thread. */
static int run_command(struct client *client, const struct qmp_command *command, json_t **ret_value, struct err *err)
{
    struct control *control = client->control;
    struct machine *machine = control->machine;
    int r;

    if (control->standing_in) {
        r = control_execute(machine, command->name, true, command->arguments, ret_value, err);
        control->quit |= r == 0 && text_equal(command->name, "quit");
        return r;
    }
    client->busy = true;
    machine->fds.received = client->received;
    client->received = -1;
    pthread_mutex_unlock(&control->lock);
    r = control_execute(machine, command->name, false, command->arguments, ret_value, err);
    lock_in_loop(control);
    fd_close(&machine->fds.received);
    client->busy = false;
    return r;
}

static int execute(struct client *client, const struct qmp_command *command)
{
    struct err err = ERR_INIT;
    json_t *value = NULL;
    char text[160];
    int r;

    if (!client->negotiated) {
        if (!text_equal(command->name, "qmp_capabilities"))
            return qmp_write_error(&client->output, QMP_COMMAND_NOT_FOUND,
                                   "Expecting capabilities negotiation with 'qmp_capabilities'", command->id);
        client->negotiated = true;
        return qmp_write_return(&client->output, NULL, command->id);
    }
    r = run_command(client, command, &value, &err);
    if (r == -ENOENT && err.code == 0) {
        text_format(text, sizeof(text), "The command %.100s has not been found", command->name);
        return qmp_write_error(&client->output, QMP_COMMAND_NOT_FOUND, text, command->id);
    }
    if (r < 0)
        return qmp_write_error(&client->output, r == -ENODEV ? QMP_DEVICE_NOT_FOUND : QMP_GENERIC_ERROR, err.message,
                               command->id);
    r = qmp_write_return(&client->output, value, command->id);
    json_decref(value);
    return r;
}

static int handle_message(struct client *client, json_t *message)
{
    struct qmp_command command;
    struct err err = ERR_INIT;

    if (qmp_command_parse(message, &command, &err) < 0)
        return qmp_write_error(&client->output, QMP_GENERIC_ERROR, err.message, command.id);
    return execute(client, &command);
}

static int handle_messages(struct client *client)
{
    struct err err = ERR_INIT;
    json_t *message;
    int next, r = 0;

    while (r == 0 && client->fd >= 0 && (next = qmp_reader_next(&client->reader, &message, &err)) != 0) {
        if (next < 0) {
            r = qmp_write_error(&client->output, QMP_GENERIC_ERROR, err.message, NULL);
            continue;
        }
        r = handle_message(client, message);
        json_decref(message);
    }
    return r;
}

/* Of several descriptors that come with one message the last counts, as one command uses one. */
static void keep_descriptors(struct client *client, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        size_t count = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= count; at += sizeof(int)) {
            fd_close(&client->received);
            memcpy(&client->received, CMSG_DATA(c) + at, sizeof(int));
        }
    }
}

static ssize_t receive(struct client *client, void *bytes, size_t size)
{
    union {
        struct cmsghdr aligned;
        char space[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
    } control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (got > 0)
        keep_descriptors(client, &message);
    return got;
}

/* What has come. false: the connection is of no more use. */
static bool serve(struct client *client)
{
    char bytes[4096];
    ssize_t got = receive(client, bytes, sizeof(bytes));
    int r;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0 || qmp_reader_feed(&client->reader, bytes, got) < 0)
        return false;
    r = handle_messages(client);
    return client->fd < 0 || (r == 0 && client_flush(client));
}

static void on_client(void *ctx, unsigned events)
{
    struct client *client = ctx;

    lock_in_loop(client->control);
    if (client->fd >= 0 && ((events & (LOOP_READ | LOOP_HANGUP)) != 0 ? !serve(client) : !client_flush(client)))
        client_close(client);
    pthread_mutex_unlock(&client->control->lock);
}

static struct client *free_client(struct control *control)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        if (control->client[i].fd < 0 && !control->client[i].busy)
            return &control->client[i];
    }
    return NULL;
}

static void welcome(struct control *control)
{
    struct client *client = free_client(control);
    int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (client == NULL || (!control->standing_in &&
                           loop_add(control->machine->loop, fd, LOOP_READ, on_client, client, &client->source) < 0)) {
        close(fd);
        return;
    }
    client->fd = fd;
    client->negotiated = false;
    client->output = BUFFER_INIT(OUTPUT_MAX);
    qmp_reader_init(&client->reader);
    client_finish(client, qmp_write_greeting(&client->output, FERRY_PROGRAM, FERRY_VERSION));
}

static void on_connection(void *ctx, unsigned events)
{
    struct control *control = ctx;

    lock_in_loop(control);
    welcome(control);
    pthread_mutex_unlock(&control->lock);
}

static void take_over_again(void *ctx)
{
    struct control *control = ctx;

    lock_in_loop(control);
    pthread_mutex_unlock(&control->lock);
}

/* What the loop's thread watches it has to close. */
static void drop(struct client *client)
{
    if (client->source == NULL)
        client_close(client);
    else
        shutdown(client->fd, SHUT_RDWR);
}

/* Lock held. */
static void send_event(struct control *control, const char *name, json_t *data)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &control->client[i];
        int r;

        if (client->fd < 0 || !client->negotiated)
            continue;
        r = qmp_write_event(&client->output, name, data, now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec);
        if (!control->standing_in)
            client_finish(client, r);
        else if (!client->busy && (r < 0 || !client_flush(client)))
            drop(client);
    }
}

static json_t *migration_data(enum migration_status status)
{
    return json_pack("{s:s}", "status", migration_status_name(status));
}

/* That a connection is lost, say, is told although the loop's thread waits for it. */
static void tell_of_migration(struct control *control)
{
    enum migration_status status;
    bool event;

    while (migrate_take_news(control->machine, &status, &event)) {
        json_t *data = migration_data(status);

        if (event)
            send_event(control, "MIGRATION", data);
        json_decref(data);
    }
}

bool control_stand_in(struct control *control)
{
    bool quit;

    pthread_mutex_lock(&control->lock);
    if (!control->standing_in)
        control->standing_in = loop_defer(control->machine->loop, take_over_again, control) == 0;
    if (control->standing_in) {
        welcome(control);
        tell_of_migration(control);
    }
    for (unsigned i = 0; control->standing_in && i < CLIENTS_MAX; i++) {
        struct client *client = &control->client[i];

        if (client->fd >= 0 && !client->busy && (!serve(client) || !client_flush(client)))
            drop(client);
    }
    quit = control->quit;
    pthread_mutex_unlock(&control->lock);
    return quit;
}

static json_t *shutdown_data(const struct machine *machine)
{
    const char *reason = machine->status == MACHINE_CRASHED ? "guest-panic"
                         : machine->by_guest                ? "guest-shutdown"
                                                            : "host-qmp-quit";

    return json_pack("{s:b, s:s}", "guest", machine->by_guest, "reason", reason);
}

static json_t *device_data(const char *id)
{
    char path[128];

    snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
    return json_pack("{s:s, s:s}", "device", id, "path", path);
}

static json_t *event_data(struct machine *machine, enum machine_event event)
{
    switch (event) {
    case MACHINE_EVENT_SHUTDOWN:
        return shutdown_data(machine);
    case MACHINE_EVENT_RESET:
        return json_pack("{s:b, s:s}", "guest", machine->by_guest, "reason",
                         machine->by_guest ? "guest-reset" : "host-qmp-system-reset");
    case MACHINE_EVENT_GUEST_PANICKED:
        return json_pack("{s:s}", "action", "poweroff");
    case MACHINE_EVENT_MIGRATION:
        return migration_data((enum migration_status)machine->migration_status);
    case MACHINE_EVENT_MIGRATION_PASS:
        return json_pack("{s:i}", "pass", (int)machine->migration_round);
    case MACHINE_EVENT_DEVICE_DELETED:
        return device_data(machine->event_device);
    case MACHINE_EVENT_BALLOON_CHANGE:
        return json_pack("{s:I}", "actual",
                         (json_int_t)(machine->config->memory - virtio_balloon_actual(board_balloon(machine->board))));
    default:
        return NULL;
    }
}

static void on_event(void *ctx, enum machine_event event)
{
    static const char *const names[] = {
        [MACHINE_EVENT_STOP] = "STOP",
        [MACHINE_EVENT_RESUME] = "RESUME",
        [MACHINE_EVENT_RESET] = "RESET",
        [MACHINE_EVENT_POWERDOWN] = "POWERDOWN",
        [MACHINE_EVENT_SHUTDOWN] = "SHUTDOWN",
        [MACHINE_EVENT_GUEST_PANICKED] = "GUEST_PANICKED",
        [MACHINE_EVENT_BALLOON_CHANGE] = "BALLOON_CHANGE",
        [MACHINE_EVENT_MIGRATION] = "MIGRATION",
        [MACHINE_EVENT_MIGRATION_PASS] = "MIGRATION_PASS",
        [MACHINE_EVENT_DEVICE_DELETED] = "DEVICE_DELETED",
    };
    struct control *control = ctx;
    json_t *data = event_data(control->machine, event);

    lock_in_loop(control);
    send_event(control, names[event], data);
    pthread_mutex_unlock(&control->lock);
    json_decref(data);
}

/* Whether somebody answers at the address. */
static bool socket_alive(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive =
        fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED);

    fd_close(&fd);
    return alive;
}

static int bind_socket(struct control *control)
{
    const struct sockaddr *address = (const struct sockaddr *)&control->address;

    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0)
        return -errno;
    if (bind(control->fd, address, sizeof(control->address)) == 0)
        return 0;
    if (errno != EADDRINUSE || socket_alive(&control->address))
        return -errno;
    unlink(control->address.sun_path);
    return bind(control->fd, address, sizeof(control->address)) == 0 ? 0 : -errno;
}

static int listen_at(struct control *control, const char *path, struct err *err)
{
    int r;

    control->address.sun_family = AF_UNIX;
    if (text_format(control->address.sun_path, sizeof(control->address.sun_path), "%s", path) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the control socket %s is longer than %zu bytes", path,
                       sizeof(control->address.sun_path) - 1);
    r = bind_socket(control);
    if (r < 0) {
        control->address.sun_path[0] = 0;
        return err_set(err, r, "cannot listen at the control socket %s: %s", path,
                       r == -EADDRINUSE ? "another process does" : strerror(-r));
    }
    /* Nobody can connect before listen(). */
    if (chmod(path, 0600) < 0 || listen(control->fd, CLIENTS_MAX) < 0)
        return err_set(err, -errno, "cannot listen at the control socket %s: %s", path, strerror(errno));
    r = loop_add(control->machine->loop, control->fd, LOOP_READ, on_connection, control, &control->source);
    return r < 0 ? err_set(err, r, "cannot watch the control socket: %s", strerror(-r)) : 0;
}

int control_new(struct machine *machine, const char *path, struct control **ret_control, struct err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    int r;

    if (control == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    control->machine = machine;
    control->fd = -1;
    pthread_mutex_init(&control->lock, NULL);
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        control->client[i] = (struct client){.control = control, .fd = -1, .received = -1};
    r = listen_at(control, path, err);
    if (r < 0) {
        control_free(control);
        return r;
    }
    machine->event = on_event;
    machine->event_ctx = control;
    *ret_control = control;
    return 0;
}

void control_free(struct control *control)
{
    if (control == NULL)
        return;
    control->machine->event = NULL;
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        client_close(&control->client[i]);
    loop_remove(control->source);
    fd_close(&control->fd);
    if (control->address.sun_path[0] != 0)
        unlink(control->address.sun_path);
    pthread_mutex_destroy(&control->lock);
    free(control);
}
