/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Missing pages: asked for when they are touched, put in place when they come. */
#include "migration/postcopy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/fd.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/pages_in.h"
#include "migration/progress.h"
#include "migration/stream.h"
#include "migration/userfault.h"

#define LOOK_MS 500 /* whether a silent source is waited for in vain */

struct postcopy {
    struct memory *memory;
    struct migration_progress *progress;
    int fd, stop_fd;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;       /* of the members below */
    struct channel *channel;    /* NULL: none just now */
    uint64_t *missing, *wanted; /* wanted: somebody waits for it */
    uint64_t left, waiting;     /* pages that are missing; that are wanted */
    int64_t waiting_ns;         /* host_monotonic_ns() since when any are, or the last message came */
};

int postcopy_check(int userfault_device, struct err *err)
{
    int fd = userfault_open(userfault_device, err);

    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static bool test_bit(const uint64_t *bitmap, uint64_t bit)
{
    return (bitmap[bit / 64] & BIT(bit % 64)) != 0;
}

static const struct memory_region *region_at(const struct memory *memory, const void *host)
{
    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->region[i];

        if ((const uint8_t *)host >= region->host && (const uint8_t *)host < region->host + region->size)
            return region;
    }
    return NULL;
}

/* --- somebody touches a page ---------------------------------------------------------------------------- */

static void put_zero(struct postcopy *postcopy, uint64_t host, uint64_t size)
{
    struct uffdio_zeropage zero = {.range = {.start = host, .len = size}};

    if (ioctl(postcopy->fd, UFFDIO_ZEROPAGE, &zero) < 0)
        ioctl(postcopy->fd, UFFDIO_WAKE, &zero.range); /* it is there already */
}

/* Lock held. A failure shows on the channel's receiving end. */
static void ask(struct postcopy *postcopy, uint64_t number)
{
    uint8_t body[8];

    store_le64(body, number);
    if (postcopy->channel != NULL)
        stream_send(postcopy->channel, MESSAGE_WANT, 0, body, sizeof(body), NULL);
}

static void on_fault(struct postcopy *postcopy, uint64_t address)
{
    uint64_t host = address & ~(uint64_t)(MEMORY_PAGE_SIZE - 1);
    const struct memory_region *region = region_at(postcopy->memory, (void *)host);
    uint64_t number;

    if (region == NULL)
        return;
    number = region->page + ((host - (uintptr_t)region->host) >> MEMORY_PAGE_SHIFT);
    pthread_mutex_lock(&postcopy->lock);
    if (!test_bit(postcopy->missing, number)) {
        put_zero(postcopy, host, MEMORY_PAGE_SIZE);
    } else if (!test_bit(postcopy->wanted, number)) {
        postcopy->wanted[number / 64] |= BIT(number % 64);
        if (postcopy->waiting++ == 0)
            postcopy->waiting_ns = host_monotonic_ns();
        ask(postcopy, number);
    }
    pthread_mutex_unlock(&postcopy->lock);
}

static void *fault_thread(void *ctx)
{
    struct postcopy *postcopy = ctx;
    struct pollfd wait[2] = {{.fd = postcopy->fd, .events = POLLIN}, {.fd = postcopy->stop_fd, .events = POLLIN}};
    struct uffd_msg message;

    pthread_setname_np(pthread_self(), "migration-fault");
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (wait[1].revents != 0)
            return NULL;
        while (read(postcopy->fd, &message, sizeof(message)) == (ssize_t)sizeof(message))
            if (message.event == UFFD_EVENT_PAGEFAULT)
                on_fault(postcopy, message.arg.pagefault.address);
    }
}

/* --- pages come ----------------------------------------------------------------------------------------- */

static void copy_to(struct postcopy *postcopy, uint8_t *host, const uint8_t *data, uint64_t size)
{
    while (size > 0) {
        struct uffdio_copy copy = {.dst = (uintptr_t)host, .src = (uintptr_t)data, .len = size};
        uint64_t done = MEMORY_PAGE_SIZE; /* there already, or lost as much as memory is */

        if (ioctl(postcopy->fd, UFFDIO_COPY, &copy) == 0)
            return;
        if (copy.copy > 0)
            done = (uint64_t)copy.copy;
        else if (errno == EAGAIN)
            done = 0;
        host += done;
        data += done;
        size -= done;
    }
}

static void arrived(struct postcopy *postcopy, uint64_t number, uint64_t pages)
{
    pthread_mutex_lock(&postcopy->lock);
    for (; pages > 0; pages--, number++) {
        if (!test_bit(postcopy->missing, number))
            continue;
        postcopy->missing[number / 64] &= ~BIT(number % 64);
        postcopy->waiting -= test_bit(postcopy->wanted, number);
        postcopy->wanted[number / 64] &= ~BIT(number % 64);
        postcopy->left--;
    }
    pthread_mutex_unlock(&postcopy->lock);
    postcopy->progress->remaining = postcopy->left * MEMORY_PAGE_SIZE;
}

