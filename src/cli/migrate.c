/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry migrate. */
#include "cli/migrate.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/progress.h"

enum { EXIT_THERE = 0, EXIT_HERE = 1, EXIT_BAD_INPUT = 2, EXIT_UNSETTLED = 3 };

#define POLL_US 200000

struct options {
    const char *control, *uri, *settle;
    const char *compress, *tls_hostname;
    uint64_t bandwidth, downtime_ms, channels;
    bool has_bandwidth, has_downtime, dry_run, cancel, keep, copy_storage;
    bool postcopy, resume, delta, no_throttle;
};

static const char help[] =
    "usage: ferry migrate --control SOCKET URI [OPTION]...\n"
    "Moves a running VM to one that was started with the same options and --incoming URI.\n"
    "URI: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, fd:NUMBER (a descriptor of the VM's process)\n\n"
    "  --bandwidth RATE    at most so much a second while the VM runs here, like 100M; 0: no limit\n"
    "  --downtime MS       stop the VM when what remains takes no longer than this\n"
    "  --channels N        several connections at once\n"
    "  --compress METHOD   none, zstd, lz4, or auto: when the way is slower than the compressor\n"
    "  --delta             over a slow way, send again only what changed in a page (xbzrle)\n"
    "  --no-throttle       leave a VM that is faster than the way its CPU time; it then moves when the way takes it\n"
    "  --postcopy          what two rounds have not moved follows when the VM runs there already; until then it needs both hosts\n"
    "  --resume            instead of beginning: go on with post-copy whose connection was lost\n"
    "  --tls-hostname NAME whom the destination's certificate is for, if not for the URI's HOST\n"
    "  --copy-storage      copy the disks that both sides do not share; begun again, only what differs is sent\n"
    "  --dry-run           check everything, measure, predict; nothing moves\n"
    "  --keep              leave this VM's process, paused, when the VM has gone\n"
    "  --cancel            instead: stop a migration that is under way\n"
    "  --settle run|discard  instead: after a loss at the point of decision, say that the VM is here, or there\n\n"
    "What is set stays set for this VM's later migrations. An interrupt (Ctrl-C) cancels the migration; a second one\n"
    "leaves it to itself.\n"
    "Exit code: 0 the VM is there, 1 it runs on here, 2 bad input, 3 to be settled or resumed.\n";

static int complain(const struct err *err, int code)
{
    fprintf(stderr, "ferry: %s\n", err->message);
    return code;
}

/* --- options -------------------------------------------------------------------------------------------- */

static int parse_number(const char *name, const char *value, uint64_t max, uint64_t *ret_number, struct err *err)
{
    if (text_parse_u64(value, ret_number) < 0 || *ret_number > max)
        return err_set(err, -EINVAL, "%s must be a number up to %llu, not '%s'", name, (unsigned long long)max, value);
    return 0;
}

static int parse_valued(struct options *options, const char *name, const char *value, struct err *err)
{
    if (text_equal(name, "--control")) {
        options->control = value;
    } else if (text_equal(name, "--settle")) {
        options->settle = value;
    } else if (text_equal(name, "--compress")) {
        options->compress = value;
    } else if (text_equal(name, "--tls-hostname")) {
        options->tls_hostname = value;
    } else if (text_equal(name, "--channels")) {
        return parse_number(name, value, 16, &options->channels, err);
    } else if (text_equal(name, "--downtime")) {
        options->has_downtime = true;
        return parse_number(name, value, 2000000, &options->downtime_ms, err);
    } else if (text_equal(name, "--bandwidth")) {
        options->has_bandwidth = true;
        if (text_parse_size(value, 1, &options->bandwidth) < 0)
            return err_set(err, -EINVAL, "--bandwidth must be bytes a second, like 100M, not '%s'", value);
    } else {
        return err_set(err, -EINVAL, "unknown option '%.40s'; ferry migrate --help lists them", name);
    }
    return 0;
}

