/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that look at domains: lists, look-ups, documents, information. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/change.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/tree.h"
#include "daemon/usage.h"
#include "protocol/xml.h"

enum { XML_SECURE = 1, XML_INACTIVE = 2, XML_UPDATE_CPU = 4, XML_MIGRATABLE = 8 };
enum { VCPU_MAXIMUM = 4, VCPU_GUEST = 8 };

/* Pairs of bits of CONNECT_LIST_ALL_DOMAINS: of each pair, neither means any. */
struct filter {
    uint32_t yes, no;
    bool (*test)(const struct domain *domain);
};

static bool is_persistent(const struct domain *domain)
{
    return domain->config != NULL;
}

static bool has_autostart(const struct domain *domain)
{
    return domain->autostart;
}

static bool has_snapshot(const struct domain *domain)
{
    return false;
}

static const struct filter filters[] = {
    {1, 2, domain_active},       {4, 8, is_persistent},          {0x100, 0x200, domain_has_managed_save},
    {0x400, 0x800, has_autostart}, {0x1000, 0x2000, has_snapshot}, {0x4000, 0x8000, has_snapshot},
};

static bool state_matches(const struct domain *domain, uint32_t flags)
{
    uint32_t bit = domain->state == DOMAIN_RUNNING ? 0x10 : domain->state == DOMAIN_PAUSED ? 0x20
                   : domain->state == DOMAIN_SHUTOFF ? 0x40 : 0x80;

    return (flags & 0xf0) == 0 || (flags & bit) != 0;
}

bool domain_matches(const struct domain *domain, uint32_t flags)
{
    for (unsigned i = 0; i < ARRAY_SIZE(filters); i++) {
        uint32_t wanted = flags & (filters[i].yes | filters[i].no);

        if (wanted == filters[i].yes || wanted == filters[i].no) {
            if (filters[i].test(domain) != (wanted == filters[i].yes))
                return false;
        }
    }
    return state_matches(domain, flags);
}

static void put_domain(struct call *call, const struct domain *domain)
{
    rpc_put_domain(&call->out, domain_name(domain), domain_uuid(domain), domain->id);
}

static int list_all_domains(struct call *call)
{
    size_t at = rpc_count_begin(&call->out);
    uint32_t count = 0, put = 0;

    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next) {
        if (!domain_matches(domain, call->arg[1].u))
            continue;
        count++;
        if (call->arg[0].i != 0) {
            put_domain(call, domain);
            put++;
        }
    }
    rpc_count_end(&call->out, at, put);
    xdr_put_u32(&call->out, count);
    return 0;
}

static int count_domains(struct call *call, bool active)
{
    int32_t count = 0;

    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next)
        count += domain_active(domain) == active;
    xdr_put_i32(&call->out, count);
    return 0;
}

static int num_of_domains(struct call *call)
{
    return count_domains(call, true);
}

static int num_of_defined_domains(struct call *call)
{
    return count_domains(call, false);
}

static int list_domains(struct call *call)
{
    size_t at = rpc_count_begin(&call->out);
    uint32_t count = 0;

    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next) {
        if (!domain_active(domain) || (int32_t)count >= call->arg[0].i)
            continue;
        xdr_put_i32(&call->out, domain->id);
        count++;
    }
    rpc_count_end(&call->out, at, count);
    return 0;
}

static int list_defined_domains(struct call *call)
{
    size_t at = rpc_count_begin(&call->out);
    uint32_t count = 0;

    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next) {
        if (domain_active(domain) || (int32_t)count >= call->arg[0].i)
            continue;
        xdr_put_string(&call->out, domain_name(domain));
        count++;
    }
    rpc_count_end(&call->out, at, count);
    return 0;
}

static int lookup_by_id(struct call *call)
{
    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next) {
        if (domain_active(domain) && domain->id == call->arg[0].i) {
            put_domain(call, domain);
            return 0;
        }
    }
    return err_set(&call->err, RPC_FAULT(RPC_NO_DOMAIN), "Domain not found: no domain with matching id %d", call->arg[0].i);
}

static int lookup_by_name(struct call *call)
{
    const struct domain *domain = inventory_find_name(call->daemon, call->arg[0].s);

    if (domain == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_DOMAIN), "Domain not found: no domain with matching name '%.200s'", call->arg[0].s);
    put_domain(call, domain);
    return 0;
}

static int lookup_by_uuid(struct call *call)
{
    const struct domain *domain = inventory_find_uuid(call->daemon, call->arg[0].uuid);
    char uuid[UUID_TEXT_SIZE];

    uuid_format(call->arg[0].uuid, uuid);
    if (domain == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_DOMAIN), "Domain not found: no domain with matching uuid '%s'", uuid);
    put_domain(call, domain);
    return 0;
}

