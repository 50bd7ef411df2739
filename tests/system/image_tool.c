/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program that tests drive line by line: it opens a disk image through Ferry's block layer, writes at random while it
 * remembers what must be there, and compares.
 *
 *     write COUNT   so many random writes, 16 at a time     read        everything, compared with what was written
 *     zero COUNT    the same with zeros                     discard COUNT
 *     flush         to stable storage                       dump FILE   what must be there
 *     quit
 * Each is answered by a line: "ok ..." or "error ...". */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block.h"
#include "backend/handover.h"
#include "base/err.h"
#include "base/fd.h"
#include "event/loop.h"

#define IN_FLIGHT 16
#define PIECE_MAX (256u * 1024)
#define SECTOR 512u

struct slot {
    struct block_request request;
    struct tool *tool;
    uint8_t *data;
    bool busy;
};

struct tool {
    struct loop *loop;
    struct block_image *image;
    uint64_t size;
    uint8_t *shadow;
    struct slot slot[IN_FLIGHT];
    unsigned busy;
    int error;
    uint64_t state; /* of the random numbers */
};

static uint64_t number(struct tool *tool, uint64_t below)
{
    tool->state ^= tool->state << 13; /* xorshift64 */
    tool->state ^= tool->state >> 7;
    tool->state ^= tool->state << 17;
    return tool->state % below;
}

static void done(struct block_request *request)
{
    struct slot *slot = request->owner;

    slot->busy = false;
    slot->tool->busy--;
    if (request->result < 0)
        slot->tool->error = request->result;
}

static void submit(struct tool *tool, struct slot *slot, enum block_operation operation, uint64_t offset, uint64_t size)
{
    slot->tool = tool;
    slot->busy = true;
    tool->busy++;
    slot->request.operation = operation;
    slot->request.offset = offset;
    slot->request.size = size;
    slot->request.iov[0] = (struct iovec){.iov_base = slot->data, .iov_len = size};
    slot->request.iov_count = size > 0 ? 1 : 0;
    slot->request.done = done;
    slot->request.owner = slot;
    block_submit(tool->image, &slot->request);
}

static void wait_until_below(struct tool *tool, unsigned count)
{
    while (tool->busy >= count)
        loop_step(tool->loop, -1);
}

/* Two writes that lie over each other and are under way together may end in any order, so they are not made. */
static bool overlaps(const struct tool *tool, uint64_t offset, uint64_t size)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        const struct block_request *other = &tool->slot[i].request;

        if (tool->slot[i].busy && other->offset < offset + size && offset < other->offset + other->size)
            return true;
    }
    return false;
}

static struct slot *free_slot(struct tool *tool)
{
    unsigned i = 0;

    while (tool->slot[i].busy)
        i++;
    return &tool->slot[i];
}

static void write_one(struct tool *tool)
{
    uint64_t offset = number(tool, tool->size / SECTOR) * SECTOR,
             size = (1 + number(tool, PIECE_MAX / SECTOR)) * SECTOR;
    struct slot *slot;

    if (size > tool->size - offset)
        size = tool->size - offset;
    wait_until_below(tool, IN_FLIGHT);
    while (overlaps(tool, offset, size))
        loop_step(tool->loop, -1);
    slot = free_slot(tool);
    for (uint64_t i = 0; i < size; i += 8) {
        uint64_t value = number(tool, UINT64_MAX);

        memcpy(slot->data + i, &value, sizeof(value));
    }
    memcpy(tool->shadow + offset, slot->data, size);
    submit(tool, slot, BLOCK_WRITE, offset, size);
}

/* Of a discarded part what it then reads as is right. */
static void forget_one(struct tool *tool, bool discard)
{
    uint64_t offset = number(tool, tool->size / SECTOR) * SECTOR,
             size = (1 + number(tool, PIECE_MAX / SECTOR)) * SECTOR;
    struct slot *slot = &tool->slot[0];

    if (size > tool->size - offset)
        size = tool->size - offset;
    wait_until_below(tool, 1);
    slot->request.unmap = number(tool, 2) != 0;
    submit(tool, slot, discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, offset, size);
    wait_until_below(tool, 1);
    if (discard) {
        submit(tool, slot, BLOCK_READ, offset, size);
        wait_until_below(tool, 1);
        memcpy(tool->shadow + offset, slot->data, size);
    } else {
        memset(tool->shadow + offset, 0, size);
    }
}

