/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration on the control socket. */
#include "vmm/control_migrate.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "memory/memory.h"
#include "vmm/control_arguments.h"
#include "vmm/machine.h"
#include "vmm/migrate.h"

/* What QEMU has and Ferry does otherwise, or not. */
static const struct absent {
    const char *name, *instead;
} absent[] = {
    {"tls-creds", "the address tls:HOST:PORT says it, and the VM's --tls-dir where the certificates are"},
    {"tls-authz", "whoever has a certificate of the authority may come"},
    {"block-incremental", "what the destination has of a disk is never sent"},
    {"compress-level", "multifd-compression packs, on one channel too"},
    {"compress-threads", "multifd-compression packs, on as many channels as there are"},
    {"compress-wait-thread", "multifd-compression packs, on as many channels as there are"},
    {"decompress-threads", "multifd-compression packs, on as many channels as there are"},
    {"multifd-zlib-level", "zstd and lz4 are there, at the level that is fastest"},
    {"multifd-zstd-level", "the level is the fastest one"},
    {"throttle-trigger-threshold", "it is two thirds"},
    {"cpu-throttle-tailslow", "cpu-throttle-increment is there"},
    {"x-checkpoint-delay", "there is no COLO"},
    {"compress", "multifd-compression packs, on one channel too"},
    {"rdma-pin-all", "there is no RDMA"},
    {"x-colo", "there is no COLO"},
    {"release-ram", "the source keeps its memory until it is ended"},
    {"pause-before-switchover", "disks are handed over within the migration"},
    {"dirty-bitmaps", "there are none"},
    {"postcopy-blocktime", "it is not measured"},
    {"late-block-activate", "disks are taken at the handover"},
    {"x-ignore-shared", "memory is never shared between hosts"},
    {"validate-uuid", "machines are compared by their descriptions"},
    {"background-snapshot", "x-ferry-save is there"},
    {"zero-copy-send", "pages are sent from where they lie, and copied by the kernel"},
};

static const char *instead_of(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        if (text_equal(absent[i].name, name))
            return absent[i].instead;
    return NULL;
}

/* --- parameters ----------------------------------------------------------------------------------------- */

enum parameter_kind { KIND_NUMBER, KIND_NUMBER_64, KIND_COMPRESSION, KIND_TEXT };

struct parameter {
    const char *name;
    size_t offset; /* in struct migration_parameters */
    enum parameter_kind kind;
    uint64_t min, max; /* of a text: length */
};

#define MEMBER(member) offsetof(struct migration_parameters, member)

static const struct parameter parameters[] = {
    {"max-bandwidth", MEMBER(max_bandwidth), KIND_NUMBER_64, 0, INT64_MAX},
    {"max-postcopy-bandwidth", MEMBER(postcopy_bandwidth), KIND_NUMBER_64, 0, INT64_MAX},
    {"downtime-limit", MEMBER(downtime_limit_ms), KIND_NUMBER_64, 0, 2000000},
    {"multifd-channels", MEMBER(channels), KIND_NUMBER, 1, 16},
    {"multifd-compression", MEMBER(compression), KIND_COMPRESSION, 0, 0},
    {"xbzrle-cache-size", MEMBER(delta_cache_size), KIND_NUMBER_64, 4096, INT64_MAX},
    {"cpu-throttle-initial", MEMBER(throttle_initial), KIND_NUMBER, 1, 99},
    {"cpu-throttle-increment", MEMBER(throttle_increment), KIND_NUMBER, 1, 99},
    {"max-cpu-throttle", MEMBER(throttle_max), KIND_NUMBER, 1, 99},
    {"announce-initial", MEMBER(announce_initial_ms), KIND_NUMBER, 0, 100000},
    {"announce-max", MEMBER(announce_max_ms), KIND_NUMBER, 0, 100000},
    {"announce-rounds", MEMBER(announce_rounds), KIND_NUMBER, 1, 1000},
    {"announce-step", MEMBER(announce_step_ms), KIND_NUMBER, 0, 10000},
    {"tls-hostname", MEMBER(tls_hostname), KIND_TEXT, 0, TLS_HOSTNAME_MAX},
};

static const char *const compressions[] = {
    [COMPRESSION_NONE] = "none", [COMPRESSION_ZSTD] = "zstd", [COMPRESSION_LZ4] = "lz4", [COMPRESSION_AUTO] = "auto"};