static int get_xml_desc(struct call *call)
{
    const struct domain *domain = call_domain(call, call->arg[0].object);
    uint32_t flags = call->arg[1].u;
    struct buffer text = BUFFER_INIT(XDR_STRING_MAX);
    bool inactive = (flags & XML_INACTIVE) != 0;
    int r = 0;

    if (domain == NULL)
        return call->err.code;
    if ((flags & XML_SECURE) != 0 && call->client->readonly)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_DENIED), "operation forbidden: the document with secrets, for read only access");
    if (inactive && domain->config != NULL)
        r = definition_format(domain->config, -1, &text);
    else
        r = definition_format(domain_definition(domain), inactive ? -1 : domain->id, &text);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)text.data);
    buffer_fini(&text);
    return r;
}

static int get_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    const struct definition *definition;

    if (domain == NULL)
        return call->err.code;
    definition = domain_definition(domain);
    xdr_put_u32(&call->out, domain->state);
    xdr_put_u64(&call->out, definition->memory_kib);
    xdr_put_u64(&call->out, definition->current_kib);
    xdr_put_u32(&call->out, definition->cpus);
    xdr_put_u64(&call->out, usage_of(domain).cpu_ns);
    return 0;
}

static int get_state(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    xdr_put_i32(&call->out, domain->state);
    xdr_put_i32(&call->out, domain->reason);
    return 0;
}

static int put_flag(struct call *call, bool (*test)(const struct domain *domain))
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    xdr_put_i32(&call->out, test(domain));
    return 0;
}

static int is_active(struct call *call)
{
    return put_flag(call, domain_active);
}

static int get_persistent(struct call *call)
{
    return put_flag(call, is_persistent);
}

static int get_autostart(struct call *call)
{
    return put_flag(call, has_autostart);
}

static int has_managed_save(struct call *call)
{
    return put_flag(call, domain_has_managed_save);
}

/* A definition that changed behind the running domain's is not tracked: nothing of it is lost by that. */
static int is_updated(struct call *call)
{
    return put_flag(call, has_snapshot);
}

static int get_os_type(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    xdr_put_string(&call->out, "hvm");
    return 0;
}

static int get_max_memory(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    xdr_put_u64(&call->out, domain_definition(domain)->memory_kib);
    return 0;
}

/* Which of the two definitions flags mean: a sentence if there is none such. */
static int pick(struct call *call, const struct domain *domain, uint32_t flags, const struct definition **ret_definition)
{
    if ((flags & (AFFECT_LIVE | AFFECT_CONFIG)) == (AFFECT_LIVE | AFFECT_CONFIG))
        return err_set(&call->err, -EINVAL, "live and config are two different questions");
    if ((flags & AFFECT_LIVE) != 0 && !domain_active(domain))
        return domain_need_active(domain, &call->err);
    if ((flags & AFFECT_CONFIG) != 0 && domain->config == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "transient domains do not have any persistent config");
    *ret_definition = (flags & AFFECT_CONFIG) != 0 ? domain->config : domain_definition(domain);
    return 0;
}

static int get_vcpus_flags(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    const struct definition *definition = NULL;
    int r;

    if (domain == NULL)
        return call->err.code;
    if ((call->arg[1].u & VCPU_GUEST) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: QEMU guest agent is not configured");
    r = pick(call, domain, call->arg[1].u, &definition);
    if (r == 0)
        xdr_put_i32(&call->out, (int32_t)definition->cpus);
    return r;
}

static int get_max_vcpus(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    xdr_put_i32(&call->out, (int32_t)domain_definition(domain)->cpus);
    return 0;
}

/* Every CPU may run on every host CPU. */
static void put_cpu_maps(struct call *call, unsigned maps, int32_t length)
{
    unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    uint8_t *all = arena_alloc(&call->arena, (size_t)maps * (size_t)length + 1);

    for (unsigned i = 0; all != NULL && i < maps; i++) {
        for (unsigned k = 0; k < cpus && k / 8 < (unsigned)length; k++)
            all[i * (unsigned)length + k / 8] |= 1 << (k % 8);
    }
    xdr_put_opaque(&call->out, all != NULL ? all : (uint8_t *)"", all != NULL ? maps * (size_t)length : 0);
}

static int get_vcpus(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int32_t length = call->arg[2].i;
    unsigned count;
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    if (call->arg[1].i < 0 || length < 0 || length > 1024)
        return err_set(&call->err, -EINVAL, "a CPU map of %d bytes is too long", length);
    count = domain->live->cpus < (unsigned)call->arg[1].i ? domain->live->cpus : (unsigned)call->arg[1].i;
    xdr_put_u32(&call->out, count);
    for (unsigned i = 0; i < count; i++) {
        xdr_put_u32(&call->out, i);
        xdr_put_i32(&call->out, domain->state == DOMAIN_RUNNING);
        xdr_put_u64(&call->out, usage_of_cpu(domain, i));
        xdr_put_i32(&call->out, -1);
    }
    put_cpu_maps(call, count, length);
    return 0;
}

static int get_vcpu_pin_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int32_t maps = call->arg[1].i, length = call->arg[2].i;

    if (domain == NULL)
        return call->err.code;
    if (maps < 0 || length < 0 || maps > 4096 || length > 1024)
        return err_set(&call->err, -EINVAL, "that many CPU maps are too much");
    if ((unsigned)maps > domain_definition(domain)->cpus)
        maps = (int32_t)domain_definition(domain)->cpus;
    put_cpu_maps(call, (unsigned)maps, length);
    xdr_put_i32(&call->out, maps);
    return 0;
}

