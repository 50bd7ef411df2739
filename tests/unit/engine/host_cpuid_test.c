/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models, baselines and comparisons on the CPUID of real hosts, old and new, of both vendors, with both engines: every pair. */
#include "host_cpuid.h"

#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "x86/cpuid_baseline.h"
#include "x86/cpuid_compare.h"
#include "x86/cpuid_xsave.h"

static const struct {
    const char *name;
    unsigned kvm, dbt; /* the highest level with either engine */
} hosts[] = {
    {"intel-nehalem", 2, 2}, {"intel-sandy-bridge", 2, 2}, {"intel-haswell", 3, 3}, {"intel-skylake", 4, 3}, {"intel-ice-lake", 4, 3},
    {"amd-bulldozer", 2, 2}, {"amd-zen", 3, 3},            {"amd-zen2", 3, 3},      {"amd-zen4", 4, 3},
};

#define SIDES (2 * ARRAY_SIZE(hosts))

/* A host with one engine. */
static struct side {
    char name[40];
    unsigned level;
    struct cpuid_table host, supported;
    struct cpuid_description description;
} sides[SIDES];

/* As people carry it: printed there, read here. */
static void carry(struct side *side, const char *engine)
{
    struct buffer text = BUFFER_INIT(CPUID_DESCRIPTION_MAX);
    struct cpuid_description description;
    struct err err = ERR_INIT;

    cpuid_describe(&side->supported, engine, &description);
    assert_int_equal(cpuid_description_print(&description, &text), 0);
    if (cpuid_description_parse((const char *)text.data, text.size, &side->description, &err) < 0)
        fail_msg("%s: %s", side->name, err.message);
    buffer_fini(&text);
}

static int load(void **state)
{
    for (unsigned i = 0; i < SIDES; i++) {
        struct side *side = &sides[i];
        bool kvm = i % 2 == 0;

        snprintf(side->name, sizeof(side->name), "%s/%s", hosts[i / 2].name, kvm ? "kvm" : "dbt");
        side->level = kvm ? hosts[i / 2].kvm : hosts[i / 2].dbt;
        host_cpuid_load(hosts[i / 2].name, &side->host);
        if (kvm)
            host_cpuid_kvm(&side->host, &side->supported);
        else
            dbt_cpuid_offered(&side->host, &side->supported);
        carry(side, kvm ? "kvm" : "dbt");
    }
    return 0;
}

static int build(const struct side *side, const char *model, struct cpuid_table *ret_table, struct err *err)
{
    const struct cpuid_request request = {
        .model = model, .supported = &side->supported, .cpus = 4, .tsc_khz = 2600000, .host = &side->host};

    return cpuid_build(&request, ret_table, err);
}

static void must_build(const struct side *side, const char *model, struct cpuid_table *ret_table)
{
    struct err err = ERR_INIT;

    if (build(side, model, ret_table, &err) < 0)
        fail_msg("%s on %s: %s", model, side->name, err.message);
}

static bool same(const struct cpuid_table *a, const struct cpuid_table *b)
{
    for (unsigned i = 0; i < a->count && i < b->count; i++) {
        const struct cpuid_entry *x = &a->entry[i], *y = &b->entry[i];

        if (x->leaf != y->leaf || x->subleaf != y->subleaf || x->indexed != y->indexed || x->eax != y->eax || x->ebx != y->ebx ||
            x->ecx != y->ecx || x->edx != y->edx)
            return false;
    }
    return a->count == b->count;
}

static void test_whole(void **state)
{
    for (unsigned i = 0; i < SIDES; i++) {
        assert_true(sides[i].host.count > 12 && sides[i].host.count < CPUID_ENTRIES_MAX);
        assert_true(sides[i].supported.count < CPUID_ENTRIES_MAX);
        assert_true(cpuid_is_intel(&sides[i].host) == (memcmp(sides[i].name, "intel", 5) == 0));
    }
}

