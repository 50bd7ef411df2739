/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: connection URIs taken apart, and refused. */
#include "check.h"

#include <errno.h>

#include "base/err.h"
#include "remote/uri.h"

static struct remote_uri parse(const char *text)
{
    struct remote_uri uri = {0};
    struct err err = ERR_INIT;

    if (remote_uri_parse(text, &uri, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return uri;
}

static void refused(const char *text, const char *sentence)
{
    struct remote_uri uri = {.port = "untouched"};
    struct err err = ERR_INIT;

    if (remote_uri_parse(text, &uri, &err) == 0)
        fail_msg("%s is accepted", text);
    assert_string_equal(uri.port, "untouched");
    if (strstr(err.message, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, sentence);
}

static void test_transports(void **state)
{
    assert_int_equal(parse("qemu:///system").transport, REMOTE_UNIX);
    assert_int_equal(parse("qemu+unix:///system").transport, REMOTE_UNIX);
    assert_int_equal(parse("qemu://kvm2/system").transport, REMOTE_TLS);
    assert_int_equal(parse("qemu+tls://kvm2/system").transport, REMOTE_TLS);
    assert_int_equal(parse("qemu+tcp://kvm2/system").transport, REMOTE_TCP);
    assert_int_equal(parse("qemu+ssh://kvm2/system").transport, REMOTE_SSH);
}

static void test_parts(void **state)
{
    struct remote_uri uri = parse("qemu+ssh://root@[fd00::1%25eth0]:2222/system?socket=/run/a%20b&keyfile=/k&no_verify=1&"
                                  "keepalive_count=3");

    assert_string_equal(uri.user, "root");
    assert_string_equal(uri.host, "fd00::1%eth0");
    assert_string_equal(uri.port, "2222");
    assert_string_equal(uri.socket, "/run/a b");
    assert_string_equal(uri.keyfile, "/k");
    assert_true(uri.no_verify);
    assert_false(uri.no_tty);
    uri = parse("qemu+tcp://192.0.2.1");
    assert_string_equal(uri.host, "192.0.2.1");
    assert_string_equal(uri.port, "");
    uri = parse("qemu+tls://h:/system?pkipath=/p;no_tty=0");
    assert_string_equal(uri.pki_directory, "/p");
    uri = parse("qemu+ssh://h/system?socket=/a&socket=%2Fb%"); /* the last one counts; what is no escape stays */
    assert_string_equal(uri.socket, "/b%");
}

static void test_refused(void **state)
{
    char text[2000];

    refused("", "is no URI");
    refused("qemu:/system", "is no URI");
    refused("qemux:///system", "is no URI");
    refused("xen:///", "is no URI");
    refused("qemu+spice://h/system", "transport 'spice'");
    refused("qemu+://h/system", "transport ''");
    refused("qemu+tcp:///system", "names no host");
    refused("qemu+ssh://user@/system", "names no host");
    refused("qemu+ssh://-oProxyCommand=x/system", "is no host");
    refused("qemu+ssh://-l@h/system", "is no user");
    refused("qemu+tcp://h:12a/system", "'12a' in the URI is no port");
    refused("qemu+tcp://[::1]x/system", "'x' in the URI is no port");
    refused("qemu+ssh://h/system?no_verify=yes", "neither 0 nor 1");
    refused("qemu+tls://h/system?no_verify=1", "always checked");
    refused("qemu+ext:///system?command=/bin/sh", "transport 'ext'");
    refused("qemu+ssh://h/system?command=/bin/sh", "command in the URI is not supported");
    refused("qemu+ssh://h/system?socket=a%0Ab", "control characters");
    memset(text, 'a', sizeof(text));
    memcpy(text, "qemu+unix:///system?socket=", 27);
    text[sizeof(text) - 1] = 0;
    refused(text, "longer than 107 bytes");
    memcpy(text, "qemu+tcp://aaaaaaaaaaaaaaaa", 27);
    refused(text, "host in the URI is too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_transports), cmocka_unit_test(test_parts), cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
