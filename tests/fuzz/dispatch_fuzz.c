/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the bytes of a client on ferryd's read-only socket, all the way to the handlers, with a daemon that has nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/host.h"
#include "daemon/networks.h"
#include "daemon/server.h"
#include "daemon/storage.h"
#include "event/worker.h"
#include "fuzz.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static struct daemon fuzzed;
static struct server server = {.daemon = &fuzzed};
static struct host host = {.name = "fuzz", .vmm = "/usr/bin/ferry-vmm", .cpus = 1, .threads = 1, .cpus_max = 8,
                          .models = {(char *)"x86-64-v1"}};
static char place[] = "/tmp/ferry-fuzz-XXXXXX";

static void remove_place(void)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -rf %s", place);
    if (system(command) != 0)
        abort();
}

/* Waits until a coroutine has ended, or a few rounds have gone by. */
static void step(unsigned rounds)
{
    while (rounds-- > 0)
        loop_step(fuzzed.loop, 0);
}

static void build(void)
{
    struct err err = ERR_INIT;

    if (mkdtemp(place) == NULL)
        abort();
    atexit(remove_place);
    fuzzed.config = (struct daemon_config){.socket_dir = place, .state_dir = place, .run_dir = place, .log_dir = place, .vmm = place,
                                           .default_network = (char *)"none"};
    fuzzed.host = &host;
    fuzzed.server = &server;
    if (loop_new(&fuzzed.loop) < 0 || worker_pool_new(fuzzed.loop, 1, &fuzzed.pool) < 0 ||
        scheduler_new(fuzzed.loop, fuzzed.pool, &fuzzed.scheduler) < 0 || daemon_networks_new(&fuzzed, &fuzzed.networks, &err) < 0 ||
        daemon_storage_new(&fuzzed, &fuzzed.storage, &err) < 0 || inventory_load(&fuzzed, &err) < 0)
        abort();
    while (!fuzzed.ready)
        loop_step(fuzzed.loop, 10);
}

/* A client is not refused for want of CONNECT_OPEN. */
static void send_open(int fd)
{
    struct buffer bytes = BUFFER_INIT(256);
    struct xdr_writer writer = {.out = &bytes};

    rpc_put_header(&writer, &(struct rpc_header){.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = REMOTE_CONNECT_OPEN});
    xdr_put_u32(&writer, 0);
    xdr_put_u32(&writer, 1);
    rpc_set_length(&bytes, 0);
    if (write(fd, bytes.data, bytes.size) != (ssize_t)bytes.size)
        abort();
    buffer_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel channel = {0};
    char answer[4096];
    int fds[2];

    if (fuzzed.loop == NULL)
        build();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return 0;
    channel.fd = fds[0];
    if (client_new(&server, channel, true) != NULL) {
        send_open(fds[1]);
        ssize_t sent = write(fds[1], data, size);
        (void)sent;
        step(4);
        while (read(fds[1], answer, sizeof(answer)) > 0)
            step(1);
    }
    close(fds[1]);
    step(4); /* it sees the end, and lets go */
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const int32_t procedures[] = {REMOTE_CONNECT_LIST_ALL_DOMAINS, REMOTE_CONNECT_GET_CAPABILITIES, REMOTE_DOMAIN_LOOKUP_BY_NAME,
                                         REMOTE_CONNECT_LIST_ALL_NETWORKS, REMOTE_CONNECT_LIST_ALL_STORAGE_POOLS, REMOTE_NODE_GET_CPU_MAP,
                                         REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, REMOTE_CONNECT_COMPARE_CPU,
                                         REMOTE_DOMAIN_OPEN_CONSOLE};
    struct buffer bytes = BUFFER_INIT(max);
    struct xdr_writer writer = {.out = &bytes};
    size_t size;

    if (index >= ARRAY_SIZE(procedures))
        return 0;
    rpc_put_header(&writer, &(struct rpc_header){.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedures[index],
                                                 .serial = index});
    if (procedures[index] == REMOTE_DOMAIN_LOOKUP_BY_NAME) {
        xdr_put_string(&writer, "name");
    } else if (procedures[index] == REMOTE_CONNECT_COMPARE_CPU) {
        xdr_put_string(&writer, "<cpu><model>x86-64-v1</model></cpu>");
        xdr_put_u32(&writer, 0);
    } else if (procedures[index] != REMOTE_CONNECT_GET_CAPABILITIES) {
        for (unsigned i = 0; i < (procedures[index] == REMOTE_NODE_GET_CPU_MAP ? 3 : 2); i++)
            xdr_put_u32(&writer, i == 0);
    }
    rpc_set_length(&bytes, 0);
    size = bytes.size;
    memcpy(out, bytes.data, size);
    buffer_fini(&bytes);
    return size;
}
