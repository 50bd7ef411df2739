/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening sockets: unix ones at libvirt's names, TCP, TLS, and those that a service manager hands over. */
#include "daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/files.h"
#include "remote/tls.h"
#include "remote/uri.h"

#define BACKLOG 30
#define SYSTEMD_FIRST_FD 3

struct listener {
    struct server *server;
    struct listener *next;
    int fd;
    struct loop_source *source;
    bool readonly, tls;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* empty: not a unix socket, or not ours to remove */
};

static void accept_one(struct listener *listener, int fd)
{
    struct server *server = listener->server;
    struct channel channel = {.fd = fd};
    struct client *client;

    if (server->client_count >= SERVER_CLIENTS_MAX) {
        log_warning("a client was turned away: there are %u already", server->client_count);
        close(fd);
        return;
    }
    if (listener->tls && tls_session_new(server->tls, fd, NULL, &channel.tls) < 0) {
        close(fd);
        return;
    }
    client = client_new(server, channel, listener->readonly);
    if (client == NULL)
        return;
    client->next = server->clients;
    server->clients = client;
    server->client_count++;
}

static void on_connection(void *ctx, unsigned events)
{
    struct listener *listener = ctx;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0)
        accept_one(listener, fd);
}

void server_forget(struct client *client)
{
    struct client **link = &client->server->clients;

    while (*link != NULL && *link != client)
        link = &(*link)->next;
    if (*link != NULL) {
        *link = client->next;
        client->server->client_count--;
    }
}

/* Takes over fd. */
static int add_listener(struct server *server, int fd, bool readonly, bool tls, const char *path, struct err *err)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int r;

    if (listener == NULL) {
        close(fd);
        return err_set(err, -ENOMEM, "out of memory");
    }
    *listener = (struct listener){.server = server, .next = server->listeners, .fd = fd, .readonly = readonly, .tls = tls};
    text_format(listener->path, sizeof(listener->path), "%s", path);
    server->listeners = listener;
    fcntl(fd, F_SETFD, FD_CLOEXEC); /* one that was handed over is open for VMs otherwise */
    r = listen(fd, BACKLOG) < 0 ? -errno : fd_set_nonblocking(fd);
    if (r == 0)
        r = loop_add(server->daemon->loop, fd, LOOP_READ, on_connection, listener, &listener->source);
    return r < 0 ? err_set(err, r, "cannot listen at %s: %s", path, strerror(-r)) : 0;
}

static bool answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

    fd_close(&fd);
    return alive;
}

/* mode: who may connect. A socket that nobody answers at is replaced. */
static int listen_unix(struct server *server, const char *name, bool readonly, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, r;

    if (text_format(address.sun_path, sizeof(address.sun_path), "%s/%s", server->daemon->config.socket_dir, name) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the socket %s/%s is longer than %zu bytes",
                       server->daemon->config.socket_dir, name, sizeof(address.sun_path) - 1);
    if (answers(&address))
        return err_set(err, -EADDRINUSE, "another daemon answers at %s already", address.sun_path);
    unlink(address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(address.sun_path, readonly ? 0666 : 0660) < 0) {
        r = err_set(err, -errno, "cannot make the socket %s: %s", address.sun_path, strerror(errno));
        fd_close(&fd);
        return r;
    }
    return add_listener(server, fd, readonly, false, address.sun_path, err);
}

static int listen_unix_all(struct server *server, struct err *err)
{
    static const struct {
        const char *name;
        bool readonly;
    } names[] = {{"libvirt-sock", false}, {"libvirt-sock-ro", true}, {"virtqemud-sock", false}, {"virtqemud-sock-ro", true}};
    int r = files_make_directory(server->daemon->config.socket_dir, 0755, err);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(names); i++)
        r = listen_unix(server, names[i].name, names[i].readonly, err);
    return r;
}

