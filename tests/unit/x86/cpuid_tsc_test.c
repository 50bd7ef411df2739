/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TSC's frequency in CPUID: what readers of its leaves compute, and what a model's text may ask for. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "x86/cpuid_feature.h"
#include "x86/cpuid_tsc.h"

static void make(uint32_t khz, struct cpuid_table *ret_table)
{
    ret_table->count = 0;
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 1, .eax = 7});
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0x15});
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0x16, .ecx = 100});
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0x40000010, .ebx = CPUID_CRYSTAL_KHZ});
    cpuid_set_tsc_khz(ret_table, khz);
}

/* As Linux reads leaf 0x15, in 32 bits; and as the SDM says. 0: the leaf tells nothing. */
static uint32_t told(uint32_t khz)
{
    struct cpuid_table table;
    const struct cpuid_entry *e;
    uint32_t crystal_khz, narrow;
    uint64_t wide;

    make(khz, &table);
    e = cpuid_find(&table, 0x15, 0);
    if (e->eax == 0 || e->ebx == 0)
        return 0;
    crystal_khz = e->ecx / 1000;
    narrow = crystal_khz * e->ebx / e->eax;
    wide = (uint64_t)e->ecx * e->ebx / e->eax / 1000;
    assert_int_equal(narrow, wide);
    return narrow;
}

static void test_ratio(void **state)
{
    static const uint32_t frequencies[] = {100000, 999000, 1000000, 1817295, 2000000, 2200000, 2445404, 2596136, 2899999, 3617295, 4294000};
    unsigned telling = 0, all = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(frequencies); i++)
        assert_in_range(told(frequencies[i]), frequencies[i] - frequencies[i] / 1000000, frequencies[i] + frequencies[i] / 1000000);
    assert_int_equal(told(2500000), 2500000);
    assert_int_equal(told(CPUID_TSC_KHZ_MAX), CPUID_TSC_KHZ_MAX);
    assert_int_equal(told(19991628), 0); /* no ratio that 32 bits could hold: better none than a wrong one */
    for (uint32_t khz = CPUID_TSC_KHZ_MIN; khz < 4200000; khz += 9973, all++) {
        uint32_t value = told(khz);

        telling += value != 0;
        assert_true(value == 0 || (value + khz / 1000000 >= khz && value <= khz + khz / 1000000));
    }
    assert_true(telling > all / 4 * 3);
}

static void test_other_leaves(void **state)
{
    struct cpuid_table table;

    make(2596136, &table);
    assert_int_equal(cpuid_find(&table, 1, 0)->eax, 7);
    assert_int_equal(cpuid_find(&table, 0x16, 0)->eax, 2596);
    assert_int_equal(cpuid_find(&table, 0x16, 0)->ecx, 100);
    assert_int_equal(cpuid_find(&table, 0x40000010, 0)->eax, 2596136);
    assert_int_equal(cpuid_find(&table, 0x40000010, 0)->ebx, CPUID_CRYSTAL_KHZ);
    cpuid_set_tsc_khz(&table, 1000000);
    assert_int_equal(cpuid_find(&table, 0x40000010, 0)->eax, 1000000);
}

static void test_models(void **state)
{
    static const char *const bad[] = {"max,tsc-frequency=", "max,tsc-frequency=2G", "max,tsc-frequency=-1", "max,tsc-frequency=99999999",
                                      "max,tsc-frequency=20000001000", "max,tsc-frequency=99999999999999999999999,+smap"};
    uint32_t khz = 1;

    assert_int_equal(cpuid_model_tsc_khz("max", &khz, NULL), 0);
    assert_int_equal(khz, 0);
    assert_int_equal(cpuid_model_tsc_khz("x86-64-v2,+smap,tsc-frequency=2445404321,-pku", &khz, NULL), 0);
    assert_int_equal(khz, 2445404);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = ERR_INIT;

        assert_int_equal(cpuid_model_tsc_khz(bad[i], &khz, &err), -EINVAL);
        assert_non_null(strstr(err.message, "a number of hertz"));
        assert_int_equal(khz, 2445404);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ratio), cmocka_unit_test(test_other_leaves), cmocka_unit_test(test_models)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
