/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When a migration stops the guest, and how much it slows it. */
#include "check.h"

#include "base/bits.h"
#include "migration/convergence.h"
#include "migration/parameters.h"

/* Rounds of a guest with `memory` bytes in its working set that dirties `rate` bytes a second unthrottled, until it is stopped. */
struct outcome {
    unsigned rounds, throttle;
    uint64_t downtime_us;
};

static struct outcome simulate(uint64_t memory, uint64_t rate, uint64_t bandwidth, const struct migration_parameters *parameters)
{
    struct convergence c = {.round_trip_us = 100};
    struct outcome outcome = {0};
    uint64_t left = memory;

    while (outcome.rounds < 200) {
        uint64_t us = left * 1000000 / bandwidth + 1, dirtied = rate / 100 * (100 - c.throttle) / 1000000 * us;
        dirtied = dirtied < memory ? dirtied : memory;
        const struct round round = {
            .sent = left, .plain = left, .busy_us = us, .total_us = us, .written = dirtied, .dirty = dirtied};

        outcome.rounds++;
        if (convergence_decide(&c, &round, parameters) == CONVERGENCE_STOP)
            break;
        left = round.dirty;
    }
    outcome.throttle = c.throttle;
    outcome.downtime_us = c.expected_us;
    return outcome;
}

static void test_idle(void **state)
{
    const struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct outcome outcome = simulate(MIB(100), MIB(1), GIB(1), &parameters);

    assert_true(outcome.rounds <= 3);
    assert_int_equal(outcome.throttle, 0);
    assert_true(outcome.downtime_us < 10000);
}

static void test_overrun(void **state)
{
    const struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT; /* 300 ms */
    const struct convergence c = {.pace = MIB(100)};

    assert_int_equal(parameters.downtime_limit_ms, 300);
    assert_false(convergence_overruns(&c, 0, &parameters));
    assert_false(convergence_overruns(&c, MIB(37), &parameters));
    assert_true(convergence_overruns(&c, MIB(38), &parameters));
    assert_true(convergence_overruns(&(struct convergence){0}, 1, &parameters));
}

/* What fits the limit already is made smaller as long as that is cheap. */
static void test_halving(void **state)
{
    const struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct outcome outcome = simulate(MIB(250), MIB(250), GIB(1), &parameters);

    assert_true(outcome.rounds >= 3);
    assert_int_equal(outcome.throttle, 0);
    assert_true(outcome.downtime_us < 50000);
}

/* A guest that writes nearly as fast as the way: rounds go on while the rest would take long, but not for ever. */
static void test_nearly_as_fast(void **state)
{
    const struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct outcome outcome = simulate(MIB(250), MIB(180), MIB(256), &parameters);

    assert_true(outcome.rounds > 3 && outcome.rounds < 12);
    assert_true(outcome.downtime_us < 60000);
    outcome = simulate(MIB(60), MIB(1024), MIB(256), &parameters); /* no round makes it shorter */
    assert_true(outcome.rounds <= 4);
    assert_int_equal(outcome.throttle, 0);
}

static void test_throttling(void **state)
{
    struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;

    for (unsigned factor = 1; factor <= 16; factor *= 2) {
        struct outcome outcome = simulate(GIB(1), factor * MIB(100), MIB(100), &parameters);

        assert_true(outcome.throttle > 0);
        assert_true(outcome.rounds < 30);
        assert_true(outcome.downtime_us <= 300000);
    }
    parameters.auto_converge = false;
    assert_int_equal(simulate(GIB(1), MIB(200), MIB(100), &parameters).rounds, 200);
}

static void test_throttle_is_bounded(void **state)
{
    struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;

    parameters.throttle_max = 50;
    assert_int_equal(simulate(GIB(1), GIB(10), MIB(10), &parameters).throttle, 50);
}

/* A first answer that took long must not keep a migration from ending: no further round makes it shorter. */
static void test_slow_answers(void **state)
{
    const struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct convergence c = {.round_trip_us = 5000000};
    const struct round round = {.sent = MIB(1), .plain = MIB(1), .busy_us = 1000, .total_us = 1000, .dirty = 0};

    assert_int_equal(convergence_decide(&c, &round, &parameters), CONVERGENCE_ITERATE); /* once: it might halve */
    assert_int_equal(convergence_decide(&c, &round, &parameters), CONVERGENCE_STOP);
}

static void test_zero_limit(void **state)
{
    struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct convergence c = {.round_trip_us = 100};
    struct round round = {.sent = MIB(1), .plain = MIB(1), .busy_us = 1000, .total_us = 1000, .written = 4096, .dirty = 4096};

    parameters.downtime_limit_ms = 0;
    assert_int_equal(convergence_decide(&c, &round, &parameters), CONVERGENCE_ITERATE);
    round.dirty = 0;
    assert_int_equal(convergence_decide(&c, &round, &parameters), CONVERGENCE_STOP);
}

static void test_prediction(void **state)
{
    struct migration_parameters parameters = MIGRATION_PARAMETERS_DEFAULT;
    struct prediction prediction;

    convergence_predict(GIB(1), MIB(100), 0, &(struct dirtying){0, 0}, &parameters, &prediction);
    assert_int_equal(prediction.rounds, 2);
    assert_true(prediction.total_ms > 10000 && prediction.total_ms < 11000);
    assert_in_range(prediction.downtime_ms, 0, 5);
    convergence_predict(GIB(1), MIB(100), 0, &(struct dirtying){MIB(50), MIB(50)}, &parameters, &prediction);
    assert_true(prediction.rounds > 3 && prediction.throttle == 0);
    convergence_predict(0, MIB(100), 0, &(struct dirtying){0, 0}, &parameters, &prediction);
    assert_int_equal(prediction.rounds, 2);

    /* A guest that is faster than the way is throttled, or does not come to an end. */
    convergence_predict(GIB(1), MIB(100), 0, &(struct dirtying){MIB(200), MIB(200)}, &parameters, &prediction);
    assert_true(prediction.rounds > 3 && prediction.throttle > 50);
    parameters.auto_converge = false;
    convergence_predict(GIB(1), MIB(100), 0, &(struct dirtying){MIB(200), MIB(200)}, &parameters, &prediction);
    assert_int_equal(prediction.rounds, 0);

    /* One that writes the same 8 MiB over and over is slow in the long run, and dirties them all in each round. */
    convergence_predict(MIB(64), MIB(100), 0, &(struct dirtying){MIB(160), MIB(8)}, &parameters, &prediction);
    assert_in_range(prediction.downtime_ms, 70, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),           cmocka_unit_test(test_halving),
        cmocka_unit_test(test_overrun),        cmocka_unit_test(test_nearly_as_fast),
        cmocka_unit_test(test_throttling),
        cmocka_unit_test(test_throttle_is_bounded), cmocka_unit_test(test_slow_answers),
        cmocka_unit_test(test_zero_limit),     cmocka_unit_test(test_prediction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