static bool parse_flag(struct options *options, const char *name)
{
    struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--dry-run", &options->dry_run}, {"--cancel", &options->cancel}, {"--keep", &options->keep},
                 {"--copy-storage", &options->copy_storage}, {"--postcopy", &options->postcopy},
                 {"--resume", &options->resume}, {"--delta", &options->delta},
                 {"--no-throttle", &options->no_throttle}};

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        if (text_equal(name, flags[i].name)) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static int parse(int argc, char *argv[], struct options *options, struct err *err)
{
    int r = 0;

    for (int i = 1; r == 0 && i < argc; i++) {
        char *equals = text_starts_with(argv[i], "--") ? strchr(argv[i], '=') : NULL;

        if (!text_starts_with(argv[i], "--")) {
            r = options->uri != NULL ? err_set(err, -EINVAL, "'%.60s' is one argument too many", argv[i]) : 0;
            options->uri = argv[i];
        } else if (parse_flag(options, argv[i])) {
            continue;
        } else if (equals != NULL) {
            *equals = 0;
            r = parse_valued(options, argv[i], equals + 1, err);
        } else if (i + 1 < argc) {
            r = parse_valued(options, argv[i], argv[i + 1], err);
            i++;
        } else {
            r = err_set(err, -EINVAL,
                        "unknown option '%.40s', or its value is missing; ferry migrate --help lists them", argv[i]);
        }
    }
    if (r == 0 && options->control == NULL)
        r = err_set(err, -EINVAL, "--control SOCKET is missing; ferry migrate --help says more");
    if (r == 0 && options->uri == NULL && !options->cancel && options->settle == NULL)
        r = err_set(err, -EINVAL,
                    "where the VM is to go is missing, like tcp:host:4444; ferry migrate --help says more");
    return r;
}

/* --- commands ------------------------------------------------------------------------------------------- */

/* A command whose value does not matter; takes the arguments over. */
static int command(const struct options *options, const char *name, json_t *arguments, struct err *err)
{
    json_t *value = NULL;
    int r = client_call(options->control, name, arguments, &value, err);

    json_decref(value);
    json_decref(arguments);
    return r;
}

/* Those that were asked for are switched on; the others stay as they are. */
static int set_capabilities(const struct options *options, struct err *err)
{
    const struct {
        const char *name;
        bool asked, state;
    } capabilities[] = {{"multifd", options->channels > 0, true}, {"postcopy-ram", options->postcopy, true},
                        {"xbzrle", options->delta, true}, {"auto-converge", options->no_throttle, false}};
    json_t *list = json_array();

    for (unsigned i = 0; i < ARRAY_SIZE(capabilities); i++)
        if (capabilities[i].asked)
            json_array_append_new(list, json_pack("{s:s, s:b}", "capability", capabilities[i].name, "state",
                                                  capabilities[i].state));
    return command(options, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list), err);
}

static int set_parameters(const struct options *options, struct err *err)
{
    json_t *parameters = json_object();
    int r = 0;

    if (options->has_bandwidth)
        json_object_set_new(parameters, "max-bandwidth", json_integer((json_int_t)options->bandwidth));
    if (options->has_downtime)
        json_object_set_new(parameters, "downtime-limit", json_integer((json_int_t)options->downtime_ms));
    if (options->channels > 0)
        json_object_set_new(parameters, "multifd-channels", json_integer((json_int_t)options->channels));
    if (options->compress != NULL)
        json_object_set_new(parameters, "multifd-compression", json_string(options->compress));
    if (options->tls_hostname != NULL)
        json_object_set_new(parameters, "tls-hostname", json_string(options->tls_hostname));
    r = command(options, "migrate-set-parameters", parameters, err);
    return r == 0 && !options->resume ? set_capabilities(options, err) : r;
}

/* --- progress ------------------------------------------------------------------------------------------- */

static double number(json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *text(json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));

    return value != NULL ? value : "";
}

struct display {
    struct progress progress;
    double transferred, at; /* bytes, milliseconds of the last look */
    double rate;            /* bytes a second, of the last interval */
};

static void describe_disk(json_t *disk, char *text, size_t size)
{
    text[0] = 0;
    if (disk != NULL)
        snprintf(text, size, "%.0f of %.0f MiB of disks and ", number(disk, "remaining") / MIB(1), number(disk, "total") / MIB(1));
}

