/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the buffer, file descriptors and the clock. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/fd.h"

static void test_append(void **state)
{
    struct buffer buffer = BUFFER_INIT(8);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    assert_int_equal(buffer_append(&buffer, "abcde", 5), 0);
    assert_int_equal(buffer_append(&buffer, "fghi", 4), -ENOBUFS);
    assert_int_equal(buffer_append(&buffer, "x", SIZE_MAX), -ENOBUFS);
    assert_string_equal((char *)buffer.data, "abcde");
    assert_int_equal(buffer_append(&buffer, "fgh", 3), 0);
    assert_string_equal((char *)buffer.data, "abcdefgh");
    buffer_consume(&buffer, 3);
    assert_string_equal((char *)buffer.data, "defgh");
    buffer_consume(&buffer, 100);
    assert_int_equal(buffer.size, 0);
    buffer_fini(&buffer);
    buffer_fini(&buffer);
    buffer_consume(&buffer, 1);
}

static void test_printf(void **state)
{
    struct buffer buffer = BUFFER_INIT(200);
    assert_int_equal(buffer_printf(&buffer, "%d-", 12), 0);
    assert_int_equal(buffer_printf(&buffer, "%0100d", 7), 0);
    assert_int_equal(buffer.size, 103);
    assert_int_equal(buffer_printf(&buffer, "%0100d", 7), -ENOBUFS);
    assert_int_equal(strlen((char *)buffer.data), 103);
    buffer_fini(&buffer);
}

static void test_grows(void **state)
{
    struct buffer buffer = BUFFER_INIT(1 << 20);
    for (int i = 0; i < 1 << 20; i++)
        assert_int_equal(buffer_append(&buffer, "x", 1), 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), -ENOBUFS);
    assert_int_equal(buffer.size, 1 << 20);
    buffer_fini(&buffer);
}

static void test_pipe(void **state)
{
    int fds[2];
    char out[8] = {0};
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fd_write_all(fds[1], "hello", 5), 0);
    fd_close(&fds[1]);
    assert_int_equal(fds[1], -1);
    fd_close(&fds[1]);
    assert_int_equal(fd_read_all(fds[0], out, 3), 0);
    assert_int_equal(fd_read_all(fds[0], out, 3), -EIO);
    fd_close(&fds[0]);
    assert_int_equal(fd_read_all(-1, out, 1), -EBADF);
}

static void test_file(void **state)
{
    char path[] = "/tmp/ferry-fd-test-XXXXXX";
    char out[4] = {0};
    void *data = NULL;
    size_t size = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fd_pwrite_all(fd, "abcd", 4, 2), 0);
    assert_int_equal(fd_pread_all(fd, out, 4, 2), 0);
    assert_memory_equal(out, "abcd", 4);
    assert_int_equal(fd_pread_all(fd, out, 4, 3), -EIO);
    fd_close(&fd);
    assert_int_equal(fd_read_file(path, 5, &data, &size), -EFBIG);
    assert_int_equal(fd_read_file(path, 6, &data, &size), 0);
    assert_int_equal(size, 6);
    assert_memory_equal(data, "\0\0abcd", 7);
    free(data);
    unlink(path);
    assert_int_equal(fd_read_file(path, 6, &data, &size), -ENOENT);
    assert_int_equal(fd_read_file("/tmp", 6, &data, &size), -EISDIR);
    /* A FIFO without a writer would block an open without O_NONBLOCK. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fd_read_file(path, 6, &data, &size), -EINVAL);
    unlink(path);
}

static void test_eventfd(void **state)
{
    int fd;
    uint64_t count = 0;
    assert_int_equal(eventfd_new(&fd), 0);
    eventfd_drain(fd); /* doesn't block when there is nothing */
    eventfd_signal(fd);
    eventfd_signal(fd);
    assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 2);
    fd_close(&fd);
}

static void test_clock(void **state)
{
    struct clock clock;
    clock_init_stopped(&clock, 100);
    assert_int_equal(clock_now(&clock), 100);
    clock_advance(&clock, 50);
    clock_stop(&clock);
    assert_int_equal(clock_now(&clock), 150);
    clock_start(&clock);
    assert_true(clock_is_running(&clock));
    int64_t before = clock_now(&clock);
    assert_in_range(before, 150, 150 + NANOSECONDS_PER_SECOND * 10);
    clock_advance(&clock, NANOSECONDS_PER_SECOND * 1000);
    clock_stop(&clock);
    int64_t stopped = clock_now(&clock);
    assert_true(stopped >= before + NANOSECONDS_PER_SECOND * 1000);
    assert_int_equal(clock_now(&clock), stopped);
    clock_init_running(&clock, 0);
    assert_true(clock_now(&clock) < NANOSECONDS_PER_SECOND * 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append), cmocka_unit_test(test_printf), cmocka_unit_test(test_grows),
        cmocka_unit_test(test_pipe),   cmocka_unit_test(test_file),   cmocka_unit_test(test_eventfd),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