struct run {
    const struct memory_region *region;
    uint64_t address, size;
    uint32_t kind;
};

static int read_run(const struct postcopy *postcopy, const uint8_t *bytes, struct run *ret_run, struct err *err)
{
    struct run run = {.address = load_le64(bytes),
                      .size = (uint64_t)load_le32(bytes + 8) * MEMORY_PAGE_SIZE,
                      .kind = load_le32(bytes + 12)};

    run.region = run.address % MEMORY_PAGE_SIZE == 0 ? memory_find(postcopy->memory, run.address) : NULL;
    if (run.region == NULL || run.size == 0 || run.size > run.region->size - (run.address - run.region->address) ||
        run.size > STREAM_CONTENTS_MAX || run.kind > RUN_ZERO)
        return err_set(err, -EBADMSG, "PAGES in post-copy holds a run of %llu bytes at %#llx, which is none",
                       (unsigned long long)run.size, (unsigned long long)run.address);
    *ret_run = run;
    return 0;
}

static void place(struct postcopy *postcopy, const struct run *run, const uint8_t **data)
{
    uint8_t *host = run->region->host + (run->address - run->region->address);

    if (run->kind == RUN_ZERO) {
        for (uint64_t at = 0; at < run->size; at += MEMORY_PAGE_SIZE)
            put_zero(postcopy, (uintptr_t)host + at, MEMORY_PAGE_SIZE);
    } else {
        copy_to(postcopy, host, *data, run->size);
        *data += run->size;
    }
    arrived(postcopy, memory_page_number(run->region, run->address), run->size >> MEMORY_PAGE_SHIFT);
}

static int receive_pages(struct postcopy *postcopy, struct channel *channel, const struct message *message,
                         struct compressor *compressor, struct err *err)
{
    uint8_t table[STREAM_RUNS_MAX * STREAM_RUN_SIZE];
    uint32_t size = message->argument * STREAM_RUN_SIZE;
    const uint8_t *data = NULL;
    uint64_t contents = 0;
    struct run run;
    int r;

    if (message->argument == 0 || message->argument > STREAM_RUNS_MAX || message->size < size)
        return err_set(err, -EBADMSG, "PAGES in post-copy claims %u runs in %u bytes", message->argument,
                       message->size);
    r = channel_receive(channel, table, size);
    if (r < 0)
        return stream_lost(err, r, "source");
    for (uint32_t at = 0; r == 0 && at < size; at += STREAM_RUN_SIZE) {
        r = read_run(postcopy, table + at, &run, err);
        contents += r == 0 && run.kind == RUN_CONTENTS ? run.size : 0;
    }
    if (r == 0 && (contents > 0 || message->size > size))
        r = pages_receive_contents(channel, message, size, compressor, contents, &data, err);
    for (uint32_t at = 0; r == 0 && at < size; at += STREAM_RUN_SIZE) {
        r = read_run(postcopy, table + at, &run, err);
        if (r == 0)
            place(postcopy, &run, &data);
    }
    return r;
}

/* Who waited while there was no channel is asked for again. */
static void use_channel(struct postcopy *postcopy, struct channel *channel)
{
    pthread_mutex_lock(&postcopy->lock);
    postcopy->channel = channel;
    postcopy->waiting_ns = host_monotonic_ns();
    for (size_t word = 0; channel != NULL && word < memory_bitmap_words(postcopy->memory); word++)
        for (uint64_t bits = postcopy->wanted[word]; bits != 0; bits &= bits - 1)
            ask(postcopy, word * 64 + (unsigned)__builtin_ctzll(bits));
    pthread_mutex_unlock(&postcopy->lock);
}

static bool waits_too_long(struct postcopy *postcopy)
{
    bool too_long;

    pthread_mutex_lock(&postcopy->lock);
    too_long = postcopy->waiting > 0 &&
               host_monotonic_ns() - postcopy->waiting_ns > POSTCOPY_SILENCE_MS * INT64_C(1000000);
    pthread_mutex_unlock(&postcopy->lock);
    return too_long;
}

/* A source that is held back by a limit may be silent for as long as nobody waits for it. */
static int await_message(struct postcopy *postcopy, struct channel *channel, struct err *err)
{
    while (channel_wait(channel, LOOK_MS) == -ETIMEDOUT)
        if (waits_too_long(postcopy))
            return err_set(err, -ETIMEDOUT, "nothing came from the source for %d s, though a page of memory is waited for",
                           POSTCOPY_SILENCE_MS / 1000);
    pthread_mutex_lock(&postcopy->lock);
    postcopy->waiting_ns = host_monotonic_ns();
    pthread_mutex_unlock(&postcopy->lock);
    return 0;
}

