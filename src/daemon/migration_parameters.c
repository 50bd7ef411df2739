/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client asks of a migration, read from its parameters, and said to the VM that sends in its own terms. */
#include <inttypes.h>
#include <string.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/domain.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"
#include "protocol/rpc.h"

#define DOWNTIME_MS 300

/* --- from the client ------------------------------------------------------------------------------------ */

static int refuse_flags(uint32_t flags, struct err *err)
{
    static const struct {
        uint32_t flag;
        const char *what;
    } unsupported[] = {
        {0x4, "tunnelled migration"}, {0x400, "offline migration"},  {0x4000, "RDMA"},
        {0x40000, "synchronous writes of copied disks (a guest that is faster than the way is throttled)"},
        {0x100000, "zero-copy"},      {~MIGRATE_FLAGS, "such flag"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(unsupported); i++) {
        if ((flags & unsupported[i].flag) != 0)
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration has no %s here", unsupported[i].what);
    }
    return 0;
}

static bool take_text(const struct rpc_param *param, struct migration_request *request)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"migrate_uri", &request->uri}, {"destination_name", &request->name}, {"destination_xml", &request->xml},
                 {"persistent_xml", &request->persistent_xml}, {"listen_address", &request->listen_address},
                 {"tls.destination", &request->tls_destination}};

    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        if (text_equal(param->name, texts[i].name)) {
            *texts[i].text = param->s;
            return true;
        }
    }
    if (text_equal(param->name, "migrate_disks") && request->disks < MIGRATION_DISKS_MAX) {
        request->disk[request->disks++] = param->s;
        return true;
    }
    return false;
}

static bool take_number(const struct rpc_param *param, struct migration_request *request)
{
    const struct {
        const char *name;
        enum rpc_param_type type;
        uint64_t *number;
    } numbers[] = {{"bandwidth", RPC_PARAM_ULLONG, &request->bandwidth_mib},
                   {"bandwidth.postcopy", RPC_PARAM_ULLONG, &request->postcopy_bandwidth_mib},
                   {"compression.xbzrle.cache", RPC_PARAM_ULLONG, &request->delta_cache},
                   {"auto_converge.initial", RPC_PARAM_INT, &request->throttle_initial},
                   {"auto_converge.increment", RPC_PARAM_INT, &request->throttle_increment},
                   {"parallel.connections", RPC_PARAM_INT, &request->connections}};

    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (text_equal(param->name, numbers[i].name) && param->type == numbers[i].type) {
            *numbers[i].number = param->type == RPC_PARAM_ULLONG ? param->u : (uint64_t)param->i;
            return true;
        }
    }
    return false;
}

/* One method of "compression": differences beside one packer. */
static int take_compression(const char *method, struct migration_request *request, struct err *err)
{
    if (text_equal(method, "xbzrle"))
        request->delta = true;
    else if (!text_equal(method, "zstd") && !text_equal(method, "lz4") && !text_equal(method, "auto"))
        return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: compression method '%.40s': there are zstd, lz4, "
                       "auto (when the way is slower than the compressor) and, beside one of them or alone, xbzrle", method);
    else if (request->compression != NULL && !text_equal(request->compression, method))
        return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: compression by both '%s' and '%s'",
                       request->compression, method);
    else
        request->compression = method;
    return 0;
}

static int take_parameter(const struct rpc_param *param, struct migration_request *request, struct err *err)
{
    if (param->type == RPC_PARAM_STRING && text_equal(param->name, "compression"))
        return take_compression(param->s, request, err);
    if (text_starts_with(param->name, "disks_"))
        return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: disks that are copied go by the migration's own "
                       "connection: there is no %.80s", param->name);
    if (param->type == RPC_PARAM_STRING ? take_text(param, request) : take_number(param, request))
        return 0;
    return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration parameter '%.80s'", param->name);
}

/* Parameters that mean nothing without a flag, as libvirt has it; but auto_converge, whose flag clients keep from a destination. */
static int check_flags(const struct migration_request *request, struct err *err)
{
    const struct {
        bool given;
        uint32_t flags;
        const char *parameter, *needs;
    } rules[] = {
        {request->disks > 0, MIGRATE_COPY, "migrate_disks", "VIR_MIGRATE_NON_SHARED_DISK or VIR_MIGRATE_NON_SHARED_INC"},
        {request->connections != 0, MIGRATE_PARALLEL, "parallel.connections", "VIR_MIGRATE_PARALLEL"},
        {request->compression != NULL || request->delta || request->delta_cache != 0, MIGRATE_COMPRESSED, "compression",
         "VIR_MIGRATE_COMPRESSED"},
        {request->tls_destination != NULL, MIGRATE_TLS, "tls.destination", "VIR_MIGRATE_TLS"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        if (rules[i].given && (request->flags & rules[i].flags) == 0)
            return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "invalid argument: the parameter %s needs the flag %s",
                           rules[i].parameter, rules[i].needs);
    }
    return 0;
}