/* Every host has its levels and no more; what it lacks is named, and it does lack that. */
static void test_levels(void **state)
{
    for (unsigned i = 0; i < SIDES; i++) {
        struct cpuid_level level;
        struct cpuid_features have;

        cpuid_features_get(&sides[i].supported, &have);
        for (unsigned l = 0; cpuid_level(l, &level); l++) {
            struct cpuid_table table;
            struct err err = ERR_INIT;
            int r = build(&sides[i], level.name, &table, &err);

            if ((r == 0) != (l < sides[i].level))
                fail_msg("%s on %s: %d %s", level.name, sides[i].name, r, err.message);
            for (unsigned w = 0; r < 0 && w < CPUID_WORDS; w++)
                for (unsigned bit = 0; bit < 32; bit++)
                    if ((level.features.word[w] & ~have.word[w]) >> bit & 1 &&
                        strstr(err.message, cpuid_feature_name((enum cpuid_word)w, bit)) == NULL)
                        fail_msg("%s is not in: %s", cpuid_feature_name((enum cpuid_word)w, bit), err.message);
        }
    }
}

/* What no engine can move stays away from guests, whatever the host has. */
static void test_masked(void **state)
{
    for (unsigned i = 0; i < SIDES; i++) {
        static const char *const models[] = {"max", "host"};

        for (unsigned m = 0; m < ARRAY_SIZE(models); m++) {
            const struct cpuid_entry *e;
            struct cpuid_table table;

            must_build(&sides[i], models[m], &table);
            e = cpuid_find(&table, 1, 0);
            assert_int_equal(e->ecx & (BIT(2) | BIT(3) | BIT(5) | BIT(6) | BIT(15)), 0); /* DTES64, MONITOR, VMX, SMX, PDCM */
            e = cpuid_find(&table, 7, 0);
            assert_int_equal(e->ebx & (BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(25)), 0);
            e = cpuid_find(&table, 0x80000001, 0);
            assert_int_equal(e->ecx & (BIT(2) | BIT(10) | BIT(12) | BIT(15)), 0); /* SVM, IBS, SKINIT, LWP */
            e = cpuid_find(&table, 0xd, 0);
            assert_true(e == NULL || (e->eax & ~0x2e7u) == 0);
        }
    }
}

/* "host" is that host, whoever computes it. */
static void test_host_model(void **state)
{
    for (unsigned i = 0; i < SIDES; i += 2) {
        struct cpuid_table table;

        must_build(&sides[i], "host", &table);
        assert_int_equal(cpuid_find(&table, 1, 0)->eax, cpuid_find(&sides[i].host, 1, 0)->eax);
        assert_true(cpuid_is_intel(&table) == cpuid_is_intel(&sides[i].host));
        if (cpuid_find(&sides[i].host, 0x80000004, 0) != NULL)
            assert_int_equal(cpuid_find(&table, 0x80000003, 0)->ebx, cpuid_find(&sides[i].host, 0x80000003, 0)->ebx);
    }
}

static bool has_avx512(const struct cpuid_table *table)
{
    return cpuid_find(table, 0xd, 5) != NULL;
}

static void expect_avx512_refused(const struct cpuid_table *a, const struct cpuid_table *b)
{
    struct err err = ERR_INIT;
    char there[24], here[24];

    snprintf(there, sizeof(there), "at byte %u of", cpuid_find(a, 0xd, 5)->ebx);
    snprintf(here, sizeof(here), "at byte %u,", cpuid_find(b, 0xd, 5)->ebx);
    assert_int_equal(cpuid_compare(a, b, true, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, there));
    assert_non_null(strstr(err.message, here));
    assert_non_null(strstr(err.message, "-avx512f"));
}

/* A named model is the same CPU wherever there is one; but for AVX-512, which hardware of two vendors saves at other places. */
static void test_named_models(void **state)
{
    unsigned moved = 0, refused = 0;

    for (unsigned i = 0; i < SIDES; i++) {
        for (unsigned k = 0; k < SIDES; k++) {
            struct cpuid_level level;

            for (unsigned l = 0; cpuid_level(l, &level) && l < sides[i].level && l < sides[k].level; l++) {
                struct cpuid_table a, b;

                must_build(&sides[i], level.name, &a);
                must_build(&sides[k], level.name, &b);
                if (has_avx512(&a) && cpuid_is_intel(&sides[i].host) != cpuid_is_intel(&sides[k].host)) {
                    expect_avx512_refused(&a, &b);
                    refused++;
                    continue;
                }
                assert_true(same(&a, &b));
                assert_int_equal(cpuid_compare(&a, &b, true, NULL), 0);
                moved++;
            }
        }
    }
    assert_int_equal(refused, 4); /* two hosts of one vendor and one of the other, both ways */
    assert_true(moved > 500);
}

