/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: what a hostile destination answers, in pre-copy, in post-copy, and when the source connects again. The first byte says how
 * the source is set up and whether magics are put right, the next two how many bytes of the rest are for the first connection; what is left
 * is for those of post-copy. A message of the input is sent for each one of the source's that waits for an answer. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/fd.h"
#include "fuzz.h"
#include "memory/memory.h"
#include "migration/migration.h"
#include "migration_stream.h"

#define PAGES 64u
#define DISK (3 * STREAM_BLOCK_SIZE + 512)
#define CONNECTIONS_MAX 4

enum { REPAIR = 1, WITH_POSTCOPY = 2, WITH_STORAGE = 4, WITH_DELTA = 8 };

/* --- the machine ------------------------------------------------------------------------------------------- */

static _Atomic bool gone_away;

static int describe(void *ctx, struct buffer *out, struct err *err)
{
    return buffer_append(out, "{}", 2);
}

static int nothing(void *ctx, struct err *err)
{
    return 0;
}

static int examine(void *ctx, const void *description, size_t size, struct err *err)
{
    return 0;
}

static void nop(void *ctx)
{
}

static int stop(void *ctx, bool *ret_running, struct err *err)
{
    *ret_running = true;
    return 0;
}

static int save(void *ctx, struct buffer *out, struct err *err)
{
    return buffer_append(out, "state", 5);
}

/* The guest is never run here when it is the other side's. */
static void resume(void *ctx)
{
    if (gone_away)
        abort();
}

static void gone(void *ctx)
{
    gone_away = true;
}

static void throttle(void *ctx, unsigned percent)
{
}

static int decide(void *ctx, const char *session, bool *ret_mine, struct err *err)
{
    return -ENOENT;
}

static void forget(void *ctx, const char *session)
{
}

static void changed(void *ctx, enum migration_status status)
{
}

static void passed(void *ctx, unsigned round)
{
}

static const char *disk_name(void *ctx, unsigned disk)
{
    return "disk";
}

static int disk_read(void *ctx, unsigned disk, uint64_t offset, void *data, size_t size)
{
    if (disk != 0 || offset > DISK || size > DISK - offset)
        abort();
    memset(data, (int)(offset >> 16), size);
    return 0;
}

static int disk_find(void *ctx, unsigned disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end)
{
    *ret_start = offset;
    *ret_end = DISK;
    return 0;
}

static void take_dirty(void *ctx, unsigned disk, uint64_t *bitmap)
{
    bitmap[0] |= 2;
}

static int copied_disks(void *ctx, struct migration_disks *ret_disks, struct err *err)
{
    *ret_disks = (struct migration_disks){.count = 1, .size = {DISK}, .name = disk_name, .read = disk_read, .find_data = disk_find,
                                          .track = nothing, .untrack = nop, .take_dirty = take_dirty};
    return 0;
}

static int dirty_start(struct engine_vm *vm, struct err *err)
{
    return 0;
}

static int dirty_fetch(struct engine_vm *vm, uint64_t *ret_bitmap, uint64_t *ret_pages, struct err *err)
{
    ret_bitmap[0] = 0xff00;
    *ret_pages = 8;
    return 0;
}

static void dirty_stop(struct engine_vm *vm)
{
}

static const struct engine_type engine = {.dirty_start = dirty_start, .dirty_fetch = dirty_fetch, .dirty_stop = dirty_stop};

/* --- the other side ---------------------------------------------------------------------------------------- */

struct script { /* what is left of the input for a connection */
    const uint8_t *data;
    size_t size;
};

struct destination {
    struct script first, pages;
    int listen_fd;
    _Atomic bool ending;
    pthread_t thread;
};

struct connection {
    struct destination *destination;
    int fd;
    pthread_t thread;
};

static void send_next(int fd, struct script *script)
{
    size_t whole = script->size;

    if (whole >= STREAM_HEADER_SIZE && STREAM_HEADER_SIZE + (size_t)load_le32(script->data + 12) < whole)
        whole = STREAM_HEADER_SIZE + load_le32(script->data + 12);
    send(fd, script->data, whole, MSG_NOSIGNAL);
    script->data += whole;
    script->size -= whole;
    if (script->size == 0) /* nobody waits for more */
        shutdown(fd, SHUT_WR);
}

