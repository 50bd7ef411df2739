/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What migration asks of CPUs: comparison of tables with its sentences, descriptions of hosts, the baseline of several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "x86/cpuid_baseline.h"
#include "x86/cpuid_compare.h"
#include "x86/cpuid_xsave.h"

#define LEVEL_1                                                                                                        \
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm "     \
    "x2apic tsc_deadline_timer nonstop_tsc arat hypervisor"
#define LEVEL_2 LEVEL_1 " cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 rdtscp"
#define LEVEL_3 LEVEL_2 " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq rdrand fsgsbase smep xsaveopt"

/* What an engine supports: these features, PKRU's place, bits of addresses. */
static void host(struct cpuid_table *table, const char *features, uint32_t pkru_offset, uint32_t bits)
{
    struct cpuid_features set = {0};

    cpuid_features_add(&set, features);
    table->count = 0;
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0, .eax = 0xd, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .indexed = true, .eax = 0x207});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 2, .indexed = true, .eax = 256, .ebx = 576});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 9, .indexed = true, .eax = 8, .ebx = pkru_offset});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x40000001, .eax = 0xffffffff});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x80000008, .eax = bits});
    cpuid_features_put(table, &set);
}

static void build(const char *model, unsigned cpus, uint32_t tsc_khz, struct cpuid_table *ret_table)
{
    struct cpuid_table supported;
    struct cpuid_request request = {.model = model, .supported = &supported, .cpus = cpus, .tsc_khz = tsc_khz};
    struct err err = ERR_INIT;

    host(&supported, LEVEL_3 " smap pku", 2688, 46);
    if (cpuid_build(&request, ret_table, &err) < 0)
        fail_msg("%s", err.message);
}

static void expect(const char *source, const char *destination, bool long_mode, const char *const *words)
{
    struct cpuid_table a, b;
    struct err err = ERR_INIT;

    build(source, 2, 2600000, &a);
    build(destination, 2, 2600000, &b);
    if (words == NULL) {
        if (cpuid_compare(&a, &b, long_mode, &err) < 0)
            fail_msg("%s -> %s: %s", source, destination, err.message);
        return;
    }
    assert_int_equal(cpuid_compare(&a, &b, long_mode, &err), -ENOTSUP);
    for (unsigned i = 0; words[i] != NULL; i++)
        if (strstr(err.message, words[i]) == NULL)
            fail_msg("\"%s\" is not in: %s", words[i], err.message);
}

static void test_equal_cpus_agree(void **state)
{
    struct cpuid_table a, b;
    struct err err = ERR_INIT;

    expect("x86-64-v3", "x86-64-v3", true, NULL);
    expect("max,+smap", "max", true, NULL);
    build("x86-64-v2,vendor=GenuineIntel", 4, 2600000, &a);
    build("x86-64-v2,vendor=GenuineIntel", 4, 2600300, &b); /* the time base is compared apart, */
    cpuid_for_cpu(&b, 3);                                   /* and APIC IDs are each CPU's own */
    assert_int_equal(cpuid_compare(&a, &b, true, &err), 0);
}

static void test_refusals_name_both_sides(void **state)
{
    expect("x86-64-v3", "x86-64-v2", true,
           (const char *[]){"source's CPU \"Ferry virtual CPU x86-64-v3\"", "destination's \"Ferry virtual CPU x86-64-v2\" lacks",
                            "avx2", "baseline", NULL});
    expect("x86-64-v2", "x86-64-v2,+smap", true, (const char *[]){"destination's CPU", "that the source's", "lacks: smap;", NULL});
    expect("x86-64-v2", "x86-64-v2,vendor=GenuineIntel", true, (const char *[]){"AuthenticAMD", "GenuineIntel", NULL});
    expect("x86-64-v2", "x86-64-v2,phys-bits=36", true, (const char *[]){"physical address", "40 on the source", "36 on the", NULL});
    expect("x86-64-v3,phys-bits=46", "max,-smap,-pku", true, (const char *[]){"its name", NULL});
}

static void test_long_mode(void **state)
{
    static const char without[] = "x86-64-v1,-lm,-syscall";

    expect("x86-64-v1", without, true, (const char *[]){"64-bit mode", "no long mode", NULL});
    expect("x86-64-v1", without, false, NULL);
    expect(without, "x86-64-v1", false, NULL);
    expect("x86-64-v2", without, false, (const char *[]){"ssse3", NULL});
}

