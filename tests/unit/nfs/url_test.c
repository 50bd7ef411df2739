/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs:// URLs: what they say, and what is refused. */
#include "check.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "nfs/url.h"

static void test_parts(void **state)
{
    struct nfs_url url;

    assert_int_equal(nfs_url_parse("nfs://storage/storage/fw1.img?version=4", &url, NULL), 0);
    assert_string_equal(url.server, "storage");
    assert_string_equal(url.path, "/storage/fw1.img");
    assert_int_equal(url.port, 2049);
    assert_int_equal(url.uid, geteuid());
    assert_int_equal(nfs_url_parse("nfs://10.0.0.1:2050//a///b%20c/?version=4.0&uid=7&gid=0x8&nfsport=99", &url, NULL), 0);
    assert_string_equal(url.path, "/a/b c");
    assert_int_equal(url.port, 99);
    assert_int_equal(url.uid, 7);
    assert_int_equal(url.gid, 8);
    assert_int_equal(nfs_url_parse("nfs://[fe80::1]:7/", &url, NULL), 0);
    assert_string_equal(url.server, "fe80::1");
    assert_string_equal(url.path, "/");
    assert_int_equal(url.port, 7);
    assert_int_equal(nfs_url_parse("nfs://host", &url, NULL), 0);
    assert_string_equal(url.path, "/");
    assert_int_equal(nfs_url_parse("nfs://host/a..b/.c/..d", &url, NULL), 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *complaint;
    } bad[] = {
        {"/storage/a", "begin with nfs://"},
        {"nfs:///a", "server is missing"},
        {"nfs://host:0/a", "port"},
        {"nfs://host:65536/a", "port"},
        {"nfs://host:x/a", "port"},
        {"nfs://[fe80::1/a", "address is broken"},
        {"nfs://[fe80::1]x/a", "port"},
        {"nfs://host/a/../b", ". or .."},
        {"nfs://host/a/%2e%2E", ". or .."},
        {"nfs://host/.", ". or .."},
        {"nfs://host/a%0", "broken escape"},
        {"nfs://host/a%zz", "broken escape"},
        {"nfs://host/a%00b", "broken escape"},
        {"nfs://host/a?version=3", "version 3"},
        {"nfs://host/a?version=4.1", "version 4.1"},
        {"nfs://host/a?version", "lacks its value"},
        {"nfs://host/a?uid=bob", "no number"},
        {"nfs://host/a?nfsport=0", "there are the settings"},
        {"nfs://host/a?colour=7", "there are the settings"},
    };
    char text[2100];

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct nfs_url url = {.port = 1};
        struct err err = ERR_INIT;

        assert_int_equal(nfs_url_parse(bad[i].text, &url, &err), -EINVAL);
        if (strstr(err.message, bad[i].complaint) == NULL)
            fail_msg("%s: %s", bad[i].text, err.message);
        assert_int_equal(url.port, 1);
    }
    memset(text, 'a', sizeof(text));
    memcpy(text, "nfs://h/", 8);
    text[sizeof(text) - 1] = 0;
    struct nfs_url url;
    assert_int_equal(nfs_url_parse(text, &url, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