static bool receive_all(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static bool skip(int fd, size_t size)
{
    uint8_t piece[4096];

    for (size_t part; size > 0; size -= part) {
        part = size < sizeof(piece) ? size : sizeof(piece);
        if (!receive_all(fd, piece, part))
            return false;
    }
    return true;
}

static bool wants_answer(unsigned type, bool pages)
{
    static const uint8_t first[] = {MESSAGE_HELLO, MESSAGE_DESCRIPTION, MESSAGE_COMPARE, MESSAGE_SYNC, MESSAGE_ROUND, MESSAGE_STATE,
                                    MESSAGE_COMMIT};

    return pages ? type != MESSAGE_HELLO : memchr(first, (int)type, sizeof(first)) != NULL;
}

static void *serve(void *ctx)
{
    struct connection *connection = ctx;
    struct destination *destination = connection->destination;
    uint8_t header[STREAM_HEADER_SIZE], hello[STREAM_HELLO_SIZE];
    struct script *script = &destination->first;
    bool pages = false;

    while (receive_all(connection->fd, header, sizeof(header))) {
        unsigned type = load_le16(header + 4);

        if (type == MESSAGE_HELLO && !receive_all(connection->fd, hello, sizeof(hello)))
            break;
        if (type != MESSAGE_HELLO && !skip(connection->fd, load_le32(header + 12)))
            break;
        pages |= type == MESSAGE_HELLO && load_le32(header + 8) == STREAM_PAGES_CHANNEL;
        if (pages)
            script = &destination->pages;
        if (wants_answer(type, pages) || (type == MESSAGE_HELLO && (load_le32(hello + 4) & SESSION_RESUME) != 0))
            send_next(connection->fd, script);
    }
    shutdown(connection->fd, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *ctx)
{
    struct destination *destination = ctx;
    struct connection connection[CONNECTIONS_MAX];
    struct pollfd wait = {.fd = destination->listen_fd, .events = POLLIN};
    unsigned count = 0;

    while (!destination->ending) {
        int fd = poll(&wait, 1, 1) > 0 ? accept(destination->listen_fd, NULL, NULL) : -1;

        if (fd >= 0 && count < CONNECTIONS_MAX) {
            connection[count] = (struct connection){.destination = destination, .fd = fd};
            if (pthread_create(&connection[count].thread, NULL, serve, &connection[count]) == 0) {
                count++;
                continue;
            }
        }
        fd_close(&fd);
    }
    for (unsigned i = 0; i < count; i++) {
        shutdown(connection[i].fd, SHUT_RDWR);
        pthread_join(connection[i].thread, NULL);
        close(connection[i].fd);
    }
    return NULL;
}

/* --- a migration ------------------------------------------------------------------------------------------- */

static void conduct(struct migration_source *source, const struct address *address, bool postcopy)
{
    const struct migration_progress *progress = migration_source_progress(source);
    bool again = true;

    while (!migration_status_over(progress->status)) {
        if (progress->status == MIGRATION_UNSETTLED)
            migration_source_settle(source, true, NULL);
        else if (progress->status == MIGRATION_POSTCOPY_PAUSED && again)
            again = migration_source_resume(source, address, NULL) < 0;
        else if (progress->status == MIGRATION_POSTCOPY_PAUSED)
            migration_source_settle(source, false, NULL);
        else if (progress->status == MIGRATION_ACTIVE && postcopy)
            migration_source_start_postcopy(source, NULL);
        usleep(100);
    }
}

static void migrate(struct memory *memory, const struct address *address, struct destination *destination, uint8_t choice)
{
    const struct migration_machine machine = {
        .memory = memory, .engine_type = &engine, .describe = describe, .take_disks = nothing, .release_disks = nothing, .decide = decide,
        .forget = forget, .copied_disks = copied_disks, .changed = changed, .passed = passed, .examine = examine, .flush_disks = nop,
        .stop = stop, .save = save, .resume = resume, .gone = gone, .throttle = throttle};
    struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct migration_source *source;

    parameters.postcopy = (choice & WITH_POSTCOPY) != 0;
    parameters.storage = (choice & WITH_STORAGE) != 0;
    parameters.delta = (choice & WITH_DELTA) != 0;
    gone_away = false;
    if (migration_source_start(&machine, address, &parameters, false, &source, NULL) < 0)
        return;
    conduct(source, address, parameters.postcopy);
    migration_source_free(source);
}

static struct address own_address;

static void remove_socket(void)
{
    unlink(own_address.path);
}

static int listen_somewhere(int *ret_fd)
{
    if (own_address.path[0] == 0) {
        own_address.kind = ADDRESS_UNIX;
        snprintf(own_address.path, sizeof(own_address.path), "/tmp/ferry-source-fuzz-%d", (int)getpid());
        atexit(remove_socket);
    }
    return address_listen(&own_address, ret_fd, NULL);
}

static size_t put_welcome(uint8_t *out, size_t at)
{
    at = stream_put(out, at, MESSAGE_WELCOME, 1, "", 0);
    return stream_put(out, at, MESSAGE_ACCEPT, 1, "{}", 2);
}

/* Whole migrations: a plain one, with a disk, in post-copy with the connection by which it recovers, and with differences. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const uint8_t choices[] = {REPAIR, REPAIR | WITH_STORAGE, REPAIR | WITH_POSTCOPY, REPAIR | WITH_DELTA};
    uint8_t missing[PAGES / 8] = {0xf0}, number[8] = {9};
    size_t at = 3, first;

    if (index >= sizeof(choices) || max < 1000)
        return 0;
    out[0] = choices[index];
    at = put_welcome(out, at);
    if ((out[0] & WITH_STORAGE) != 0) {
        at = stream_put(out, at, MESSAGE_DIGESTS, 0, "", 0);
        at = stream_put(out, at, MESSAGE_SYNCED, 1, "", 0);
    }
    for (uint32_t round = 1; round < ((out[0] & WITH_POSTCOPY) != 0 ? 2 : 3); round++)
        at = stream_put(out, at, MESSAGE_ROUND_DONE, round, "", 0);
    at = stream_put(out, at, MESSAGE_READY, 0, "", 0);
    at = stream_put(out, at, MESSAGE_TAKEN, 0, "", 0);
    first = at - 3;
    out[1] = (uint8_t)first;
    out[2] = (uint8_t)(first >> 8);
    if ((out[0] & WITH_POSTCOPY) != 0) {
        at = stream_put(out, at, MESSAGE_WANT, 0, number, sizeof(number));
        at = stream_put(out, at, MESSAGE_CANCEL, 0, "", 0); /* of the wrong side: the connection is broken off */
        at = stream_put(out, at, MESSAGE_MISSING, 0, missing, sizeof(missing));
        at = stream_put(out, at, MESSAGE_ALL, 0, "", 0);
    }
    return at;
}