static void test_other_differences(void **state)
{
    struct cpuid_table a, b;
    struct err err = ERR_INIT;

    build("x86-64-v2", 2, 2600000, &a);
    build("x86-64-v2", 3, 2600000, &b);
    assert_int_equal(cpuid_compare(&a, &b, true, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "number of CPUs: 2 on the source"));
    for (unsigned i = 0; i < a.count; i++) { /* whatever differs is found, from either side */
        b = a;
        b.entry[i].eax ^= 0x10000;
        b.entry[i].ecx ^= 0x100;
        if (a.entry[i].leaf == 0x40000010 || a.entry[i].leaf == 0x8000001e)
            continue;
        assert_int_equal(cpuid_compare(&a, &b, true, NULL), -ENOTSUP);
        b = a;
        b.entry[i] = b.entry[--b.count];
        if (a.entry[i].eax | a.entry[i].ebx | a.entry[i].ecx)
            assert_int_equal(cpuid_compare(&b, &a, true, NULL), -ENOTSUP);
    }
    memset(&b, 0, sizeof(b));
    assert_int_equal(cpuid_compare(&a, &b, false, &err), -ENOTSUP);
    assert_true(strlen(err.message) < ERR_MESSAGE_MAX - 1);
}

static void test_impossible_layouts(void **state)
{
    static const struct cpuid_xsave_layout bad[] = {
        {.offset = {[9] = 568}}, {.offset = {[9] = 4090}}, {.offset = {[2] = 3841}}, {.offset = {[9] = 824}}, {.offset = {[2] = 2600}},
        {.offset = {[2] = 4096}}, {.offset = {[9] = 65535}},
    };
    struct cpuid_xsave_layout layout;
    struct cpuid_table table, before;

    build("max", 2, 2600000, &table);
    before = table;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = ERR_INIT;

        assert_int_equal(cpuid_set_xsave_layout(&table, &bad[i], &err), -EBADMSG);
        assert_non_null(strstr(err.message, "XSAVE component"));
        assert_memory_equal(&table, &before, sizeof(table));
    }
    /* Where nothing is told, and what the CPU has not, changes nothing. */
    assert_int_equal(cpuid_set_xsave_layout(&table, &(struct cpuid_xsave_layout){.offset = {[5] = 1, [7] = 65535}}, NULL), 0);
    assert_memory_equal(&table, &before, sizeof(table));
    assert_int_equal(cpuid_set_xsave_layout(&table, &(struct cpuid_xsave_layout){.offset = {[9] = 832}}, NULL), 0);
    cpuid_get_xsave_layout(&table, &layout);
    assert_int_equal(layout.offset[9], 832);
    assert_int_equal(layout.offset[2], 576);
    assert_int_equal(cpuid_find(&table, 0xd, 0)->ecx, 840);
}

static void test_descriptions_there_and_back(void **state)
{
    struct cpuid_description before, after;
    struct buffer text = BUFFER_INIT(CPUID_DESCRIPTION_MAX);
    struct cpuid_table table;
    struct err err = ERR_INIT;

    host(&table, LEVEL_3 " pku", 2688, 46);
    cpuid_describe(&table, "dbt", &before);
    before.tsc_khz = 2596136;
    before.tsc_fixed = true;
    assert_int_equal(cpuid_description_print(&before, &text), 0);
    assert_int_equal(cpuid_description_parse((const char *)text.data, text.size, &after, &err), 0);
    assert_string_equal(after.engine, "dbt");
    assert_int_equal(after.physical_bits, 46);
    assert_int_equal(after.tsc_khz, 2596136);
    assert_true(after.tsc_fixed);
    assert_memory_equal(&before.features, &after.features, sizeof(before.features));
    assert_memory_equal(before.xstate, after.xstate, sizeof(before.xstate));
    buffer_fini(&text);
}

static void test_bad_descriptions(void **state)
{
    static const char *const bad[] = {"", "ferry-cpu 1", "ferry-cpu 2\n", "ferry-cpu 1\nphysical-bits\n", "ferry-cpu 1\nphysical-bits 99\n",
                                      "ferry-cpu 1\nxstate 1 2\n", "ferry-cpu 1\nxstate 1 2 x\n", "ferry-cpu 1\nengine\n",
                                      "ferry-cpu 1\ntsc 1 fixed\n", "ferry-cpu 1\ntsc 2000000\n", "ferry-cpu 1\ntsc 2000000 maybe\n"};
    struct cpuid_description d;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(cpuid_description_parse(bad[i], strlen(bad[i]), &d, &err), -EBADMSG);
        assert_true(err.message[0] != 0);
    }
    static const char future[] = "ferry-cpu 1\n# from tomorrow\nfeatures fpu nonsense\nfeatures sse\nnew-key 1\nxstate 40 8 8\n\n";
    assert_int_equal(cpuid_description_parse(future, strlen(future), &d, NULL), 0);
    assert_true(cpuid_features_have(&d.features, WORD_1_EDX, 0) && cpuid_features_have(&d.features, WORD_1_EDX, 25));
}