static int set_compression(void *member, const json_t *value, struct err *err)
{
    for (unsigned i = 0; json_is_string(value) && i < ARRAY_SIZE(compressions); i++) {
        if (text_equal(json_string_value(value), compressions[i])) {
            *(enum migration_compression *)member = (enum migration_compression)i;
            return 0;
        }
    }
    return err_set(err, -EINVAL, "Parameter 'multifd-compression' expects none, zstd, lz4 or auto");
}

static int set_text(const struct parameter *parameter, char *member, const json_t *value, struct err *err)
{
    size_t length = json_string_length(value);

    if (!json_is_string(value) || length > parameter->max || strlen(json_string_value(value)) != length)
        return err_set(err, -EINVAL, "Parameter '%s' expects a string of at most %llu characters", parameter->name,
                       (unsigned long long)parameter->max);
    memcpy(member, json_string_value(value), length + 1);
    return 0;
}

static int set_parameter(const struct parameter *parameter, struct migration_parameters *out, const json_t *value,
                         struct err *err)
{
    void *member = (char *)out + parameter->offset;
    json_int_t number = json_integer_value(value);

    if (parameter->kind == KIND_COMPRESSION)
        return set_compression(member, value, err);
    if (parameter->kind == KIND_TEXT)
        return set_text(parameter, member, value, err);
    if (!json_is_integer(value) || number < (json_int_t)parameter->min || (uint64_t)number > parameter->max)
        return err_set(err, -EINVAL, "Parameter '%s' expects an integer from %llu to %llu", parameter->name,
                       (unsigned long long)parameter->min, (unsigned long long)parameter->max);
    if (parameter->kind == KIND_NUMBER_64)
        *(uint64_t *)member = (uint64_t)number;
    else
        *(unsigned *)member = (unsigned)number;
    return 0;
}

int control_set_parameters(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    struct migration_parameters changed = *migrate_parameters(machine);
    const char *key;
    json_t *value;

    json_object_foreach(arguments, key, value)
    {
        const struct parameter *found = NULL;
        int r;

        for (unsigned i = 0; i < ARRAY_SIZE(parameters); i++)
            if (text_equal(parameters[i].name, key))
                found = &parameters[i];
        if (found == NULL && instead_of(key) != NULL)
            return err_set(err, -EINVAL, "Parameter '%s' is not there: %s", key, instead_of(key));
        if (found == NULL)
            return err_set(err, -EINVAL, "Parameter '%.64s' is unexpected", key);
        r = set_parameter(found, &changed, value, err);
        if (r < 0)
            return r;
    }
    migrate_set_parameters(machine, &changed);
    return 0;
}

int control_query_parameters(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const struct migration_parameters *now = migrate_parameters(machine);
    json_t *object = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(parameters); i++) {
        const void *member = (const char *)now + parameters[i].offset;

        if (parameters[i].kind == KIND_COMPRESSION)
            json_object_set_new(object, parameters[i].name,
                                json_string(compressions[*(const enum migration_compression *)member]));
        else if (parameters[i].kind == KIND_TEXT)
            json_object_set_new(object, parameters[i].name, json_string(member));
        else
            json_object_set_new(
                object, parameters[i].name,
                json_integer((json_int_t)(parameters[i].kind == KIND_NUMBER_64 ? *(const uint64_t *)member
                                                                               : *(const unsigned *)member)));
    }
    *ret_value = object;
    return 0;
}

struct capability {
    const char *name;
    size_t offset; /* of a bool; ALWAYS: it can't be switched off */
};

#define ALWAYS SIZE_MAX

static const struct capability capabilities[] = {
    {"multifd", MEMBER(multifd)}, {"auto-converge", MEMBER(auto_converge)},
    {"events", MEMBER(events)},   {"postcopy-ram", MEMBER(postcopy)},
    {"block", MEMBER(storage)},   {"xbzrle", MEMBER(delta)},
    {"return-path", ALWAYS},      {"zero-blocks", ALWAYS},
    {"postcopy-preempt", ALWAYS},
};

static bool switched_on(const struct migration_parameters *now, const struct capability *capability)
{
    return capability->offset == ALWAYS || *(const bool *)((const char *)now + capability->offset);
}

