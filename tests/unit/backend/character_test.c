/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character backends: files, pseudo-terminals with and without a reader, bytes that the device can't take yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/character.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/loop.h"

struct sink {
    char text[4096];
    size_t size, room;
    unsigned writable;
};

static size_t take(void *device, const uint8_t *data, size_t size)
{
    struct sink *sink = device;
    size_t n = size < sink->room ? size : sink->room;
    memcpy(sink->text + sink->size, data, n);
    sink->size += n;
    sink->room -= n;
    return n;
}

static void writable(void *device)
{
    ((struct sink *)device)->writable++;
}

static struct character *open_for(const char *spec, struct loop *loop, struct sink *sink)
{
    struct character *character;
    struct err err = ERR_INIT;
    if (character_open(spec, loop, &character, &err) < 0)
        fail_msg("%s", err.message);
    character->device = sink;
    character->input = take;
    character->writable = writable;
    return character;
}

static void serve(struct loop *loop, const bool *until, unsigned milliseconds)
{
    int64_t end = host_monotonic_ns() + milliseconds * INT64_C(1000000);
    while (!(until != NULL && *until) && host_monotonic_ns() < end)
        assert_int_equal(loop_step(loop, 5), 0);
}

static void test_file(void **state)
{
    struct loop *loop;
    struct sink sink = {0};
    char spec[64] = "file:/tmp/ferry-character-XXXXXX", back[32] = {0};
    int fd = mkstemp(spec + 5);
    assert_true(fd >= 0);
    assert_int_equal(loop_new(&loop), 0);
    struct character *character = open_for(spec, loop, &sink);
    assert_int_equal(character->write(character, "hello\n", 6), 6);
    character_close(character);
    assert_int_equal(read(fd, back, sizeof(back)), 6);
    assert_string_equal(back, "hello\n");
    close(fd);
    unlink(spec + 5);
    loop_free(loop);
}

static void test_descriptor(void **state)
{
    struct loop *loop;
    struct sink sink = {0};
    struct err err = ERR_INIT;
    struct character *character = NULL;
    char path[64] = "/tmp/ferry-character-XXXXXX", spec[32], back[32] = {0};
    int fd = mkstemp(path), given = dup(fd);
    assert_true(fd > 2 && given > 2);
    snprintf(spec, sizeof(spec), "fd=%d", given);
    assert_int_equal(loop_new(&loop), 0);
    character = open_for(spec, loop, &sink);
    assert_int_equal(character->write(character, "hello\n", 6), 6);
    character_close(character);
    assert_int_equal(pread(fd, back, sizeof(back), 0), 6);
    assert_int_equal(write(given, "x", 1), -1); /* closed with the character */
    character = NULL;
    for (unsigned i = 0; i < 4; i++) {
        static const char *const bad[] = {"fd=1", "fd=", "fd=x", "fd=1000000"};
        assert_int_equal(character_open(bad[i], loop, &character, &err), -EBADF);
        assert_non_null(strstr(err.message, "not the number of an open file"));
    }
    assert_null(character);
    close(fd);
    unlink(path);
    loop_free(loop);
}

static void test_none(void **state)
{
    struct loop *loop;
    struct sink sink = {0};
    assert_int_equal(loop_new(&loop), 0);
    struct character *character = open_for("none", loop, &sink);
    assert_int_equal(character->write(character, "hello\n", 6), 6);
    character->resume(character);
    character_close(character);
    character_close(NULL);
    loop_free(loop);
}

static void test_unknown(void **state)
{
    struct loop *loop;
    struct character *character = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(character_open("tcp:1234", loop, &character, &err), -EINVAL);
    assert_non_null(strstr(err.message, "pty"));
    assert_int_equal(character_open("file:/nowhere/at/all", loop, &character, &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/at/all"));
    assert_null(character);
    loop_free(loop);
}

static void wait_for_size(struct loop *loop, const struct sink *sink, size_t size)
{
    int64_t end = host_monotonic_ns() + 5 * NANOSECONDS_PER_SECOND;
    while (sink->size < size && host_monotonic_ns() < end)
        loop_step(loop, 20);
    assert_int_equal(sink->size, size);
}

static void test_pty(void **state)
{
    struct loop *loop;
    struct sink sink = {.room = 3};
    char back[16] = {0}, block[4096];
    memset(block, 'x', sizeof(block));
    assert_int_equal(loop_new(&loop), 0);
    struct character *character = open_for("pty", loop, &sink);
    assert_true(character->path[0] == '/');
    for (unsigned i = 0; i < 100; i++) /* nobody there: taken and dropped */
        assert_int_equal(character->write(character, block, sizeof(block)), sizeof(block));
    int terminal = open(character->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    assert_int_equal(write(terminal, "abcdef", 6), 6);
    wait_for_size(loop, &sink, 3); /* the device has no more room */
    serve(loop, NULL, 20);
    assert_int_equal(sink.size, 3);
    sink.room = 100;
    character->resume(character);
    assert_int_equal(sink.size, 6);
    assert_memory_equal(sink.text, "abcdef", 6);
    assert_int_equal(character->write(character, "\n\x03", 2), 2);
    assert_int_equal(read(terminal, back, sizeof(back)), 2); /* raw: bytes as they are */
    assert_memory_equal(back, "\n\x03", 2);
    size_t n = 0, total = 0;
    do { /* a reader that does not read */
        n = character->write(character, block, sizeof(block));
        total += n;
    } while (n == sizeof(block) && total < 10 * 1024 * 1024);
    assert_true(n < sizeof(block));
    unsigned before = sink.writable;
    close(terminal);
    serve(loop, NULL, 50);
    assert_true(sink.writable > before); /* the device goes on */
    assert_int_equal(character->write(character, block, sizeof(block)), sizeof(block));
    character_close(character);
    loop_free(loop);
}

static void test_stdio_through_pipes_and_files(void **state)
{
    struct loop *loop;
    struct sink sink = {.room = 1000};
    int in[2], out[2], saved_in = dup(0), saved_out;
    char back[16] = {0};
    fflush(stdout);
    saved_out = dup(1);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    dup2(in[0], 0);
    dup2(out[1], 1);
    assert_int_equal(loop_new(&loop), 0);
    struct character *character = open_for("stdio", loop, &sink);
    ssize_t sent = write(in[1], "typed", 5);
    wait_for_size(loop, &sink, 5);
    size_t written = character->write(character, "shown", 5);
    ssize_t seen = read(out[0], back, sizeof(back));
    close(in[1]);
    serve(loop, NULL, 20); /* end of input is no event for the guest, and not one without end */
    character_close(character);
    char path[] = "/tmp/ferry-character-XXXXXX";
    int file = mkstemp(path);
    ssize_t stored = write(file, "from a file", 11);
    lseek(file, 0, SEEK_SET);
    dup2(file, 0);
    character = open_for("stdio", loop, &sink);
    wait_for_size(loop, &sink, 16);
    serve(loop, NULL, 20);
    character_close(character);
    dup2(saved_in, 0);
    dup2(saved_out, 1);
    int descriptors[] = {saved_in, saved_out, in[0], out[0], out[1], file};
    for (unsigned i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++)
        close(descriptors[i]);
    unlink(path);
    loop_free(loop);
    assert_int_equal(sent + stored, 16);
    assert_int_equal(written, 5);
    assert_int_equal(seen, 5);
    assert_memory_equal(sink.text, "typedfrom a file", 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file), cmocka_unit_test(test_descriptor),    cmocka_unit_test(test_none),
        cmocka_unit_test(test_unknown), cmocka_unit_test(test_pty),
        cmocka_unit_test(test_stdio_through_pipes_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
