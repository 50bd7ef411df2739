/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: opening and its sentences, locks, every operation by io_uring and by workers, drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block.h"
#include "backend/handover.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/loop.h"

#define IMAGE_SIZE (1u << 20)

struct fixture {
    struct loop *loop;
    char path[64];
    int fd;
    unsigned done;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "/tmp/ferry-image-XXXXXX");
    f->fd = mkstemp(f->path);
    assert_true(f->fd >= 0);
    assert_int_equal(ftruncate(f->fd, IMAGE_SIZE + 100), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    close(f->fd);
    unlink(f->path);
    free(f);
    return 0;
}

static struct block_image *open_image(struct fixture *f, const char *io, bool readonly)
{
    struct block_image *image;
    struct err err = ERR_INIT;
    if (block_open(&(struct block_config){.path = f->path, .io = io, .readonly = readonly}, f->loop, &image, &err) < 0)
        fail_msg("%s", err.message);
    return image;
}

static void count_done(struct block_request *request)
{
    ((struct fixture *)request->owner)->done++;
}

static void wait_for(struct fixture *f, unsigned done)
{
    int64_t end = host_monotonic_ns() + 5 * NANOSECONDS_PER_SECOND;
    while (f->done < done && host_monotonic_ns() < end)
        loop_step(f->loop, 10);
    assert_int_equal(f->done, done);
}

static struct block_request *make(struct fixture *f, enum block_operation operation, uint64_t offset, void *data, size_t size)
{
    struct block_request *request = calloc(1, sizeof(*request));
    *request = (struct block_request){
        .operation = operation, .offset = offset, .size = size, .done = count_done, .owner = f, .result = 1};
    if (operation == BLOCK_READ || operation == BLOCK_WRITE) {
        request->iov[0] = (struct iovec){data, size / 3};
        request->iov[1] = (struct iovec){(char *)data + size / 3, size - size / 3};
        request->iov_count = 2;
    }
    return request;
}

static int run(struct fixture *f, struct block_image *image, enum block_operation operation, uint64_t offset, void *data,
               size_t size)
{
    struct block_request *request = make(f, operation, offset, data, size);
    unsigned before = f->done;
    block_submit(image, request);
    wait_for(f, before + 1);
    int result = request->result;
    free(request);
    return result;
}