static void show(struct display *display, json_t *answer)
{
    json_t *ram = json_object_get(answer, "ram"), *disk = json_object_get(answer, "disk");
    double sent = number(ram, "transferred") + number(disk, "transferred"), at = number(answer, "total-time"), eta;
    char line[260], key[40], disks[80];

    if (at > display->at)
        display->rate = (sent - display->transferred) * 1000 / (at - display->at);
    display->transferred = sent;
    display->at = at;
    eta = display->rate > 0 ? (number(ram, "remaining") + number(disk, "remaining")) / display->rate : 0;
    describe_disk(disk, disks, sizeof(disks));
    snprintf(key, sizeof(key), "%s/%.0f", text(answer, "x-ferry-stage"), number(ram, "dirty-sync-count"));
    snprintf(line, sizeof(line),
             "%s: round %.0f, %s%.0f of %.0f MiB left, %.1f MiB/s, dirty %.1f MiB/s, downtime about %.0f ms, ETA %.1f s",
             text(answer, "x-ferry-stage"), number(ram, "dirty-sync-count"), disks, number(ram, "remaining") / MIB(1),
             number(ram, "total") / MIB(1), display->rate / MIB(1), number(ram, "dirty-pages-rate") * 4096 / MIB(1),
             number(answer, "expected-downtime"), eta);
    if (text_equal(text(answer, "status"), "setup"))
        text_format(line, sizeof(line), "setup");
    progress_show(&display->progress, key, line);
}

static bool over(const char *status)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "x-ferry-unsettled", "postcopy-paused", "none", ""};

    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++)
        if (text_equal(status, ends[i]))
            return true;
    return false;
}

static void cancel_it(const struct options *options, struct progress *progress)
{
    struct err err = ERR_INIT;

    if (command(options, "migrate_cancel", NULL, &err) < 0) {
        progress_clear(progress);
        fprintf(stderr, "ferry: %s\n", err.message);
    }
}

/* Two rounds have shown that the way does not take it all. If it can't be begun, the migration is about to end without. */
static bool begin_postcopy(const struct options *options, json_t *answer)
{
    return options->postcopy && text_equal(text(answer, "status"), "active") &&
           number(json_object_get(answer, "ram"), "dirty-sync-count") > 2 &&
           command(options, "migrate-start-postcopy", NULL, NULL) == 0;
}

/* Looks until it is over; *ret_answer is the last look. */
static int watch(const struct options *options, json_t **ret_answer, struct err *err)
{
    struct display display = {0};
    bool begun = false;

    progress_begin(&display.progress);
    for (;;) {
        json_t *answer = NULL;
        int r;

        if (progress_interrupted())
            cancel_it(options, &display.progress);
        r = client_call(options->control, "query-migrate", NULL, &answer, err);
        if (r < 0)
            return r;
        begun = begun || begin_postcopy(options, answer);
        if (over(text(answer, "status"))) {
            progress_clear(&display.progress);
            *ret_answer = answer;
            return 0;
        }
        if (!options->dry_run)
            show(&display, answer);
        json_decref(answer);
        usleep(POLL_US);
    }
}

static int report_prediction(json_t *prediction)
{
    double rounds = number(prediction, "rounds");

    if (number(prediction, "disk") > 0)
        printf("its disks that would be copied hold %.0f MiB\n", number(prediction, "disk") / MIB(1));
    printf("the VM could move: %.0f MiB in use, %.1f MiB/s measured, %.1f MiB/s dirtied\n",
           number(prediction, "memory") / MIB(1), number(prediction, "bandwidth") / MIB(1),
           number(prediction, "dirty-pages-rate") * 4096 / MIB(1));
    if (rounds > 0)
        printf("it would take about %.1f s, %.0f rounds and %.0f ms of downtime\n",
               number(prediction, "total-time") / 1000, rounds, number(prediction, "downtime"));
    else
        printf("it dirties memory faster than the way takes it, even throttled, and the migration would not end: give it more "
               "--bandwidth or --downtime, or --postcopy\n");
    if (number(prediction, "throttle") > 0)
        printf("it dirties memory faster than the way takes it, and would be throttled, by up to %.0f%% of its CPU time\n",
               number(prediction, "throttle"));
    return EXIT_THERE;
}