static int compare(struct tool *tool)
{
    for (uint64_t offset = 0; offset < tool->size && tool->error == 0; offset += PIECE_MAX) {
        uint64_t size = tool->size - offset < PIECE_MAX ? tool->size - offset : PIECE_MAX;
        struct slot *slot = free_slot(tool);

        submit(tool, slot, BLOCK_READ, offset, size);
        wait_until_below(tool, 1);
        if (tool->error == 0 && memcmp(slot->data, tool->shadow + offset, size) != 0)
            tool->error = -EILSEQ;
    }
    return tool->error;
}

static int dump(const struct tool *tool, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, tool->shadow, tool->size);

    fd_close(&fd);
    return r;
}

/* What lies in the image at first, if it is not zeros. */
static int load(struct tool *tool, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : fd_read_all(fd, tool->shadow, tool->size);

    fd_close(&fd);
    return r;
}

static void execute(struct tool *tool, const char *line)
{
    char path[200];
    unsigned count;

    tool->error = 0;
    if (sscanf(line, "write %u", &count) == 1) {
        for (unsigned i = 0; i < count; i++)
            write_one(tool);
        wait_until_below(tool, 1);
    } else if (sscanf(line, "zero %u", &count) == 1 || sscanf(line, "discard %u", &count) == 1) {
        for (unsigned i = 0; i < count; i++)
            forget_one(tool, line[0] == 'd');
    } else if (sscanf(line, "dump %199s", path) == 1) {
        tool->error = dump(tool, path);
    } else if (strcmp(line, "flush\n") == 0) {
        submit(tool, free_slot(tool), BLOCK_FLUSH, 0, 0);
        wait_until_below(tool, 1);
    } else if (strcmp(line, "read\n") == 0) {
        compare(tool);
    } else {
        tool->error = -EINVAL;
    }
    if (tool->error == -EILSEQ)
        printf("error something else lies there than was written\n");
    else if (tool->error < 0)
        printf("error %s\n", strerror(-tool->error));
    else
        printf("ok\n");
    fflush(stdout);
}

static void notice(void *ctx, const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
}

static int open_image(struct tool *tool, const struct block_config *config)
{
    struct err err = ERR_INIT;

    if (loop_new(&tool->loop) < 0 || block_open(config, tool->loop, &tool->image, &err) < 0) {
        printf("error %s\n", err.message);
        return 1;
    }
    tool->size = block_size(tool->image);
    tool->shadow = calloc(1, tool->size);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        tool->slot[i].data = malloc(PIECE_MAX);
    printf("ok %llu\n", (unsigned long long)tool->size);
    fflush(stdout);
    return tool->shadow == NULL;
}

/* image_tool PATH FORMAT SEED [FILE]: the image must read as zeros, or as the file. image_tool PATH
 * source|destination|forget: a handover. */
static int decide(const char *path, const char *side)
{
    enum handover_side winner;
    struct err err = ERR_INIT;

    if (strcmp(side, "forget") == 0)
        handover_forget(path, "test-1");
    else if (handover_decide(path, "test-1", strcmp(side, "source") == 0 ? HANDOVER_SOURCE : HANDOVER_DESTINATION,
                             &winner, &err) < 0)
        printf("error %s\n", err.message);
    else
        printf("ok %s\n", winner == HANDOVER_SOURCE ? "source" : "destination");
    return 0;
}

int main(int argc, char *argv[])
{
    static struct tool tool;
    char line[300];
    struct block_config config = {.notice = notice};

    if (argc == 3)
        return decide(argv[1], argv[2]);
    if (argc != 4 && argc != 5)
        return 2;
    config.path = argv[1];
    config.format = argv[2];
    tool.state = strtoull(argv[3], NULL, 0) | 1;
    if (open_image(&tool, &config) != 0)
        return 1;
    if (argc == 5 && load(&tool, argv[4]) < 0)
        return 1;
    while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "quit\n") != 0)
        execute(&tool, line);
    block_close(tool.image);
    loop_free(tool.loop);
    free(tool.shadow);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        free(tool.slot[i].data);
    return 0;
}
