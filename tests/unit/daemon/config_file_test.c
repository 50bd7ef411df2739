/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: ferryd.conf. */
#include "check.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/config_file.h"

static char seen[1024];

static int take(void *ctx, const char *key, const char *value, struct err *err)
{
    size_t used = strlen(seen);
    if (text_equal(key, "bad"))
        return err_set(err, -EINVAL, "there is no setting \"bad\"");
    snprintf(seen + used, sizeof(seen) - used, "%s=%s;", key, value);
    return 0;
}

static int read_text(const char *text, struct err *err)
{
    char path[] = "/tmp/ferry-config-XXXXXX";
    int fd = mkstemp(path), r;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    seen[0] = 0;
    r = config_file_read(path, take, NULL, err);
    unlink(path);
    return r;
}

static void test_settings(void **state)
{
    struct err err = ERR_INIT;
    assert_int_equal(read_text("# comment\n\n  user = \"a b\"  # more\nport=5\n\tlast = x", &err), 0);
    assert_string_equal(seen, "user=a b;port=5;last=x;");
    assert_int_equal(read_text("", &err), 0);
    assert_string_equal(seen, "");
}

static void test_refusals(void **state)
{
    static const char *const cases[][2] = {
        {"a = 1\nnonsense\n", ", line 2: \"nonsense\" is not of the form key = value"},
        {"a = \"open\n", "must be one word, or text in double quotes"},
        {"a = two words\n", "must be one word"},
        {"ok = 1\nbad = 1\n", ", line 2: there is no setting"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = ERR_INIT;
        assert_true(read_text(cases[i][0], &err) < 0);
        if (strstr(err.message, cases[i][1]) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i][0], err.message, cases[i][1]);
    }
    struct err err = ERR_INIT;
    assert_int_equal(config_file_read("/nonexistent/ferryd.conf", take, NULL, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_settings), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