/* "ADDRESS", "ADDRESS:PORT", "[ADDRESS6]:PORT", ":PORT" */
static int split_address(const char *text, const char *default_port, char *host, size_t host_size, char *port, size_t port_size,
                         struct err *err)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : text + strcspn(text, ":");
    const char *start = text[0] == '[' ? text + 1 : text;
    const char *rest = end == NULL ? NULL : text[0] == '[' ? end + 1 : end;

    if (rest == NULL || (*rest != 0 && *rest != ':') || text_format(host, host_size, "%.*s", (int)(end - start), start) < 0 ||
        text_format(port, port_size, "%s", *rest == ':' ? rest + 1 : default_port) < 0)
        return err_set(err, -EINVAL, "'%s' is no address to listen at; write ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT", text);
    return 0;
}

static int bind_address(const struct addrinfo *address)
{
    const int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    r = -errno;
    close(fd);
    return r;
}

static int listen_tcp(struct server *server, const char *text, const char *default_port, bool tls, struct err *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char host[256], port[32];
    int r = split_address(text, default_port, host, sizeof(host), port, sizeof(port), err);

    if (r < 0)
        return r;
    r = getaddrinfo(host[0] != 0 ? host : NULL, port, &hints, &list);
    if (r != 0)
        return err_set(err, -EINVAL, "cannot listen at %s: %s", text, gai_strerror(r));
    r = 0;
    for (const struct addrinfo *at = list; r == 0 && at != NULL; at = at->ai_next) {
        int fd = bind_address(at);

        if (fd == -EAFNOSUPPORT)
            continue;
        r = fd < 0 ? err_set(err, fd, "cannot listen at %s: %s", text, strerror(-fd))
                   : add_listener(server, fd, false, tls, "", err);
    }
    freeaddrinfo(list);
    return r;
}

/* Sockets of a systemd .socket unit: the read-only one is known by its name. */
static int take_over_sockets(struct server *server, bool *ret_any, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    uint64_t pid_value, count;
    int r = 0;

    if (pid == NULL || count_text == NULL || text_parse_u64(pid, &pid_value) < 0 || pid_value != (uint64_t)getpid() ||
        text_parse_u64(count_text, &count) < 0 || count > 16)
        return 0;
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct sockaddr_un address = {0};
        socklen_t size = sizeof(address) - 1;
        const char *name = address.sun_path;

        if (getsockname(SYSTEMD_FIRST_FD + (int)i, (struct sockaddr *)&address, &size) < 0 || address.sun_family != AF_UNIX)
            continue;
        r = add_listener(server, SYSTEMD_FIRST_FD + (int)i, strlen(name) > 3 && text_equal(name + strlen(name) - 3, "-ro"), false,
                         "", err);
        *ret_any = true;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return r;
}

static int listen_everywhere(struct server *server, struct err *err)
{
    const struct daemon_config *config = &server->daemon->config;
    bool activated = false;
    int r = take_over_sockets(server, &activated, err);

    if (r == 0 && !activated)
        r = listen_unix_all(server, err);
    if (r == 0 && config->listen_tcp != NULL)
        r = listen_tcp(server, config->listen_tcp, REMOTE_TCP_PORT, false, err);
    if (r == 0 && config->listen_tls != NULL)
        r = tls_credentials_load(config->pki_dir, true, &server->tls, err);
    if (r == 0 && config->listen_tls != NULL)
        r = listen_tcp(server, config->listen_tls, REMOTE_TLS_PORT, true, err);
    return r;
}

int server_new(struct daemon *daemon, struct server **ret_server, struct err *err)
{
    struct server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    server->daemon = daemon;
    r = listen_everywhere(server, err);
    if (r < 0) {
        server_free(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    while (server->clients != NULL)
        client_close(server->clients);
    while (server->listeners != NULL) {
        struct listener *listener = server->listeners;

        server->listeners = listener->next;
        loop_remove(listener->source);
        fd_close(&listener->fd);
        if (listener->path[0] != 0)
            unlink(listener->path);
        free(listener);
    }
    tls_credentials_free(server->tls);
    free(server);
}