static int set_capability(struct migration_parameters *out, const json_t *item, struct err *err)
{
    const char *name = json_string_value(json_object_get(item, "capability"));
    const json_t *state = json_object_get(item, "state");

    if (name == NULL || !json_is_boolean(state))
        return err_set(err, -EINVAL, "each of 'capabilities' has 'capability', a string, and 'state', a boolean");
    for (unsigned i = 0; i < ARRAY_SIZE(capabilities); i++) {
        if (!text_equal(capabilities[i].name, name))
            continue;
        if (capabilities[i].offset == ALWAYS && json_is_false(state))
            return err_set(err, -EINVAL, "capability '%s' can't be switched off", name);
        if (capabilities[i].offset != ALWAYS)
            *(bool *)((char *)out + capabilities[i].offset) = json_is_true(state);
        return 0;
    }
    if (instead_of(name) == NULL)
        return err_set(err, -EINVAL, "there is no capability '%.64s'", name);
    return json_is_false(state) ? 0 : err_set(err, -EINVAL, "capability '%s' is not there: %s", name, instead_of(name));
}

int control_set_capabilities(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    struct migration_parameters changed = *migrate_parameters(machine);
    json_t *list = json_object_get(arguments, "capabilities"), *item;
    size_t i;
    int r = 0;

    if (migrate_is_under_way(machine)) /* both sides were told of them at the beginning */
        return err_set(err, -EBUSY, "the VM is being migrated: capabilities are set before");
    if (!json_is_array(list))
        return err_set(err, -EINVAL, "Parameter 'capabilities' is missing");
    json_array_foreach(list, i, item)
    {
        r = set_capability(&changed, item, err);
        if (r < 0)
            return r;
    }
    migrate_set_parameters(machine, &changed);
    return 0;
}

int control_query_capabilities(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const struct migration_parameters *now = migrate_parameters(machine);
    json_t *list = json_array();

    for (unsigned i = 0; i < ARRAY_SIZE(capabilities); i++) {
        json_array_append_new(list, json_pack("{s:s, s:b}", "capability", capabilities[i].name, "state",
                                              switched_on(now, &capabilities[i])));
    }
    *ret_value = list;
    return 0;
}

/* --- what is under way ---------------------------------------------------------------------------------- */

static void set_integer(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

/* Bytes by phase: while the guest ran here, stood, ran there. */
static void add_phases(json_t *object, const struct migration_progress *progress)
{
    uint64_t now = progress->transferred, gone = progress->transferred_gone != 0 ? progress->transferred_gone : now;
    uint64_t stop = progress->stage >= STAGE_STOP ? progress->transferred_stop : now;

    set_integer(object, "precopy-bytes", stop);
    set_integer(object, "downtime-bytes", gone - stop);
    set_integer(object, "postcopy-bytes", now - gone);
}

static json_t *ram(const struct migration_progress *progress, const struct migration_parameters *chosen,
                   int64_t until_ns)
{
    double seconds = (double)(until_ns - progress->start_ns) / 1e9;
    uint64_t pages = progress->normal + progress->delta_pages;
    bool several = chosen->multifd && chosen->channels > 1;
    json_t *object = json_object();

    set_integer(object, "transferred", progress->transferred);
    set_integer(object, "remaining", progress->remaining);
    set_integer(object, "total", progress->ram_total);
    set_integer(object, "duplicate", progress->duplicate);
    set_integer(object, "skipped", progress->delta_same);
    set_integer(object, "normal", progress->normal);
    set_integer(object, "normal-bytes", progress->normal * MEMORY_PAGE_SIZE);
    set_integer(object, "dirty-pages-rate", progress->dirty_rate);
    json_object_set_new(object, "mbps", json_real(seconds > 0 ? (double)progress->transferred * 8 / 1e6 / seconds : 0));
    set_integer(object, "dirty-sync-count", progress->rounds);
    set_integer(object, "postcopy-requests", progress->requests);
    set_integer(object, "page-size", MEMORY_PAGE_SIZE);
    set_integer(object, "pages-per-second", seconds > 0 ? (uint64_t)((double)pages / seconds) : 0);
    set_integer(object, "multifd-bytes", several ? progress->transferred : 0);
    set_integer(object, "dirty-sync-missed-zero-copy", 0);
    add_phases(object, progress);
    return object;
}

/* QEMU's members that mean nothing for disks are zero, as there. */
static json_t *disk(const struct migration_progress *progress, int64_t until_ns)
{
    static const char *const zero[] = {"duplicate",         "skipped",          "normal",         "normal-bytes",
                                       "dirty-pages-rate",  "dirty-sync-count", "multifd-bytes",  "pages-per-second",
                                       "postcopy-requests", "precopy-bytes",    "postcopy-bytes", "downtime-bytes",
                                       "dirty-sync-missed-zero-copy"};
    double seconds = (double)(until_ns - progress->start_ns) / 1e9;
    json_t *object = json_object();

    set_integer(object, "transferred", progress->disk_transferred);
    set_integer(object, "remaining", progress->disk_remaining);
    set_integer(object, "total", progress->disk_total);
    json_object_set_new(object, "mbps",
                        json_real(seconds > 0 ? (double)progress->disk_transferred * 8 / 1e6 / seconds : 0));
    for (unsigned i = 0; i < ARRAY_SIZE(zero); i++)
        set_integer(object, zero[i], 0);
    set_integer(object, "page-size", MEMORY_PAGE_SIZE);
    return object;
}

/* QEMU's fields. Rates: of the pages in question, how many were not in the cache; of their bytes, what one of a
 * difference stands for. */
static json_t *delta(const struct migration_progress *progress, uint64_t cache_size)
{
    uint64_t found = progress->delta_pages + progress->delta_same + progress->delta_overflows;
    uint64_t asked = found + progress->delta_misses, bytes = progress->delta_bytes;
    json_t *object = json_object();

    set_integer(object, "cache-size", cache_size);
    set_integer(object, "bytes", bytes);
    set_integer(object, "pages", progress->delta_pages);
    set_integer(object, "cache-miss", progress->delta_misses);
    json_object_set_new(object, "cache-miss-rate",
                        json_real(asked > 0 ? (double)progress->delta_misses / (double)asked : 0));
    json_object_set_new(object, "encoding-rate",
                        json_real(bytes > 0 ? (double)(progress->delta_pages * MEMORY_PAGE_SIZE) / (double)bytes : 0));
    set_integer(object, "overflow", progress->delta_overflows);
    return object;
}

static json_t *downtime_parts(const struct migration_progress *progress)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < DOWNTIME_PARTS; i++)
        set_integer(object, migration_downtime_part_name((enum downtime_part)i), progress->downtime_part_us[i]);
    return object;
}

