/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said of a downtime. */
#include "check.h"

#include "migration/progress.h"

static void test_within(void **state)
{
    struct migration_progress progress = {.downtime_us = 300999};
    char text[200] = "x";

    migration_downtime_sentence(&progress, 300, text, sizeof(text));
    assert_string_equal(text, "");
}

/* A tenth and more of it is worth naming. */
static void test_overrun(void **state)
{
    struct migration_progress progress = {.downtime_us = 912345};
    char text[300], cut[40];

    progress.downtime_part_us[DOWNTIME_CPUS] = 700000;
    progress.downtime_part_us[DOWNTIME_MEMORY] = 91000;
    progress.downtime_part_us[DOWNTIME_DISKS] = 120345;
    migration_downtime_sentence(&progress, 300, text, sizeof(text));
    assert_string_equal(text, "the VM stood for 912 ms, and its limit is 300 ms: 700 ms until its CPUs stood, "
                              "120 ms to write out the disks");
    migration_downtime_sentence(&progress, 300, cut, sizeof(cut));
    assert_true(strlen(cut) < sizeof(cut));
}

static void test_names(void **state)
{
    for (unsigned i = 0; i < DOWNTIME_PARTS; i++)
        for (unsigned n = 0; n < i; n++)
            assert_string_not_equal(migration_downtime_part_name((enum downtime_part)i),
                                    migration_downtime_part_name((enum downtime_part)n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_within), cmocka_unit_test(test_overrun), cmocka_unit_test(test_names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