static const struct side *side_of(const char *name)
{
    for (unsigned i = 0; i < SIDES; i++)
        if (strcmp(sides[i].name, name) == 0)
            return &sides[i];
    fail_msg("no %s", name);
    return NULL;
}

/* Protection keys, whose place differs too: between processors refused; dbt takes the place that the guest's first host has. */
static void test_layout_is_followed(void **state)
{
    static const char *const from[] = {"intel-skylake/kvm", "intel-ice-lake/kvm", "amd-zen4/kvm", "amd-zen4/dbt"};
    static const char *const to[] = {"intel-haswell/dbt", "amd-zen/dbt", "intel-ice-lake/kvm", "amd-zen4/kvm"};

    for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
        for (unsigned k = 0; k < ARRAY_SIZE(to); k++) {
            struct cpuid_xsave_layout layout;
            struct cpuid_table a, b;
            struct err err = ERR_INIT;
            bool alike;

            must_build(side_of(from[i]), "x86-64-v3,+pku", &a);
            must_build(side_of(to[k]), "x86-64-v3,+pku", &b);
            alike = (strcmp(from[i], "amd-zen4/kvm") == 0) == (strcmp(to[k], "amd-zen4/kvm") == 0);
            assert_int_equal(cpuid_compare(&a, &b, true, &err), alike ? 0 : -ENOTSUP);
            assert_true(alike || (strstr(err.message, "byte 2432") != NULL && strstr(err.message, "byte 2688") != NULL));
            cpuid_get_xsave_layout(&a, &layout);
            assert_int_equal(cpuid_set_xsave_layout(&b, &layout, &err), 0);
            assert_true(same(&a, &b));
        }
    }
}

/* The highest level that both have and see alike. */
static unsigned common_level(const struct side *a, const struct side *b)
{
    unsigned level = a->level < b->level ? a->level : b->level;

    return level == 4 && cpuid_is_intel(&a->host) != cpuid_is_intel(&b->host) ? 3 : level;
}

static void check_subset(const struct cpuid_table *table, const struct side *side)
{
    struct cpuid_features features, have;

    cpuid_features_get(table, &features);
    cpuid_features_get(&side->supported, &have);
    have.word[WORD_1_EDX] |= 1u << 28;                                          /* HTT, CMP_LEGACY: of the VM's CPUs */
    have.word[WORD_80000001_ECX] |= 2;
    have.word[WORD_80000001_EDX] |= features.word[WORD_1_EDX] & 0x0183f3ff;     /* AMD's repetition of leaf 1 */
    have.word[WORD_1_ECX] |= BIT(31);
    for (unsigned w = 0; w < CPUID_WORDS; w++)
        assert_int_equal(features.word[w] & ~have.word[w], 0);
}

static void test_baselines(void **state)
{
    for (unsigned i = 0; i < SIDES; i++) {
        for (unsigned k = 0; k < SIDES; k++) {
            const struct cpuid_description list[] = {sides[i].description, sides[k].description};
            const char *const names[] = {sides[i].name, sides[k].name};
            char model[CPUID_MODEL_MAX], level[16];
            struct cpuid_table a, b;
            struct err err = ERR_INIT;

            if (cpuid_baseline(list, names, 2, model, &err) < 0)
                fail_msg("%s and %s: %s", names[0], names[1], err.message);
            snprintf(level, sizeof(level), "x86-64-v%u", common_level(&sides[i], &sides[k]));
            if (strncmp(model, level, strlen(level)) != 0)
                fail_msg("%s and %s have %s and not %s", names[0], names[1], model, level);
            must_build(&sides[i], model, &a);
            must_build(&sides[k], model, &b);
            check_subset(&a, &sides[i]);
            check_subset(&a, &sides[k]);
            assert_true(same(&a, &b));
            if (cpuid_compare(&a, &b, true, &err) < 0)
                fail_msg("%s and %s: %s", names[0], names[1], err.message);
        }
    }
}