static void add_times(json_t *object, const struct migration_progress *progress, int64_t until_ns)
{
    enum migration_status status = progress->status;

    set_integer(object, "total-time", (uint64_t)(until_ns - progress->start_ns) / 1000000);
    if (progress->setup_ns != 0)
        set_integer(object, "setup-time", (uint64_t)(progress->setup_ns - progress->start_ns) / 1000000);
    if (status == MIGRATION_COMPLETED) {
        set_integer(object, "downtime", (progress->downtime_us + 500) / 1000);
        set_integer(object, "x-ferry-downtime-us", progress->downtime_us);
        json_object_set_new(object, "x-ferry-downtime-parts-us", downtime_parts(progress));
    } else {
        set_integer(object, "expected-downtime", progress->expected_downtime_us / 1000);
    }
    if (progress->throttle > 0)
        set_integer(object, "cpu-throttle-percentage", progress->throttle);
    set_integer(object, "x-ferry-bandwidth", progress->bandwidth);
}

static json_t *prediction(const struct migration_progress *progress)
{
    json_t *object = json_object();

    set_integer(object, "total-time", progress->predicted_ms);
    set_integer(object, "rounds", progress->predicted_rounds);
    set_integer(object, "downtime", progress->predicted_downtime_ms);
    set_integer(object, "throttle", progress->predicted_throttle);
    set_integer(object, "memory", progress->remaining);
    set_integer(object, "disk", progress->predicted_disk);
    set_integer(object, "bandwidth", progress->bandwidth);
    set_integer(object, "dirty-pages-rate", progress->dirty_rate);
    return object;
}

/* Where a source is waited for, as QEMU tells it: with port 0 that is not known otherwise. */
static json_t *waiting_at(struct machine *machine)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (!migrate_waits_at(machine, (struct sockaddr *)&address, &size))
        return NULL;
    if (address.ss_family == AF_UNIX)
        return json_pack("[{s:s, s:s}]", "type", "unix", "path", ((struct sockaddr_un *)&address)->sun_path);
    if (getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return NULL;
    return json_pack("[{s:s, s:s, s:s}]", "type", "inet", "host", host, "port", port);
}