static void baseline_of(const char *features_a, uint32_t offset_a, uint32_t bits_a, const char *features_b, uint32_t offset_b,
                        uint32_t bits_b, const char *expected)
{
    static const char *const names[] = {"host-a", "host-b"};
    struct cpuid_table table[2], built[2];
    struct cpuid_description list[2];
    struct err err = ERR_INIT;
    char model[CPUID_MODEL_MAX];

    host(&table[0], features_a, offset_a, bits_a);
    host(&table[1], features_b, offset_b, bits_b);
    for (unsigned i = 0; i < 2; i++)
        cpuid_describe(&table[i], "dbt", &list[i]);
    if (cpuid_baseline(list, names, 2, model, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(model, expected);
    for (unsigned i = 0; i < 2; i++) { /* and both can build it, alike */
        const struct cpuid_request request = {.model = model, .supported = &table[i], .cpus = 2, .tsc_khz = 2000000};
        if (cpuid_build(&request, &built[i], &err) < 0)
            fail_msg("%s", err.message);
    }
    if (cpuid_compare(&built[0], &built[1], true, &err) < 0)
        fail_msg("%s", err.message);
}

static void test_baseline(void **state)
{
    baseline_of(LEVEL_3 " smap vmx", 2688, 46, LEVEL_3 " adx", 2688, 52, "x86-64-v3");
    baseline_of(LEVEL_3 " smap sha_ni", 2688, 46, LEVEL_2 " smap sha_ni avx xsave", 2688, 48, "x86-64-v2,+xsave,+avx,+smap,+sha_ni");
    baseline_of(LEVEL_3 " pku", 2688, 46, LEVEL_3 " pku", 2688, 46, "x86-64-v3,+pku");
    baseline_of(LEVEL_3 " pku", 2688, 46, LEVEL_3 " pku", 832, 39, "x86-64-v3,phys-bits=39"); /* PKRU lies elsewhere */
}

static void test_no_baseline(void **state)
{
    static const char *const names[] = {"host-a", "host-b"};
    struct cpuid_description list[2];
    struct cpuid_table table;
    struct err err = ERR_INIT;
    char model[CPUID_MODEL_MAX];

    host(&table, LEVEL_3, 2688, 46);
    cpuid_describe(&table, "dbt", &list[0]);
    host(&table, "fpu lm sse sse2", 2688, 46);
    cpuid_describe(&table, "dbt", &list[1]);
    assert_int_equal(cpuid_baseline(list, names, 2, model, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "host-b has not even model x86-64-v1: it lacks de pse tsc"));
}

/* "" when there is none. */
static const char *baseline_tsc(uint32_t khz_a, bool fixed_a, uint32_t khz_b, bool fixed_b)
{
    static const char *const names[] = {"host-a", "host-b"};
    struct cpuid_description list[2];
    struct cpuid_table table;
    static char model[CPUID_MODEL_MAX];
    static struct err err;

    host(&table, LEVEL_2, 2688, 46);
    for (unsigned i = 0; i < 2; i++) {
        cpuid_describe(&table, "kvm", &list[i]);
        list[i].tsc_khz = i == 0 ? khz_a : khz_b;
        list[i].tsc_fixed = i == 0 ? fixed_a : fixed_b;
    }
    return cpuid_baseline(list, names, 2, model, &err) == 0 ? model : err.message;
}

static void test_baseline_of_tscs(void **state)
{
    assert_string_equal(baseline_tsc(2000000, false, 3000000, false), "x86-64-v2");
    assert_string_equal(baseline_tsc(0, false, 3000000, true), "x86-64-v2");
    assert_string_equal(baseline_tsc(3000100, true, 3000000, true), "x86-64-v2");
    assert_string_equal(baseline_tsc(2000000, true, 3000000, false), "x86-64-v2,tsc-frequency=2000000000");
    assert_string_equal(baseline_tsc(2000000, false, 3000000, true), "x86-64-v2,tsc-frequency=3000000000");
    assert_string_equal(baseline_tsc(2000000, true, 3000000, true),
                        "the time stamp counter of host-a runs at 2000000 kHz and that of host-b at 3000000 kHz, and their engine kvm can "
                        "scale neither, so that no VM can move between them: use --engine dbt on one of them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_cpus_agree),
        cmocka_unit_test(test_refusals_name_both_sides),
        cmocka_unit_test(test_long_mode),
        cmocka_unit_test(test_other_differences),
        cmocka_unit_test(test_impossible_layouts),
        cmocka_unit_test(test_descriptions_there_and_back),
        cmocka_unit_test(test_bad_descriptions),
        cmocka_unit_test(test_baseline),
        cmocka_unit_test(test_no_baseline),
        cmocka_unit_test(test_baseline_of_tscs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