static int get_emulator_pin_info(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    if (call->arg[1].i < 0 || call->arg[1].i > 1024)
        return err_set(&call->err, -EINVAL, "a CPU map of %d bytes is too long", call->arg[1].i);
    put_cpu_maps(call, 1, call->arg[1].i);
    xdr_put_i32(&call->out, 1);
    return 0;
}

static int get_security_label(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    xdr_put_u32(&call->out, 0);
    xdr_put_i32(&call->out, 0);
    return 0;
}

/* What a definition has that the machine has not, though it was accepted (definition_leave_out_usb). */
static int get_messages(struct call *call)
{
    const struct domain *domain = call_domain(call, call->arg[0].object);
    const xmlNode *devices, *controller;
    size_t at = rpc_count_begin(&call->out);
    uint32_t count = 0;

    if (domain == NULL)
        return call->err.code;
    devices = definition_devices(domain_definition(domain));
    controller = xml_first(devices, "controller");
    while (controller != NULL && !tree_is(controller, "type", "usb"))
        controller = xml_next(controller, "controller");
    if (controller != NULL && ++count > 0)
        xdr_put_string(&call->out, "the machine has no USB: controllers of the definition stand for model 'none'");
    if (xml_first(devices, "channel") != NULL && ++count > 0)
        xdr_put_string(&call->out, "the machine has no channels: the guest agent's is never connected");
    rpc_count_end(&call->out, at, count);
    return 0;
}

static int get_control_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    xdr_put_u32(&call->out, domain->job != JOB_NONE); /* 0: ok, 1: a job */
    xdr_put_u32(&call->out, 0);
    xdr_put_u64(&call->out, 0);
    return 0;
}

/* Ferry has no snapshots and no checkpoints: lists are empty, and nothing is found. */
static int no_snapshots(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    xdr_put_u32(&call->out, 0);
    xdr_put_i32(&call->out, 0);
    return 0;
}

static int zero_snapshots(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    xdr_put_i32(&call->out, 0);
    return 0;
}

const struct call_handler domain_calls[] = {
    {REMOTE_DOMAIN_LIST_ALL_CHECKPOINTS, no_snapshots},
    {REMOTE_CONNECT_LIST_ALL_DOMAINS, list_all_domains},
    {REMOTE_CONNECT_NUM_OF_DOMAINS, num_of_domains},
    {REMOTE_CONNECT_NUM_OF_DEFINED_DOMAINS, num_of_defined_domains},
    {REMOTE_CONNECT_LIST_DOMAINS, list_domains},
    {REMOTE_CONNECT_LIST_DEFINED_DOMAINS, list_defined_domains},
    {REMOTE_DOMAIN_LOOKUP_BY_ID, lookup_by_id},
    {REMOTE_DOMAIN_LOOKUP_BY_NAME, lookup_by_name},
    {REMOTE_DOMAIN_LOOKUP_BY_UUID, lookup_by_uuid},
    {REMOTE_DOMAIN_GET_XML_DESC, get_xml_desc},
    {REMOTE_DOMAIN_GET_INFO, get_info},
    {REMOTE_DOMAIN_GET_STATE, get_state},
    {REMOTE_DOMAIN_IS_ACTIVE, is_active},
    {REMOTE_DOMAIN_IS_PERSISTENT, get_persistent},
    {REMOTE_DOMAIN_GET_AUTOSTART, get_autostart},
    {REMOTE_DOMAIN_HAS_MANAGED_SAVE_IMAGE, has_managed_save},
    {REMOTE_DOMAIN_IS_UPDATED, is_updated},
    {REMOTE_DOMAIN_GET_OS_TYPE, get_os_type},
    {REMOTE_DOMAIN_GET_MAX_MEMORY, get_max_memory},
    {REMOTE_DOMAIN_GET_MAX_VCPUS, get_max_vcpus},
    {REMOTE_DOMAIN_GET_VCPUS_FLAGS, get_vcpus_flags},
    {REMOTE_DOMAIN_GET_VCPUS, get_vcpus},
    {REMOTE_DOMAIN_GET_VCPU_PIN_INFO, get_vcpu_pin_info},
    {REMOTE_DOMAIN_GET_EMULATOR_PIN_INFO, get_emulator_pin_info},
    {REMOTE_DOMAIN_GET_SECURITY_LABEL, get_security_label},
    {REMOTE_DOMAIN_GET_MESSAGES, get_messages},
    {REMOTE_DOMAIN_GET_CONTROL_INFO, get_control_info},
    {REMOTE_DOMAIN_LIST_ALL_SNAPSHOTS, no_snapshots},
    {REMOTE_DOMAIN_SNAPSHOT_NUM, zero_snapshots},
    {REMOTE_DOMAIN_SNAPSHOT_LIST_NAMES, zero_snapshots},
    {REMOTE_DOMAIN_HAS_CURRENT_SNAPSHOT, zero_snapshots},
    {0, NULL},
};