int control_query_migrate(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const struct migration_progress *progress = migrate_progress(machine);
    json_t *object = json_object();
    char text[1024];
    int64_t until_ns;

    *ret_value = object;
    json_object_set_new(object, "socket-address", waiting_at(machine)); /* NULL: it is not set */
    if (progress == NULL)
        return 0;
    json_object_set_new(object, "status", json_string(migration_status_name(progress->status)));
    json_object_set_new(object, "x-ferry-stage", json_string(migration_stage_name(progress->stage)));
    migrate_message(machine, text, sizeof(text));
    if (text[0] != 0)
        json_object_set_new(object, "error-desc", json_string(text));
    if (!migrate_is_source(machine))
        return 0;
    if (progress->predicted) {
        json_object_set_new(object, "x-ferry-prediction", prediction(progress));
        return 0;
    }
    until_ns = progress->end_ns != 0 ? progress->end_ns : host_monotonic_ns();
    json_object_set_new(object, "ram", ram(progress, migrate_parameters(machine), until_ns));
    if (progress->disk_total > 0)
        json_object_set_new(object, "disk", disk(progress, until_ns));
    if (migrate_parameters(machine)->delta)
        json_object_set_new(object, "xbzrle-cache", delta(progress, migrate_parameters(machine)->delta_cache_size));
    add_times(object, progress, until_ns);
    return 0;
}

/* --- commands ------------------------------------------------------------------------------------------- */

/* The URI; "fd:NAME" of a descriptor that came by getfd becomes fd:NUMBER, and the descriptor is the migration's then.
 */
static int get_uri(struct machine *machine, json_t *arguments, char *ret_uri, size_t size, struct err *err)
{
    const char *uri = json_string_value(json_object_get(arguments, "uri"));
    uint64_t number;
    int fd, r;

    if (uri == NULL)
        return err_set(err, -EINVAL, "Parameter 'uri' is missing");
    if (text_starts_with(uri, "fd:") && text_parse_u64(uri + 3, &number) < 0) {
        r = fd_store_take(&machine->fds, uri + 3, &fd, err);
        return r < 0 ? r : text_format(ret_uri, size, "fd:%d", fd);
    }
    return text_format(ret_uri, size, "%s", uri) < 0 ? err_set(err, -EINVAL, "the URI is too long") : 0;
}

/* Only what differs is sent in either case, so blk and inc are one. */
static bool wants_storage(json_t *arguments)
{
    return json_is_true(json_object_get(arguments, "blk")) || json_is_true(json_object_get(arguments, "inc"));
}

/* A choice of disks; the texts are the arguments'. */
static int get_disks(const json_t *list, struct migrate_order *order, struct err *err)
{
    json_t *item;
    size_t i;

    if (list != NULL && (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > MIGRATE_DISKS_MAX))
        return err_set(err, -EINVAL, "Parameter 'x-ferry-disks' expects a list of 1 to %u names of disks", MIGRATE_DISKS_MAX);
    if (list != NULL && !order->storage)
        return err_set(err, -EINVAL, "'x-ferry-disks' chooses the disks that are copied, and needs 'blk'");
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return err_set(err, -EINVAL, "Parameter 'x-ferry-disks' expects a list of names");
        order->disk[order->disks++] = json_string_value(item);
    }
    return 0;
}

int control_migrate(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"uri", "detach", "resume", "blk", "inc", "x-ferry-disks", "x-ferry-dry-run", NULL};
    char uri[512];
    struct migrate_order order = {.uri = uri,
                                  .dry_run = json_is_true(json_object_get(arguments, "x-ferry-dry-run")),
                                  .storage = wants_storage(arguments)};
    int r = control_check_keys(arguments, allowed, err);

    if (r == 0)
        r = get_uri(machine, arguments, uri, sizeof(uri), err);
    if (r == 0 && json_is_true(json_object_get(arguments, "resume")))
        return migrate_resume(machine, uri, err);
    if (r == 0)
        r = get_disks(json_object_get(arguments, "x-ferry-disks"), &order, err);
    return r < 0 ? r : migrate_outgoing(machine, &order, err);
}

int control_migrate_incoming(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    char uri[512];
    int r = get_uri(machine, arguments, uri, sizeof(uri), err);

    return r < 0 ? r : migrate_incoming(machine, uri, err);
}

int control_migrate_cancel(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    return migrate_cancel(machine, err);
}

int control_start_postcopy(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    return migrate_start_postcopy(machine, err);
}

int control_migrate_pause(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    return migrate_pause(machine, err);
}

int control_migrate_recover(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    return migrate_recover(machine, json_string_value(json_object_get(arguments, "uri")), err);
}

int control_migrate_settle(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *outcome = json_string_value(json_object_get(arguments, "outcome"));

    if (outcome == NULL || (!text_equal(outcome, "run") && !text_equal(outcome, "discard")))
        return err_set(err, -EINVAL,
                       "Parameter 'outcome' expects run (the VM is here) or discard (it is on the other side)");
    return migrate_settle(machine, text_equal(outcome, "run"), err);
}