static void run(struct memory *memory, uint8_t choice, uint8_t *data, size_t size, size_t first)
{
    struct destination destination = {.first = {.data = data, .size = first}, .pages = {.data = data + first, .size = size - first}};

    if ((choice & REPAIR) != 0) {
        stream_repair(data, first);
        stream_repair(data + first, size - first);
    }
    if (listen_somewhere(&destination.listen_fd) < 0)
        return;
    if (pthread_create(&destination.thread, NULL, accept_all, &destination) == 0) {
        migrate(memory, &own_address, &destination, choice);
        destination.ending = true;
        pthread_join(destination.thread, NULL);
    }
    close(destination.listen_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory *memory;
    uint8_t *copy;

    if (size < 4 || size > 100000 || memory_new(&memory, NULL) < 0)
        return 0;
    copy = malloc(size);
    if (copy != NULL && memory_add(memory, 0, PAGES * MEMORY_PAGE_SIZE, false, NULL) == 0) {
        size_t rest = size - 3, first = load_le16(data + 1);

        memcpy(copy, data, size);
        memset(memory->region[0].host, 1, 20 * MEMORY_PAGE_SIZE);
        run(memory, copy[0], copy + 3, rest, first < rest ? first : rest);
    }
    free(copy);
    memory_free(memory);
    return 0;
}