static int serve(struct postcopy *postcopy, struct channel *channel, struct compressor *compressor, struct err *err)
{
    channel_set_patience(channel, POSTCOPY_SILENCE_MS); /* within a message */
    for (;;) {
        struct message message;
        int r = await_message(postcopy, channel, err);

        if (r == 0)
            r = stream_receive(channel, true, &message, err);
        if (r == 0 && message.type == MESSAGE_PAGES)
            r = receive_pages(postcopy, channel, &message, compressor, err);
        else if (r == 0 && message.type == MESSAGE_DONE && postcopy->left == 0)
            return stream_send(channel, MESSAGE_ALL, 0, NULL, 0, NULL);
        else if (r == 0)
            r = err_set(err, -EBADMSG, "the source sent %s in post-copy, with %llu pages missing",
                        message_name(message.type), (unsigned long long)postcopy->left);
        if (r < 0)
            return r;
    }
}

int postcopy_serve(struct postcopy *postcopy, struct channel *channel, struct compressor *compressor, struct err *err)
{
    int r;

    use_channel(postcopy, channel);
    r = serve(postcopy, channel, compressor, err);
    use_channel(postcopy, NULL);
    if (r == 0)
        return 0;
    return err->code != 0 ? r : stream_lost(err, r, "source");
}

bool postcopy_complete(const struct postcopy *postcopy)
{
    return postcopy->left == 0;
}

const uint64_t *postcopy_missing(const struct postcopy *postcopy)
{
    return postcopy->missing;
}

/* --- making --------------------------------------------------------------------------------------------- */

/* Old contents of what is missing go, so that whoever touches it waits. */
static int punch(struct postcopy *postcopy)
{
    uint64_t pages = postcopy->memory->size >> MEMORY_PAGE_SHIFT, first = 0;

    for (uint64_t at = 0; at <= pages; at++) {
        if (at < pages && test_bit(postcopy->missing, at)) {
            postcopy->left++;
            continue;
        }
        if (at > first &&
            fallocate(postcopy->memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)(first << MEMORY_PAGE_SHIFT), (off_t)((at - first) << MEMORY_PAGE_SHIFT)) < 0)
            return -errno;
        first = at + 1;
    }
    return 0;
}

static int watch(struct postcopy *postcopy, struct err *err)
{
    for (unsigned i = 0; i < postcopy->memory->region_count; i++) {
        const struct memory_region *region = &postcopy->memory->region[i];
        struct uffdio_register range = {.range = {.start = (uintptr_t)region->host, .len = region->size},
                                        .mode = UFFDIO_REGISTER_MODE_MISSING};

        if (ioctl(postcopy->fd, UFFDIO_REGISTER, &range) < 0)
            return err_set(err, -errno, "cannot watch the guest's memory for post-copy: %s", strerror(errno));
    }
    return 0;
}

int postcopy_new(struct memory *memory, int userfault_device, const uint64_t *missing, struct migration_progress *progress,
                 struct postcopy **ret_postcopy, struct err *err)
{
    size_t words = memory_bitmap_words(memory);
    struct postcopy *postcopy = calloc(1, sizeof(*postcopy));
    int r;

    if (postcopy == NULL)
        return err_set(err, -ENOMEM, "no memory for post-copy");
    *postcopy = (struct postcopy){.memory = memory, .progress = progress, .fd = -1, .stop_fd = -1};
    pthread_mutex_init(&postcopy->lock, NULL);
    postcopy->missing = calloc(words, sizeof(uint64_t));
    postcopy->wanted = calloc(words, sizeof(uint64_t));
    r = postcopy->missing == NULL || postcopy->wanted == NULL ? err_set(err, -ENOMEM, "no memory for post-copy") : 0;
    if (r == 0) {
        memcpy(postcopy->missing, missing, words * sizeof(uint64_t));
        r = punch(postcopy);
    }
    if (r == 0)
        r = eventfd_new(&postcopy->stop_fd);
    if (r == 0)
        r = postcopy->fd = userfault_open(userfault_device, err);
    if (r >= 0)
        r = watch(postcopy, err);
    if (r == 0)
        r = -pthread_create(&postcopy->thread, NULL, fault_thread, postcopy);
    postcopy->started = r == 0;
    if (r < 0) {
        if (err != NULL && err->code == 0)
            err_set(err, r, "cannot begin post-copy: %s", strerror(-r));
        postcopy_free(postcopy);
        return r;
    }
    *ret_postcopy = postcopy;
    return 0;
}

void postcopy_free(struct postcopy *postcopy)
{
    if (postcopy == NULL)
        return;
    if (postcopy->started) {
        eventfd_signal(postcopy->stop_fd);
        pthread_join(postcopy->thread, NULL);
    }
    fd_close(&postcopy->fd); /* wakes who waits */
    fd_close(&postcopy->stop_fd);
    pthread_mutex_destroy(&postcopy->lock);
    free(postcopy->missing);
    free(postcopy->wanted);
    free(postcopy);
}
