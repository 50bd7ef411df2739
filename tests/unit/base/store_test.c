/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: named documents in a directory, and their marks. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/store.h"

static char place[64], directory[96];

static int setup(void **state)
{
    snprintf(place, sizeof(place), "/tmp/ferry-store-XXXXXX");
    assert_non_null(mkdtemp(place));
    snprintf(directory, sizeof(directory), "%s/a/b", place);
    return store_make(directory, true);
}

static int teardown(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", place);
    return system(command);
}

static void count(void *ctx, const char *name)
{
    assert_true(strcmp(name, "one") == 0 || strcmp(name, "two words") == 0);
    ++*(unsigned *)ctx;
}

static unsigned number(void)
{
    unsigned found = 0;

    assert_int_equal(store_each(directory, count, &found, NULL), 0);
    return found;
}

static void test_documents(void **state)
{
    char *text = NULL, path[256];

    assert_int_equal(store_read(directory, "one", 100, &text), -ENOENT);
    assert_int_equal(store_write(directory, "one", "<a/>", 4), 0);
    assert_int_equal(store_write(directory, "two words", "<b/>", 4), 0);
    assert_int_equal(store_write(directory, "one", "<aa/>", 5), 0);
    assert_int_equal(store_read(directory, "one", 100, &text), 0);
    assert_string_equal(text, "<aa/>");
    free(text);
    assert_int_equal(store_read(directory, "one", 4, &text), -EFBIG);
    snprintf(path, sizeof(path), "%s/other", directory); /* not ours */
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(number(), 2);
    assert_int_equal(store_remove(directory, "one"), 0);
    assert_int_equal(store_remove(directory, "one"), 0);
    assert_int_equal(number(), 1);
}

static void test_marks(void **state)
{
    assert_int_equal(store_write(directory, "one", "<a/>", 4), 0);
    assert_false(store_marked(directory, "one"));
    assert_int_equal(store_mark(directory, "one", true), 0);
    assert_int_equal(store_mark(directory, "one", true), 0);
    assert_true(store_marked(directory, "one"));
    assert_int_equal(number(), 1);
    assert_int_equal(store_mark(directory, "one", false), 0);
    assert_int_equal(store_mark(directory, "one", false), 0);
    assert_false(store_marked(directory, "one"));
    assert_int_equal(store_mark(directory, "one", true), 0);
    assert_int_equal(store_remove(directory, "one"), 0);
    assert_false(store_marked(directory, "one")); /* the mark goes with its document */
}

static void test_failures(void **state)
{
    struct err err = ERR_INIT;
    char name[300];

    assert_int_equal(store_each("/nowhere/at/all", count, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.message, "cannot read directory /nowhere/at/all"));
    memset(name, 'a', sizeof(name));
    name[sizeof(name) - 1] = 0;
    assert_true(store_write(directory, name, "x", 1) < 0);
    assert_true(store_mark(directory, name, true) < 0);
    assert_false(store_marked(directory, name));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_documents), TEST(test_marks), TEST(test_failures)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