static int report(const struct options *options, json_t *answer, struct err *err)
{
    json_t *ram = json_object_get(answer, "ram"), *disk = json_object_get(answer, "disk");
    const char *status = text(answer, "status");

    if (json_object_get(answer, "x-ferry-prediction") != NULL)
        return report_prediction(json_object_get(answer, "x-ferry-prediction"));
    if (text_equal(status, "x-ferry-unsettled")) {
        fprintf(stderr, "ferry: %s; ferry migrate --settle gives that command\n", text(answer, "error-desc"));
        return EXIT_UNSETTLED;
    }
    if (text_equal(status, "postcopy-paused")) {
        fprintf(stderr, "ferry: %s; ferry migrate --resume does that, --settle discard is the other\n", text(answer, "error-desc"));
        return EXIT_UNSETTLED;
    }
    if (!text_equal(status, "completed")) {
        fprintf(stderr, "ferry: the migration %s%s %s\n", text_equal(status, "cancelled") ? "was " : "", status,
                text(answer, "error-desc"));
        return EXIT_HERE;
    }
    printf("moved in %.2f s: %.0f rounds, %.1f MiB, downtime %.1f ms\n", number(answer, "total-time") / 1000,
           number(ram, "dirty-sync-count"), (number(ram, "transferred") + number(disk, "transferred")) / MIB(1),
           number(answer, "x-ferry-downtime-us") / 1000);
    if (text(answer, "error-desc")[0] != 0)
        fprintf(stderr, "ferry: %s\n", text(answer, "error-desc"));
    if (!options->keep && command(options, "quit", NULL, err) < 0)
        return complain(err, EXIT_THERE);
    return EXIT_THERE;
}

static json_t *order(const struct options *options)
{
    if (options->resume)
        return json_pack("{s:s, s:b}", "uri", options->uri, "resume", 1);
    return json_pack("{s:s, s:b, s:b}", "uri", options->uri, "x-ferry-dry-run", options->dry_run, "blk", options->copy_storage);
}

/* It is paused until the VM has taken up the order. */
static void await_resumed(const struct options *options)
{
    for (unsigned i = 0; options->resume && i < 10; i++) {
        json_t *answer = NULL;
        bool paused = client_call(options->control, "query-migrate", NULL, &answer, NULL) == 0 &&
                      text_equal(text(answer, "status"), "postcopy-paused");

        json_decref(answer);
        if (!paused)
            return;
        usleep(50000);
    }
}

static int migrate(const struct options *options, struct err *err)
{
    json_t *answer = NULL;
    int code = EXIT_BAD_INPUT;

    if (set_parameters(options, err) < 0 || command(options, "migrate", order(options), err) < 0)
        return complain(err, EXIT_BAD_INPUT);
    await_resumed(options);
    if (watch(options, &answer, err) < 0)
        return complain(err, EXIT_BAD_INPUT);
    code = report(options, answer, err);
    json_decref(answer);
    return code;
}

int migrate_main(int argc, char *argv[])
{
    struct options options = {0};
    struct err err = ERR_INIT;
    int r;

    if (argc == 2 && (text_equal(argv[1], "--help") || text_equal(argv[1], "-h"))) {
        fputs(help, stdout);
        return 0;
    }
    if (parse(argc, argv, &options, &err) < 0)
        return complain(&err, EXIT_BAD_INPUT);
    if (options.settle == NULL && !options.cancel)
        return migrate(&options, &err);
    if (options.cancel)
        r = command(&options, "migrate_cancel", NULL, &err);
    else
        r = command(&options, "x-ferry-migrate-settle", json_pack("{s:s}", "outcome", options.settle), &err);
    return r < 0 ? complain(&err, EXIT_BAD_INPUT) : 0;
}
