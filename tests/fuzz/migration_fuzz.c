/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: what a hostile source sends, up to a destination that would run the guest. The input is the stream itself; magics are
 * put right first when its first byte says so, since otherwise hardly any mutation would come past them. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "fuzz.h"
#include "memory/memory.h"
#include "migration/migration.h"
#include "migration_stream.h"

#define RAM MIB(1)

struct finish {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static int describe(void *ctx, struct buffer *out, struct err *err)
{
    return buffer_append(out, "{}", 2);
}

static int check(void *ctx, const void *description, size_t size, struct err *err)
{
    return 0;
}

static int load(void *ctx, const void *state, size_t size, struct err *err)
{
    return 0;
}

static int disks(void *ctx, struct err *err)
{
    return 0;
}

/* A disk in memory. */

#define DISK (3 * STREAM_BLOCK_SIZE + 512)
static uint8_t disk_bytes[DISK];

static const char *disk_name(void *ctx, unsigned disk)
{
    return "disk";
}

static void check_range(unsigned disk, uint64_t offset, uint64_t size)
{
    if (disk != 0 || offset > DISK || size > DISK - offset)
        abort();
}

static int disk_read(void *ctx, unsigned disk, uint64_t offset, void *data, size_t size)
{
    check_range(disk, offset, size);
    memcpy(data, disk_bytes + offset, size);
    return 0;
}

static int disk_write(void *ctx, unsigned disk, uint64_t offset, const void *data, uint64_t size)
{
    check_range(disk, offset, size);
    if (data != NULL)
        memcpy(disk_bytes + offset, data, size);
    else
        memset(disk_bytes + offset, 0, size);
    return 0;
}

static int disk_flush(void *ctx, unsigned disk)
{
    return 0;
}

static int disk_find(void *ctx, unsigned disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end)
{
    *ret_start = offset;
    *ret_end = DISK;
    return 0;
}

static int copied_disks(void *ctx, struct migration_disks *ret_disks, struct err *err)
{
    *ret_disks = (struct migration_disks){.count = 1, .size = {DISK}, .name = disk_name, .read = disk_read, .write = disk_write,
                                          .flush = disk_flush, .find_data = disk_find};
    return 0;
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

static void run(void *ctx, bool running)
{
}

static int accept_nobody(void *ctx)
{
    return -1;
}

static void finished(void *ctx, enum destination_outcome outcome, const struct err *err)
{
    struct finish *finish = ctx;

    pthread_mutex_lock(&finish->lock);
    finish->is_done = true;
    pthread_cond_signal(&finish->done);
    pthread_mutex_unlock(&finish->lock);
}

/* What comes for a disk that is copied. */
static size_t put_disk(uint8_t *out, size_t at)
{
    uint8_t compare[STREAM_COMPARE_SIZE] = {0}, blocks[STREAM_EXTENT_SIZE + 512] = {0};

    store_le32(compare + 8, 4);
    at = stream_put(out, at, MESSAGE_COMPARE, 0, compare, sizeof(compare));
    extent_pack(&(struct extent){3, 1, RUN_CONTENTS}, blocks);
    at = stream_put(out, at, MESSAGE_BLOCKS, 0, blocks, sizeof(blocks));
    extent_pack(&(struct extent){0, 3, RUN_ZERO}, blocks);
    at = stream_put(out, at, MESSAGE_BLOCKS, 0, blocks, STREAM_EXTENT_SIZE);
    return stream_put(out, at, MESSAGE_SYNC, 1, "", 0);
}

/* A whole migration of a disk and two pages, up to each of its messages. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    uint8_t hello[STREAM_HELLO_SIZE] = {1, 0, 1, 0, SESSION_STORAGE | SESSION_DELTA};
    uint8_t pages[2 * STREAM_RUN_SIZE + 4096] = {0}, delta[STREAM_RUN_SIZE + 5] = {0};
    size_t end[9];

    if (index >= ARRAY_SIZE(end) || max < 7000)
        return 0;
    memset(hello + 8, 'a', STREAM_SESSION_SIZE);
    store_le32(pages + 8, 1);
    store_le64(pages + STREAM_RUN_SIZE, 4096);
    store_le32(pages + STREAM_RUN_SIZE + 8, 3);
    store_le32(pages + STREAM_RUN_SIZE + 12, RUN_ZERO);
    out[0] = 1;
    end[0] = stream_put(out, 1, MESSAGE_HELLO, 0, hello, sizeof(hello));
    end[1] = stream_put(out, end[0], MESSAGE_DESCRIPTION, 1, "{}", 2);
    end[2] = put_disk(out, end[1]);
    end[3] = stream_put(out, end[2], MESSAGE_PAGES, 2, pages, sizeof(pages));
    end[4] = stream_put(out, end[3], MESSAGE_ROUND, 1, "", 0);
    end[5] = stream_put(out, end[4], MESSAGE_STATE, 1, "state", 5);
    end[6] = stream_put(out, end[5], MESSAGE_COMMIT, 0, "", 0);
    end[7] = stream_put(out, end[4], MESSAGE_CANCEL, 0, "enough", 6);
    if (index == 8) {
        store_le32(delta + 8, 5);
        store_le32(delta + 12, RUN_DELTA);
        memcpy(delta + STREAM_RUN_SIZE, "\xc8\x01\x02xy", 5);
        end[8] = stream_put(out, end[4], MESSAGE_PAGES, 1, delta, sizeof(delta));
        end[8] = stream_put(out, end[8], MESSAGE_ROUND, 2, "", 0);
    }
    return end[index];
}

static void serve(struct memory *memory, const uint8_t *data, size_t size)
{
    struct finish finish = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    const struct migration_machine machine = {
        .memory = memory, .describe = describe, .take_disks = disks, .release_disks = disks, .decide = decide, .forget = forget,
        .copied_disks = copied_disks, .changed = changed, .check = check, .load = load, .run = run, .accept = accept_nobody};
    struct migration_destination *destination;
    int pair[2], size_max = 1 << 20;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size_max, sizeof(size_max));
    if (migration_destination_start(&machine, pair[1], false, 1, finished, &finish, &destination, NULL) == 0) {
        send(pair[0], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(pair[0]);
        /* A copy that is complete waits to be settled. */
        pthread_mutex_lock(&finish.lock);
        while (!finish.is_done) {
            pthread_mutex_unlock(&finish.lock);
            migration_destination_settle(destination, true, NULL);
            usleep(100);
            pthread_mutex_lock(&finish.lock);
        }
        pthread_mutex_unlock(&finish.lock);
        migration_destination_free(destination);
    } else {
        close(pair[0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory *memory;
    uint8_t *copy;

    if (size < 2 || size > 100000 || memory_new(&memory, NULL) < 0)
        return 0;
    copy = malloc(size);
    if (copy != NULL && memory_add(memory, 0, RAM, false, NULL) == 0) {
        memcpy(copy, data, size);
        if ((copy[0] & 1) != 0)
            stream_repair(copy + 1, size - 1);
        serve(memory, copy + 1, size - 1);
    }
    free(copy);
    memory_free(memory);
    return 0;
}