/* Word for word, so that a change of what is computed shows. */
static void test_particular_baselines(void **state)
{
    static const struct {
        const char *a, *b, *model;
    } list[] = {
        {"intel-nehalem/kvm", "intel-ice-lake/kvm",
         "x86-64-v2,+tsc_adjust"},
        {"intel-sandy-bridge/kvm", "amd-bulldozer/kvm",
         "x86-64-v2,+pclmulqdq,+aes,+xsave,+avx,+pdpe1gb"},
        {"intel-haswell/kvm", "amd-zen/kvm",
         "x86-64-v3,+tsc_adjust,+pdpe1gb"},
        {"intel-skylake/kvm", "intel-ice-lake/kvm",
         "x86-64-v4,+pcid,+tsc_adjust,+erms,+invpcid,+pku,+pdpe1gb,+3dnowprefetch"},
        {"intel-ice-lake/kvm", "amd-zen4/kvm",
         "x86-64-v3,+pcid,+tsc_adjust,+erms,+invpcid,+rdseed,+adx,+smap,+clflushopt,+clwb,+sha_ni,+umip,+gfni,+vaes"
         ",+vpclmulqdq,+rdpid,+fsrm,+xsavec,+xgetbv1,+pdpe1gb,+3dnowprefetch"},
        {"amd-bulldozer/kvm", "amd-zen4/kvm",
         "x86-64-v2,+pclmulqdq,+aes,+xsave,+avx,+pdpe1gb,+abm,+3dnowprefetch"},
        {"amd-zen2/kvm", "amd-zen4/dbt",
         "x86-64-v3,+tsc_adjust,+rdseed,+adx,+smap,+clflushopt,+clwb,+sha_ni,+umip,+rdpid,+xsavec,+xgetbv1,+pdpe1gb"
         ",+3dnowprefetch"},
        {"amd-zen4/kvm", "amd-zen4/dbt",
         "x86-64-v3,+pcid,+tsc_adjust,+erms,+invpcid,+rdseed,+adx,+smap,+clflushopt,+clwb,+sha_ni,+umip,+gfni,+vaes"
         ",+vpclmulqdq,+rdpid,+fsrm,+xsavec,+xgetbv1,+pdpe1gb,+3dnowprefetch"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        const struct cpuid_description pair[] = {side_of(list[i].a)->description, side_of(list[i].b)->description};
        char model[CPUID_MODEL_MAX];

        assert_int_equal(cpuid_baseline(pair, (const char *const[]){list[i].a, list[i].b}, 2, model, NULL), 0);
        assert_string_equal(model, list[i].model);
    }
}

/* The most of one host does not go to the other; either side's sentence has both CPUs in it. */
static void test_refusals(void **state)
{
    for (unsigned i = 0; i < SIDES; i += 2) {
        for (unsigned k = 0; k < SIDES; k += 2) {
            struct cpuid_table a, b;
            struct err err = ERR_INIT;

            must_build(&sides[i], "host", &a);
            must_build(&sides[k], "host", &b);
            assert_int_equal(cpuid_compare(&a, &b, true, &err), i == k ? 0 : -ENOTSUP);
            assert_true(i == k || (strstr(err.message, "source") != NULL && strstr(err.message, "destination") != NULL));
            if (cpuid_is_intel(&a) != cpuid_is_intel(&b))
                assert_true(strstr(err.message, "GenuineIntel") != NULL && strstr(err.message, "AuthenticAMD") != NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),           cmocka_unit_test(test_levels),    cmocka_unit_test(test_masked),
        cmocka_unit_test(test_host_model),      cmocka_unit_test(test_named_models), cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_particular_baselines), cmocka_unit_test(test_refusals), cmocka_unit_test(test_layout_is_followed),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
