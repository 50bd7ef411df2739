/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the VM's command line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/err.h"
#include "vmm/options.h"

#define ARGUMENTS_MAX 32

static struct vm_config config;
static enum options_result result;
static struct err err;

/* Parses NULL-terminated arguments into config. */
static int parse(const char *first, ...)
{
    const char *argv[ARGUMENTS_MAX] = {"ferry-vmm"};
    int argc = 1;
    va_list rest;

    vm_config_fini(&config);
    err = ERR_INIT;
    va_start(rest, first);
    for (const char *argument = first; argument != NULL; argument = va_arg(rest, const char *))
        argv[argc++] = argument;
    va_end(rest);
    return options_parse(argc, (char *const *)argv, &config, &result, &err);
}

static int teardown(void **state)
{
    vm_config_fini(&config);
    return 0;
}

static void refuse(const char *option, const char *value, const char *expected)
{
    assert_int_equal(parse(option, value, NULL), -EINVAL);
    if (strstr(err.message, expected) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, expected);
}

static void test_defaults(void **state)
{
    assert_int_equal(parse(NULL), 0);
    assert_int_equal(result, OPTIONS_RUN);
    assert_string_equal(config.engine, "auto");
    assert_string_equal(config.serial, "stdio");
    assert_int_equal(config.cpus, 1);
    assert_int_equal(config.memory, MIB(512));
}

static void test_everything(void **state)
{
    assert_int_equal(parse("--name", "a b", "--engine=dbt,trace=on", "--cpus", "4", "--memory", "2G", "--kernel", "k",
                           "--initrd=i", "--append", "console=ttyS0 x=y", "--disk", "a,,b.img,readonly=on,format=raw",
                           "--disk=c", "--net", "user,hostfwd=tcp:127.0.0.1:1-:2,mac=52:54:00:00:00:09", "--net",
                           "tap=t0", "--control", "s", "--serial", "file:o", "--testdev", "--no-reboot", "--stats",
                           "--sandbox", "off", NULL),
                     0);
    assert_string_equal(config.name, "a b");
    assert_string_equal(config.engine, "dbt");
    assert_string_equal(config.engine_options, "trace=on");
    assert_int_equal(config.cpus, 4);
    assert_int_equal(config.memory, GIB(2));
    assert_string_equal(config.append, "console=ttyS0 x=y");
    assert_int_equal(config.disk_count, 2);
    assert_string_equal(config.disk[0].path, "a,b.img");
    assert_true(config.disk[0].readonly);
    assert_string_equal(config.disk[1].path, "c");
    assert_false(config.disk[1].readonly);
    assert_int_equal(config.nic_count, 2);
    assert_string_equal(config.nic[0].backend, "user,hostfwd=tcp:127.0.0.1:1-:2");
    assert_true(config.nic[0].has_mac);
    assert_int_equal(config.nic[0].mac[5], 9);
    assert_string_equal(config.nic[1].backend, "tap=t0");
    assert_true(config.testdev && config.no_reboot && config.stats && config.no_sandbox);
}

static void test_help_and_version(void **state)
{
    assert_int_equal(parse("--help", NULL), 0);
    assert_int_equal(result, OPTIONS_HELP);
    assert_int_equal(parse("--cpus", "2", "--version", NULL), 0);
    assert_int_equal(result, OPTIONS_VERSION);
}

static void test_refusals_name_what_exists(void **state)
{
    refuse("--engin", "kvm", "there are: --name, --engine");
    refuse("kernel", NULL, "unknown argument 'kernel'");
    refuse("--engine", "xen", "there are: auto, kvm, dbt");
    refuse("--cpus", "0", "from 1 to");
    refuse("--cpus", "many", "'many'");
    refuse("--memory", "-1", "like 512M");
    refuse("--memory", NULL, "lacks its value");
    refuse("--kernel", "", "not empty");
    refuse("--disk", ",format=raw", "needs a file");
    refuse("--disk", "a,format=vmdk", "there are: raw");
    refuse("--disk", "a,bus=ide", "there are: virtio");
    refuse("--disk", "a,speed=9", "there are: format, bus, readonly");
    refuse("--disk", "a,readonly", "lacks its value");
    refuse("--disk", "a,readonly=maybe", "on or off");
    refuse("--net", "vde", "there are: none, user, tap=NAME, bridge=NAME");
    refuse("--net", "user,mac=1", "MAC");
    refuse("--net", "user,mac=01:00:00:00:00:00", "MAC");
    refuse("--net", "user,model=e1000", "there are: virtio");
    refuse("--serial", "tcp:1", "there are: stdio, file:PATH, fd=N, pty, none");
    refuse("--serial", "file:", "there are: stdio");
    refuse("--testdev=1", NULL, "takes no value");
    refuse("--sandbox", "half", "on or off");
}

static void test_too_many(void **state)
{
    assert_int_equal(parse("--disk=a", "--disk=a", "--disk=a", "--disk=a", "--disk=a", "--disk=a", "--disk=a",
                           "--disk=a", "--disk=a", NULL),
                     -EINVAL);
    assert_int_equal(parse("--net=user", "--net=user", "--net=user", "--net=user", "--net=user", "--net=user",
                           "--net=user", "--net=user", "--net=user", NULL),
                     -EINVAL);
}

static void test_check_against_the_host(void **state)
{
    assert_int_equal(parse("--kernel=k", NULL), 0);
    assert_int_equal(vm_config_check(&config, &err), 0);
    assert_int_equal(parse(NULL), 0);
    assert_int_equal(vm_config_check(&config, &err), -EINVAL);
    assert_int_equal(parse("--kernel=k", "--memory=400G", NULL), 0);
    config.memory = UINT64_C(1) << 50;
    assert_int_equal(vm_config_check(&config, &err), -EINVAL);
    assert_non_null(strstr(err.message, "RAM and swap"));
    config.memory = MIB(16) + 1;
    assert_int_equal(vm_config_check(&config, &err), -EINVAL);
    assert_non_null(strstr(err.message, "page"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_defaults, teardown),
        cmocka_unit_test_teardown(test_everything, teardown),
        cmocka_unit_test_teardown(test_help_and_version, teardown),
        cmocka_unit_test_teardown(test_refusals_name_what_exists, teardown),
        cmocka_unit_test_teardown(test_too_many, teardown),
        cmocka_unit_test_teardown(test_check_against_the_host, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
