/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The choice of an engine, by name and by probe. */
#include "check.h"

#include <errno.h>

#include "base/err.h"
#include "engine/engine.h"
#include "x86/cpuid.h"

static void test_unknown_name(void **ctx)
{
    const struct engine_type *type = NULL;
    struct err err = ERR_INIT;

    assert_int_equal(engine_choose("xen", &type, NULL, 0, &err), -ENOENT);
    assert_null(type);
    assert_non_null(strstr(err.message, "xen"));
    for (unsigned i = 0; engine_types[i] != NULL; i++)
        assert_non_null(strstr(err.message, engine_types[i]->name));
}

static void test_probes_say_why_not(void **ctx)
{
    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        struct engine_probe probe;

        engine_types[i]->probe(&probe);
        printf("%s: usable %d, native %d, %llu ps for an instruction. %s\n", engine_types[i]->name, probe.usable,
               probe.native, (unsigned long long)probe.instruction_ns_x1000, probe.reason);
        assert_true(probe.usable || !probe.native);
        assert_true(probe.native || probe.reason[0] != 0);
    }
}

static void test_named(void **ctx)
{
    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        const struct engine_type *type = NULL;
        struct engine_probe probe;
        struct err err = ERR_INIT;

        engine_types[i]->probe(&probe);
        assert_int_equal(engine_choose(engine_types[i]->name, &type, NULL, 0, &err), probe.usable ? 0 : -ENODEV);
        assert_ptr_equal(type, probe.usable ? engine_types[i] : NULL);
        assert_true(probe.usable || strstr(err.message, probe.reason) != NULL);
    }
}

static void test_auto(void **ctx)
{
    const struct engine_type *type = NULL, *native = NULL, *usable = NULL;
    char why[300] = "";
    struct err err = ERR_INIT;
    int r;

    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        struct engine_probe probe;

        engine_types[i]->probe(&probe);
        if (probe.usable)
            usable = engine_types[i];
        if (probe.native && native == NULL)
            native = engine_types[i];
    }
    r = engine_choose("auto", &type, why, sizeof(why), &err);
    if (usable == NULL) {
        assert_int_equal(r, -ENODEV);
        return;
    }
    assert_int_equal(r, 0);
    assert_ptr_equal(type, native != NULL ? native : usable);
    assert_memory_equal(why, type->name, strlen(type->name));
}

static void test_supported_cpuid(void **ctx)
{
    for (unsigned i = 0; engine_types[i] != NULL; i++) {
        struct cpuid_table table = {0};
        struct engine_probe probe;
        struct err err = ERR_INIT;
        bool has_long_mode = false;

        engine_types[i]->probe(&probe);
        if (!probe.usable)
            continue;
        assert_int_equal(engine_types[i]->supported_cpuid(&table, &err), 0);
        assert_in_range(table.count, 1, CPUID_ENTRIES_MAX);
        for (unsigned k = 0; k < table.count; k++)
            has_long_mode |= table.entry[k].leaf == 0x80000001 && (table.entry[k].edx & 1u << 29) != 0;
        assert_true(has_long_mode);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_name), cmocka_unit_test(test_probes_say_why_not), cmocka_unit_test(test_named),
        cmocka_unit_test(test_auto),         cmocka_unit_test(test_supported_cpuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