static void operations(struct fixture *f, const char *io)
{
    struct block_image *image = open_image(f, io, false);
    char out[3000], in[3000], zeros[3000] = {0};
    memset(out, 'o', sizeof(out));
    assert_int_equal(block_size(image), IMAGE_SIZE);
    assert_int_equal(run(f, image, BLOCK_WRITE, 512, out, sizeof(out)), 0);
    assert_int_equal(run(f, image, BLOCK_READ, 512, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(run(f, image, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(run(f, image, BLOCK_WRITE_ZEROES, 512, NULL, 1000), 0);
    assert_int_equal(run(f, image, BLOCK_READ, 512, in, sizeof(in)), 0);
    assert_memory_equal(in, zeros, 1000);
    assert_memory_equal(in + 1000, out, sizeof(in) - 1000);
    assert_int_equal(run(f, image, BLOCK_READ, IMAGE_SIZE - 100, in, 200), -EINVAL);
    assert_int_equal(run(f, image, BLOCK_READ, UINT64_MAX - 50, in, 200), -EINVAL);
    assert_int_equal(ftruncate(f->fd, 4096), 0); /* somebody cuts the file under our feet */
    assert_int_equal(run(f, image, BLOCK_READ, 4000, in, 200), -EIO);
    assert_int_equal(run(f, image, BLOCK_READ, 8192, in, 200), -EIO);
    block_close(image);
}

static void test_operations_by_ring(void **state)
{
    operations(*state, NULL);
}

static void test_operations_by_workers(void **state)
{
    operations(*state, "threads");
}

static void test_discard_frees_space(void **state)
{
    struct fixture *f = *state;
    struct block_image *image = open_image(f, NULL, false);
    static char data[IMAGE_SIZE];
    struct stat before, after;
    if (!block_can_discard(image)) {
        block_close(image);
        print_message("skipped: this file system makes no holes\n");
        skip();
    }
    memset(data, 'd', sizeof(data));
    assert_int_equal(run(f, image, BLOCK_WRITE, 0, data, sizeof(data)), 0);
    assert_int_equal(run(f, image, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(fstat(f->fd, &before), 0);
    assert_int_equal(run(f, image, BLOCK_DISCARD, 0, NULL, IMAGE_SIZE / 2), 0);
    assert_int_equal(fstat(f->fd, &after), 0);
    assert_true(after.st_blocks < before.st_blocks);
    assert_int_equal(after.st_size, before.st_size);
    block_close(image);
}

static void test_readonly(void **state)
{
    struct fixture *f = *state;
    struct block_image *image = open_image(f, NULL, true);
    char data[512] = {0};
    assert_true(block_readonly(image));
    assert_false(block_can_discard(image));
    assert_int_equal(run(f, image, BLOCK_WRITE, 0, data, sizeof(data)), -EROFS);
    assert_int_equal(run(f, image, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
    assert_int_equal(run(f, image, BLOCK_READ, 0, data, sizeof(data)), 0);
    block_close(image);
}

/* More than the ring holds at once, and all of them there when the drain returns. */
static void drain(struct fixture *f, const char *io)
{
    struct block_image *image = open_image(f, io, false);
    static char data[400][512];
    struct block_request *request[400];
    for (unsigned i = 0; i < 400; i++) {
        memset(data[i], (int)(i % 251), 512);
        request[i] = make(f, BLOCK_WRITE, i * 512, data[i], 512);
        block_submit(image, request[i]);
    }
    block_drain(image);
    assert_int_equal(f->done, 400);
    for (unsigned i = 0; i < 400; i++) {
        uint8_t byte = 0;
        assert_int_equal(request[i]->result, 0);
        assert_int_equal(pread(f->fd, &byte, 1, i * 512 + 511), 1);
        assert_int_equal(byte, i % 251);
        free(request[i]);
    }
    block_drain(image);
    block_close(image);
}

static void test_drain_of_the_ring(void **state)
{
    drain(*state, "auto");
}

static void test_drain_of_workers(void **state)
{
    drain(*state, "threads");
}

static void test_locks(void **state)
{
    struct fixture *f = *state;
    struct block_image *writer, *other = NULL, *reader[2];
    struct err err = ERR_INIT;
    struct block_config config = {.path = f->path};
    writer = open_image(f, NULL, false);
    assert_int_equal(block_open(&config, f->loop, &other, &err), -EBUSY);
    assert_non_null(strstr(err.message, f->path));
    config.readonly = true;
    assert_int_equal(block_open(&config, f->loop, &other, &err), -EBUSY);
    assert_null(other);
    block_close(writer);
    reader[0] = open_image(f, NULL, true);
    reader[1] = open_image(f, NULL, true);
    config.readonly = false;
    assert_int_equal(block_open(&config, f->loop, &other, &err), -EBUSY);
    assert_non_null(strstr(err.message, "readonly=on"));
    block_close(reader[0]);
    block_close(reader[1]);
    block_close(open_image(f, NULL, false));
}

static struct block_image *open_incoming(struct fixture *f)
{
    struct block_image *image;
    struct err err = ERR_INIT;
    if (block_open(&(struct block_config){.path = f->path, .incoming = true}, f->loop, &image, &err) < 0)
        fail_msg("%s", err.message);
    return image;
}

/* At every step at most one may write, and nobody else gets in. */
static void test_handover(void **state)
{
    struct fixture *f = *state;
    struct block_image *source = open_image(f, NULL, false), *destination = open_incoming(f), *other = NULL;
    struct block_config writer = {.path = f->path}, reader = {.path = f->path, .readonly = true};
    struct err err = ERR_INIT;
    char data[512] = "old";
    assert_true(block_active(source) && !block_active(destination));
    assert_int_equal(run(f, destination, BLOCK_WRITE, 0, data, sizeof(data)), -EPERM);
    assert_int_equal(block_activate(destination, &err), -EBUSY);
    assert_non_null(strstr(err.message, f->path));
    assert_int_equal(run(f, source, BLOCK_WRITE, 0, data, sizeof(data)), 0);
    assert_int_equal(ftruncate(f->fd, 2 * IMAGE_SIZE), 0);

    assert_int_equal(block_inactivate(source, &err), 0);
    assert_int_equal(run(f, source, BLOCK_WRITE, 0, data, sizeof(data)), -EPERM);
    assert_int_equal(block_open(&writer, f->loop, &other, &err), -EBUSY);
    assert_int_equal(block_open(&reader, f->loop, &other, &err), -EBUSY);

    assert_int_equal(block_activate(destination, &err), 0);
    assert_int_equal(block_size(destination), 2 * IMAGE_SIZE);
    assert_int_equal(run(f, destination, BLOCK_READ, 0, data, sizeof(data)), 0);
    assert_string_equal(data, "old");
    assert_int_equal(block_activate(source, &err), -EBUSY);
    block_close(destination);

    assert_int_equal(block_activate(source, &err), 0); /* the destination is gone: back again */
    block_close(source);
    block_close(open_image(f, NULL, true));
}

static void test_readers_keep_out_a_handover(void **state)
{
    struct fixture *f = *state;
    struct block_image *reader = open_image(f, NULL, true), *other = NULL;
    struct block_config incoming = {.path = f->path, .incoming = true};
    struct err err = ERR_INIT;
    assert_int_equal(block_open(&incoming, f->loop, &other, &err), -EBUSY);
    assert_int_equal(block_inactivate(reader, &err), 0); /* nothing to give away */
    assert_true(block_active(reader));
    incoming.readonly = true;
    assert_int_equal(block_open(&incoming, f->loop, &other, &err), 0);
    assert_true(block_active(other));
    block_close(other);
    block_close(reader);
}

static void test_decision_is_made_once(void **state)
{
    struct fixture *f = *state;
    enum handover_side winner = HANDOVER_SOURCE;
    struct err err = ERR_INIT;
    char link[80], text[32] = "";
    snprintf(link, sizeof(link), "%s.ferry-a-1", f->path);
    assert_int_equal(handover_decide(f->path, "a-1", HANDOVER_DESTINATION, &winner, &err), 0);
    assert_int_equal(winner, HANDOVER_DESTINATION);
    assert_int_equal(handover_decide(f->path, "a-1", HANDOVER_SOURCE, &winner, &err), 0);
    assert_int_equal(winner, HANDOVER_DESTINATION);
    assert_int_equal(handover_decide(f->path, "a-2", HANDOVER_SOURCE, &winner, &err), 0);
    assert_int_equal(winner, HANDOVER_SOURCE);
    assert_int_equal(readlink(link, text, sizeof(text) - 1), strlen("destination"));
    assert_string_equal(text, "destination");
    handover_forget(f->path, "a-1");
    handover_forget(f->path, "a-2");
    assert_int_equal(access(link, F_OK), -1);
    assert_int_equal(symlink("nonsense", link), 0);
    assert_int_equal(handover_decide(f->path, "a-1", HANDOVER_SOURCE, &winner, &err), -EBADMSG);
    handover_forget(f->path, "a-1");
    assert_int_equal(handover_decide(f->path, "../x", HANDOVER_SOURCE, &winner, &err), -EINVAL);
    assert_int_equal(handover_decide(f->path, "", HANDOVER_SOURCE, &winner, &err), -EINVAL);
    assert_int_equal(handover_decide("/nowhere/disk", "a", HANDOVER_SOURCE, &winner, &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/disk.ferry-a"));
}

static void test_changed_blocks(void **state)
{
    struct fixture *f = *state;
    struct block_image *image = open_image(f, NULL, false);
    uint64_t bits = 0;
    char data[3000] = {1};
    assert_int_equal(block_bitmap_words(block_size(image)), 1);
    assert_int_equal(block_bitmap_words(64 * BLOCK_DIRTY_SIZE + 1), 2);
    block_take_dirty(image, &bits); /* not tracked */
    assert_int_equal(run(f, image, BLOCK_WRITE, 0, data, sizeof(data)), 0);
    assert_int_equal(block_track(image), 0);
    assert_int_equal(run(f, image, BLOCK_READ, 0, data, sizeof(data)), 0);
    assert_int_equal(run(f, image, BLOCK_FLUSH, 0, NULL, 0), 0);
    block_take_dirty(image, &bits);
    assert_int_equal(bits, 0);
    assert_int_equal(run(f, image, BLOCK_WRITE, 2 * BLOCK_DIRTY_SIZE - 1500, data, sizeof(data)), 0);
    assert_int_equal(run(f, image, BLOCK_WRITE_ZEROES, 4 * BLOCK_DIRTY_SIZE, NULL, BLOCK_DIRTY_SIZE), 0);
    assert_int_equal(run(f, image, BLOCK_DISCARD, 15 * BLOCK_DIRTY_SIZE, NULL, BLOCK_DIRTY_SIZE), 0);
    assert_int_equal(run(f, image, BLOCK_WRITE, UINT64_MAX - 100, data, sizeof(data)), -EINVAL);
    block_take_dirty(image, &bits);
    assert_int_equal(bits & 0x7fff, 0x16);
    assert_true(bits >> 15 == 1);
    bits = 0;
    block_take_dirty(image, &bits);
    assert_int_equal(bits, 0);
    block_untrack(image);
    block_close(image);
}

static void test_where_data_is(void **state)
{
    struct fixture *f = *state;
    struct block_image *image = open_image(f, NULL, false);
    struct block_request write = {.operation = BLOCK_WRITE, .offset = 256 * 1024, .size = 4096, .iov_count = 1};
    uint64_t start, end;
    char data[4096] = {1}, back[4096];
    assert_int_equal(block_find_data(image, 0, &start, &end), 0);
    assert_int_equal(start, IMAGE_SIZE);
    write.iov[0] = (struct iovec){data, sizeof(data)};
    assert_int_equal(block_execute(image, &write), 0);
    assert_int_equal(block_find_data(image, 0, &start, &end), 0);
    assert_in_range(start, 1, 256 * 1024); /* file systems keep holes of their own grain */
    assert_in_range(end, 256 * 1024 + 4096, IMAGE_SIZE);
    assert_int_equal(block_find_data(image, 256 * 1024 + 1, &start, &end), 0);
    assert_int_equal(start, 256 * 1024 + 1);
    assert_int_equal(block_find_data(image, IMAGE_SIZE - 1, &start, &end), 0);
    assert_int_equal(start, IMAGE_SIZE);
    assert_int_equal(block_find_data(image, UINT64_MAX, &start, &end), 0);
    assert_int_equal(start, IMAGE_SIZE);
    write.operation = BLOCK_READ;
    write.iov[0].iov_base = back;
    assert_int_equal(block_execute(image, &write), 0);
    assert_memory_equal(back, data, sizeof(data));
    write.offset = IMAGE_SIZE;
    assert_int_equal(block_execute(image, &write), -EINVAL);
    block_close(image);
}

/* By the open file: its name may be out of reach. */
static void test_room(void **state)
{
    struct fixture *f = *state;
    struct block_image *image = open_image(f, NULL, false);
    struct block_room before = {0}, after = {0};
    static char data[65536] = "x";

    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(block_room(image, &before), 0);
    assert_int_equal(run(f, image, BLOCK_WRITE, 0, data, sizeof(data)), 0);
    assert_int_equal(run(f, image, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(block_room(image, &after), 0);
    assert_true(before.left > 0 && after.device == before.device && after.used >= before.used && after.used >= sizeof(data));
    block_close(image);
}

static void test_leftover_decisions(void **state)
{
    struct fixture *f = *state;
    enum handover_side winner;
    char path[96];
    assert_int_equal(handover_decide(f->path, "a-1", HANDOVER_SOURCE, &winner, NULL), 0);
    assert_int_equal(handover_decide(f->path, "b-2", HANDOVER_DESTINATION, &winner, NULL), 0);
    snprintf(path, sizeof(path), "%s.ferry-file", f->path); /* none of ours */
    assert_int_equal(symlink("elsewhere", path), 0);
    handover_sweep(f->path);
    assert_int_equal(readlink(path, (char[8]){0}, 8), 8);
    unlink(path);
    snprintf(path, sizeof(path), "%s.ferry-a-1", f->path);
    assert_int_equal(unlink(path), -1);
    assert_int_equal(handover_decide(f->path, "b-2", HANDOVER_SOURCE, &winner, NULL), 0);
    assert_int_equal(winner, HANDOVER_SOURCE);
    handover_forget(f->path, "b-2");
    handover_sweep("/nowhere/disk.img");
}

static void test_what_can_not_be_opened(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct block_config config;
        int code;
        const char *text;
    } bad[] = {
        {{.path = "/nowhere/disk.img"}, -ENOENT, "/nowhere/disk.img"},
        {{.path = "/tmp", .readonly = true}, -EINVAL, "neither a file nor a block device"},
        {{.path = "/dev/null"}, -EINVAL, "neither a file nor a block device"},
        {{.path = f->path, .format = "vmdk"}, -EINVAL, "raw"},
        {{.path = f->path, .io = "magic"}, -EINVAL, "threads"},
    };
    struct block_image *image = NULL;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(block_open(&bad[i].config, f->loop, &image, &err), bad[i].code);
        assert_non_null(strstr(err.message, bad[i].text));
    }
    struct err err = ERR_INIT;
    assert_int_equal(ftruncate(f->fd, 100), 0);
    assert_int_equal(block_open(&(struct block_config){.path = f->path}, f->loop, &image, &err), -EINVAL);
    assert_non_null(strstr(err.message, "empty"));
    assert_null(image);
    block_close(NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_operations_by_ring), TEST(test_operations_by_workers), TEST(test_discard_frees_space),
        TEST(test_readonly),           TEST(test_drain_of_the_ring),     TEST(test_drain_of_workers),
        TEST(test_locks),              TEST(test_handover),              TEST(test_readers_keep_out_a_handover),
        TEST(test_decision_is_made_once), TEST(test_what_can_not_be_opened),
        TEST(test_room), TEST(test_leftover_decisions), TEST(test_changed_blocks),     TEST(test_where_data_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
