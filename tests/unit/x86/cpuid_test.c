/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID tables: look-up rules of both vendors, models and their options, refusals that name what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/err.h"
#include "x86/cpuid.h"
#include "x86/cpuid_feature.h"

/* An engine that can give everything up to level 3. */
static void everything(struct cpuid_table *table)
{
    struct cpuid_features set = {0};

    cpuid_features_add(&set,
                       "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 "
                       "syscall nx lm x2apic tsc_deadline_timer nonstop_tsc arat cx16 lahf_lm popcnt pni sse4_1 sse4_2 "
                       "ssse3 rdtscp avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq rdrand fsgsbase smep "
                       "xsaveopt arch_capabilities smap");
    table->count = 0;
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0, .eax = 0xd, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 1});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .indexed = true, .eax = 7});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 2, .indexed = true, .eax = 256, .ebx = 576});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x40000001, .eax = 0xffffffff});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x80000008, .eax = 46});
    cpuid_features_put(table, &set);
}

static int build(const char *model, unsigned cpus, struct cpuid_table *ret_table, struct err *err)
{
    struct cpuid_table supported;
    struct cpuid_request request = {.model = model, .supported = &supported, .cpus = cpus, .tsc_khz = 2600000};

    everything(&supported);
    return cpuid_build(&request, ret_table, err);
}

static void test_every_model_within_reach_is_built(void **state)
{
    static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "host", "max"};
    struct cpuid_table table;
    struct err err = ERR_INIT;

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(build(names[i], 2, &table, &err), 0);
        assert_true(table.count < CPUID_ENTRIES_MAX);
        assert_true(cpuid_find(&table, 1, 0)->ecx >> 31); /* hypervisor */
    }
}

static void test_missing_features_are_named(void **state)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;

    assert_int_equal(build("x86-64-v4", 1, &table, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, " avx512f"));
    assert_null(strstr(err.message, " avx2"));
}

static void test_bad_requests_are_refused(void **state)
{
    static const struct {
        const char *model;
        int code;
    } list[] = {{"x86-64-v5", -ENOENT},   {"", -ENOENT},       {"max,avx2", -EINVAL},    {"max,+nonsense", -EINVAL},
                {"max,vendor=X", -EINVAL}, {"max,+", -EINVAL},  {"max,,", -EINVAL}};
    struct cpuid_table table;
    struct err err;

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        err = ERR_INIT;
        assert_int_equal(build(list[i].model, 1, &table, &err), list[i].code);
        assert_true(err.message[0] != 0);
    }
}

static void test_features_come_and_go_with_what_they_need(void **state)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;

    assert_int_equal(build("x86-64-v2,+smap", 1, &table, &err), 0);
    assert_true(cpuid_find(&table, 7, 0)->ebx >> 20 & 1);
    assert_int_equal(build("x86-64-v3,-xsave", 1, &table, &err), 0);
    assert_false(cpuid_find(&table, 1, 0)->ecx >> 28 & 1); /* AVX */
    assert_false(cpuid_find(&table, 7, 0)->ebx >> 5 & 1);  /* AVX2 */
    assert_null(cpuid_find(&table, 0xd, 0));
}

static void test_vendors_differ(void **state)
{
    struct cpuid_table amd, intel;
    struct err err = ERR_INIT;
    uint32_t r[4];

    assert_int_equal(build("max", 4, &amd, &err), 0);
    assert_int_equal(build("max,vendor=GenuineIntel", 4, &intel, &err), 0);
    assert_false(cpuid_is_intel(&amd));
    assert_true(cpuid_is_intel(&intel));
    /* AMD repeats leaf 1 EDX; only Intel has ARCH_CAPABILITIES and leaf 4. */
    assert_true(cpuid_find(&amd, 0x80000001, 0)->edx & 1);
    assert_false(cpuid_find(&intel, 0x80000001, 0)->edx & 1);
    assert_true(cpuid_find(&intel, 7, 0)->edx >> 29 & 1);
    assert_false(cpuid_find(&amd, 7, 0)->edx >> 29 & 1);
    assert_non_null(cpuid_find(&intel, 4, 3));
    /* Above the range: zeroes on AMD, the highest basic leaf on Intel. */
    cpuid_query(&amd, 0x5000, 0, r);
    assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
    cpuid_query(&intel, 0x5000, 0, r);
    assert_int_equal(r[1], cpuid_find(&intel, 0x1f, 0)->ebx);
}