int migration_read_request(const struct rpc_param *params, size_t count, uint32_t flags, struct migration_request *ret_request,
                           struct err *err)
{
    struct migration_request request = {.flags = flags};
    int r = refuse_flags(flags, err);

    for (size_t i = 0; r == 0 && i < count; i++)
        r = take_parameter(&params[i], &request, err);
    if (r == 0)
        r = check_flags(&request, err);
    if (r < 0)
        return r;
    if ((flags & MIGRATE_COMPRESSED) != 0 && request.compression == NULL && !request.delta) {
        request.compression = "auto";
        request.delta = true;
    }
    *ret_request = request;
    return 0;
}

/* --- to the VM ------------------------------------------------------------------------------------------ */

static json_t *bytes_a_second(uint64_t mib)
{
    return json_integer((json_int_t)(migration_speed(mib) << 20));
}

static void put_postcopy_bandwidth(json_t *parameters, const struct domain *domain, const struct migration_request *request)
{
    uint64_t mib = request->postcopy_bandwidth_mib != 0 ? request->postcopy_bandwidth_mib : domain->limits.postcopy_mib;

    json_object_set_new(parameters, "max-postcopy-bandwidth", bytes_a_second(mib));
}

/* With QEMU's defaults for what is not said: what was asked for the last time does not count. */
static json_t *parameters_of(const struct domain *domain, const struct migration_request *request)
{
    const struct {
        const char *name;
        uint64_t value, otherwise;
    } numbers[] = {{"downtime-limit", domain->limits.downtime_ms, DOWNTIME_MS},
                   {"multifd-channels", request->connections, 2},
                   {"xbzrle-cache-size", request->delta_cache, UINT64_C(64) << 20},
                   {"cpu-throttle-initial", request->throttle_initial, 20},
                   {"cpu-throttle-increment", request->throttle_increment, 10}};
    json_t *parameters = json_object();

    json_object_set_new(parameters, "max-bandwidth",
                        bytes_a_second(request->bandwidth_mib != 0 ? request->bandwidth_mib : domain->limits.bandwidth_mib));
    put_postcopy_bandwidth(parameters, domain, request);
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        json_object_set_new(parameters, numbers[i].name,
                            json_integer((json_int_t)(numbers[i].value != 0 ? numbers[i].value : numbers[i].otherwise)));
    json_object_set_new(parameters, "multifd-compression", json_string(request->compression != NULL ? request->compression : "none"));
    json_object_set_new(parameters, "tls-hostname", json_string(request->tls_destination != NULL ? request->tls_destination : ""));
    return parameters;
}

static json_t *capabilities_of(const struct migration_request *request)
{
    const struct {
        const char *name;
        bool on;
    } capabilities[] = {{"postcopy-ram", (request->flags & MIGRATE_POSTCOPY) != 0},
                        {"multifd", (request->flags & MIGRATE_PARALLEL) != 0},
                        {"xbzrle", request->delta}};
    json_t *list = json_array();

    for (unsigned i = 0; i < ARRAY_SIZE(capabilities); i++)
        json_array_append_new(list, json_pack("{s:s, s:b}", "capability", capabilities[i].name, "state", capabilities[i].on));
    return json_pack("{s:o}", "capabilities", list);
}

int migration_set_parameters(struct domain *domain, const struct migration_request *request, struct err *err)
{
    int r = monitor_call(domain->monitor, "migrate-set-parameters", parameters_of(domain, request), NULL, err);

    return r < 0 ? r : monitor_call(domain->monitor, "migrate-set-capabilities", capabilities_of(request), NULL, err);
}

int migration_set_postcopy_bandwidth(struct domain *domain, const struct migration_request *request, struct err *err)
{
    json_t *parameters = json_object();

    put_postcopy_bandwidth(parameters, domain, request);
    return monitor_call(domain->monitor, "migrate-set-parameters", parameters, NULL, err);
}

void migration_vmm_address(const char *uri, uint32_t flags, char ret_address[static 512])
{
    const char *scheme = text_starts_with(uri, "tcp://") ? "tcp://" : "tcp:";

    if (text_starts_with(uri, scheme)) {
        uri += strlen(scheme);
        text_format(ret_address, 512, "%s:%.*s", (flags & MIGRATE_TLS) != 0 ? "tls" : "tcp", (int)strcspn(uri, "/"), uri);
    } else {
        text_format(ret_address, 512, "%s", uri);
    }
}
