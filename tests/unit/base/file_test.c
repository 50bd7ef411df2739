/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: files that are written whole or not at all. */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

static char place[64];

static int make_place(void **state)
{
    memcpy(place, "/tmp/ferry-file-XXXXXX", 23);
    return mkdtemp(place) == NULL;
}

static int remove_place(void **state)
{
    return rmdir(place);
}

static unsigned entries(void)
{
    unsigned count = 0;
    DIR *directory = opendir(place);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2; /* . and .. */
}

static void test_write_and_replace(void **state)
{
    char path[96];
    void *data;
    size_t size;
    struct stat status;
    snprintf(path, sizeof(path), "%s/file", place);
    assert_int_equal(file_write_atomic(path, "first", 5, 0600), 0);
    assert_int_equal(file_write_atomic(path, "second", 6, 0644), 0);
    assert_int_equal(fd_read_file(path, 100, &data, &size), 0);
    assert_string_equal(data, "second");
    free(data);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    assert_int_equal(entries(), 1);
    assert_int_equal(file_remove(path), 0);
    assert_int_equal(file_remove(path), 0);
}

static void test_failure_leaves_nothing(void **state)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/directory", place);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600), -EISDIR);
    assert_int_equal(entries(), 1);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/none/file", place);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600), -ENOENT);
}

static void touch(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", place, name);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600), 0);
}

/* A crash leaves what file_write_atomic() writes before it renames; here made by hand, next to files that must stay. */
static void test_sweep(void **state)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/below", place);
    assert_int_equal(mkdir(path, 0700), 0);
    touch("a.xml.Xy12z9.ferry-new");
    touch("below/b.xml.Xy12z9.ferry-new");
    touch("below/c.xml");
    touch(".ferry-new");
    file_sweep(place);
    assert_int_equal(entries(), 2);
    snprintf(path, sizeof(path), "%s/below/c.xml", place);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/below", place);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof(path), "%s/.ferry-new", place);
    assert_int_equal(unlink(path), 0);
    file_sweep("/no/such/directory");
}

static void test_directories(void **state)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/a/b", place);
    assert_int_equal(directory_make(path, 0700), 0);
    assert_int_equal(directory_make(path, 0700), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600), 0);
    assert_int_equal(directory_make(path, 0700), -ENOTDIR);
    assert_int_equal(file_remove(path), 0);
    snprintf(path, sizeof(path), "%s/a", place);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_replace),
        cmocka_unit_test(test_failure_leaves_nothing),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_directories),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}