static void test_topology_tells_cpus_and_apic_id(void **state)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;
    uint32_t r[4];

    assert_int_equal(build("x86-64-v3", 6, &table, &err), 0);
    cpuid_for_cpu(&table, 5);
    cpuid_query(&table, 1, 0, r);
    assert_int_equal(r[1] >> 24, 5);
    assert_int_equal(r[1] >> 16 & 0xff, 6);
    cpuid_query(&table, 0xb, 1, r);
    assert_int_equal(r[0], 3); /* bits of the core number */
    assert_int_equal(r[1], 6);
    assert_int_equal(r[3], 5);
    cpuid_query(&table, 0xb, 7, r); /* beyond the last level */
    assert_int_equal(r[0] | r[1], 0);
    assert_int_equal(r[2], 7);
    assert_int_equal(r[3], 5);
}

static void test_hypervisor_and_xsave_leaves(void **state)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;

    assert_int_equal(build("x86-64-v3", 1, &table, &err), 0);
    assert_int_equal(cpuid_find(&table, 0x40000001, 0)->eax, 1u << 3 | 1u << 24);
    assert_int_equal(cpuid_find(&table, 0x40000010, 0)->eax, 2600000);
    assert_int_equal(cpuid_find(&table, 0xd, 0)->eax, 7);
    assert_int_equal(cpuid_find(&table, 0xd, 0)->ecx, 832);
    assert_int_equal(cpuid_find(&table, 0xd, 2)->ebx, 576);
    assert_int_equal(cpuid_find(&table, 0x80000008, 0)->eax, 48 << 8 | 40);
}

/* An Intel host whose engine can give more, at other places, than the one above. */
static void another_host(struct cpuid_table *table)
{
    struct cpuid_features set;

    everything(table);
    cpuid_features_get(table, &set);
    cpuid_features_add(&set, "adx rdseed pku vmx la57 movdiri");
    table->count = 0;
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0, .eax = 0x1f, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 1, .eax = 0x806f8});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .indexed = true, .eax = 0x207});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 2, .indexed = true, .eax = 256, .ebx = 576});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 9, .indexed = true, .eax = 8, .ebx = 2688});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x40000001, .eax = 0x01000efb});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x80000008, .eax = 52});
    cpuid_features_put(table, &set);
}

static void test_named_models_are_the_same_everywhere(void **state)
{
    static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v3,+smap,-avx2", "x86-64-v2,vendor=GenuineIntel"};
    struct cpuid_table supported, here, there;
    struct cpuid_request request = {.supported = &supported, .cpus = 4, .tsc_khz = 2600000};
    struct err err = ERR_INIT;

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        request.model = names[i];
        everything(&supported);
        assert_int_equal(cpuid_build(&request, &here, &err), 0);
        another_host(&supported);
        assert_int_equal(cpuid_build(&request, &there, &err), 0);
        assert_int_equal(here.count, there.count);
        for (unsigned j = 0; j < here.count; j++) {
            const struct cpuid_entry *a = &here.entry[j], *b = &there.entry[j];

            assert_true(a->leaf == b->leaf && a->subleaf == b->subleaf && a->indexed == b->indexed);
            assert_true(a->eax == b->eax && a->ebx == b->ebx && a->ecx == b->ecx && a->edx == b->edx);
        }
    }
}

static void test_physical_bits(void **state)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;

    assert_int_equal(build("x86-64-v2,phys-bits=36", 1, &table, &err), 0);
    assert_int_equal(cpuid_find(&table, 0x80000008, 0)->eax & 0xff, 36);
    assert_int_equal(build("max", 1, &table, &err), 0);
    assert_int_equal(cpuid_find(&table, 0x80000008, 0)->eax & 0xff, 46);
    assert_int_equal(build("max,phys-bits=47", 1, &table, &err), -ENOTSUP);
    assert_int_equal(build("max,phys-bits=53", 1, &table, &err), -EINVAL);
    assert_int_equal(build("max,phys-bits=", 1, &table, &err), -EINVAL);
}

static void test_the_host_is_read(void **state)
{
    struct cpuid_table table;

    cpuid_host(&table);
    assert_non_null(cpuid_find(&table, 0, 0));
    assert_true(cpuid_find(&table, 0x80000001, 0)->edx >> 29 & 1); /* we run in long mode */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_model_within_reach_is_built),
        cmocka_unit_test(test_missing_features_are_named),
        cmocka_unit_test(test_bad_requests_are_refused),
        cmocka_unit_test(test_features_come_and_go_with_what_they_need),
        cmocka_unit_test(test_vendors_differ),
        cmocka_unit_test(test_topology_tells_cpus_and_apic_id),
        cmocka_unit_test(test_hypervisor_and_xsave_leaves),
        cmocka_unit_test(test_named_models_are_the_same_everywhere),
        cmocka_unit_test(test_physical_bits),
        cmocka_unit_test(test_the_host_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
