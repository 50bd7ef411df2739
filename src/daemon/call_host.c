/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about the host: versions, resources, capabilities, and the kinds of objects that Ferry has none of. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/host.h"
#include "protocol/xml.h"

#define VERSION(major, minor, micro) ((major) * UINT64_C(1000000) + (minor) * UINT64_C(1000) + (micro))
#define PROTOCOL_VERSION VERSION(9, 0, 0) /* of libvirt, whose protocol this is */

static int get_type(struct call *call)
{
    xdr_put_string(&call->out, "QEMU"); /* the name of the driver that clients know this XML by */
    return 0;
}

static int get_version(struct call *call)
{
    unsigned major = 0, minor = 0, micro = 0;

    sscanf(FERRY_VERSION, "%u.%u.%u", &major, &minor, &micro);
    xdr_put_u64(&call->out, VERSION(major, minor, micro));
    return 0;
}

static int get_lib_version(struct call *call)
{
    xdr_put_u64(&call->out, PROTOCOL_VERSION);
    return 0;
}

static int get_hostname(struct call *call)
{
    xdr_put_string(&call->out, call->daemon->host->name);
    return 0;
}

static int get_max_vcpus(struct call *call)
{
    xdr_put_i32(&call->out, (int32_t)call->daemon->host->cpus_max);
    return 0;
}

static int node_get_info(struct call *call)
{
    const struct host *host = call->daemon->host;
    const int32_t numbers[] = {(int32_t)host->cpus, (int32_t)host->mhz, 1, (int32_t)host->sockets, (int32_t)host->cores,
                               (int32_t)host->threads};
    static const char model[32] = "x86_64";

    for (unsigned i = 0; i < sizeof(model); i++)
        xdr_put_i32(&call->out, model[i]);
    xdr_put_u64(&call->out, host->memory / 1024);
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        xdr_put_i32(&call->out, numbers[i]);
    return 0;
}

static int put_document(struct call *call, struct buffer *document)
{
    if (document->data == NULL)
        return -ENOMEM;
    xdr_put_string(&call->out, (const char *)document->data);
    buffer_fini(document);
    return 0;
}

static int get_capabilities(struct call *call)
{
    struct buffer document = BUFFER_INIT(XDR_STRING_MAX);

    host_capabilities(call->daemon->host, &document);
    return put_document(call, &document);
}

static int get_domain_capabilities(struct call *call)
{
    const struct host *host = call->daemon->host;
    const char *emulator = call->arg[0].s, *arch = call->arg[1].s, *machine = call->arg[2].s, *type = call->arg[3].s;
    struct buffer document = BUFFER_INIT(XDR_STRING_MAX);

    if (emulator != NULL && !text_equal(emulator, host->vmm))
        return err_set(&call->err, -EINVAL, "there is no emulator %.200s here; guests run in %s", emulator, host->vmm);
    if (arch != NULL && !text_equal(arch, "x86_64"))
        return err_set(&call->err, -EINVAL, "guests of architecture %.60s do not run here; there is x86_64", arch);
    if (machine != NULL && !text_equal(machine, "pc"))
        return err_set(&call->err, -EINVAL, "there is no machine %.60s; there is pc", machine);
    if (type != NULL && !text_equal(type, "qemu") && !(text_equal(type, "kvm") && host->kvm))
        return err_set(&call->err, -EINVAL, "domain type %.60s is not offered on this host%s%s", type,
                       text_equal(type, "kvm") ? ": " : "", text_equal(type, "kvm") ? host->kvm_reason : "");
    host_domain_capabilities(host, type != NULL ? text_equal(type, "kvm") : host->kvm, &document);
    return put_document(call, &document);
}

static int node_get_free_memory(struct call *call)
{
    xdr_put_u64(&call->out, host_memory_kib("MemFree") * 1024);
    return 0;
}

static int node_get_cells_free_memory(struct call *call)
{
    if (call->arg[0].i != 0 || call->arg[1].i < 1)
        return err_set(&call->err, -EINVAL, "there is one NUMA cell, number 0");
    xdr_put_u32(&call->out, 1);
    xdr_put_u64(&call->out, host_memory_kib("MemFree") * 1024);
    return 0;
}

static int node_get_cpu_map(struct call *call)
{
    const unsigned cpus = call->daemon->host->cpus;
    uint8_t map[512] = {0};

    for (unsigned i = 0; i < cpus && i < sizeof(map) * 8; i++)
        map[i / 8] |= 1 << (i % 8);
    xdr_put_opaque(&call->out, map, call->arg[0].i != 0 ? (cpus + 7) / 8 : 0);
    xdr_put_u32(&call->out, call->arg[1].i != 0 ? cpus : 0);
    xdr_put_i32(&call->out, (int32_t)cpus);
    return 0;
}

struct statistic {
    const char *name;
    uint64_t value;
};

/* nparams 0 asks how many there are. */
static int put_statistics(struct call *call, const struct statistic *list, uint32_t count, int32_t wanted)
{
    if (wanted != 0 && (uint32_t)wanted < count)
        return err_set(&call->err, -EINVAL, "there are %u values, not %d", count, wanted);
    xdr_put_u32(&call->out, wanted == 0 ? 0 : count);
    for (uint32_t i = 0; wanted != 0 && i < count; i++) {
        xdr_put_string(&call->out, list[i].name);
        xdr_put_u64(&call->out, list[i].value);
    }
    xdr_put_i32(&call->out, (int32_t)count);
    return 0;
}

static int node_get_memory_stats(struct call *call)
{
    const struct statistic list[] = {{"total", host_memory_kib("MemTotal")}, {"free", host_memory_kib("MemFree")},
                                     {"buffers", host_memory_kib("Buffers")}, {"cached", host_memory_kib("Cached")}};

    return put_statistics(call, list, ARRAY_SIZE(list), call->arg[0].i);
}

/* The line of all CPUs (cpu < 0), or of one: "cpu1 user nice system idle iowait ...". */
static bool read_times(int32_t cpu, unsigned long long times[static 5])
{
    FILE *stream = fopen("/proc/stat", "re");
    char line[512], name[16];
    bool found = false;

    if (cpu >= 0)
        text_format(name, sizeof(name), "cpu%d", cpu);
    else
        text_format(name, sizeof(name), "cpu");
    while (!found && stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
        char word[16];

        found = sscanf(line, "%15s %llu %llu %llu %llu %llu", word, &times[0], &times[1], &times[2], &times[3], &times[4]) == 6 &&
                text_equal(word, name);
    }
    if (stream != NULL)
        fclose(stream);
    return found;
}

static int node_get_cpu_stats(struct call *call)
{
    uint64_t tick_ns = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);
    unsigned long long times[5];

    if (!read_times(call->arg[0].i, times))
        return err_set(&call->err, -EINVAL, "Invalid cpuNum in nodeGetCPUStats: the host has no CPU %d", call->arg[0].i);
    const struct statistic list[] = {{"kernel", times[2] * tick_ns}, {"user", (times[0] + times[1]) * tick_ns},
                                     {"idle", times[3] * tick_ns}, {"iowait", times[4] * tick_ns}};
    return put_statistics(call, list, ARRAY_SIZE(list), call->arg[1].i);
}

/* Free pages of each size, for each of the cells asked for. The host is one cell. */
static int node_get_free_pages(struct call *call)
{
    size_t sizes = call->arg[0].list.count, at;

    if (call->arg[1].i != 0 || call->arg[2].u != 1)
        return err_set(&call->err, -EINVAL, "there is one NUMA cell, number 0");
    at = rpc_count_begin(&call->out);
    for (size_t i = 0; i < sizes; i++) {
        uint32_t kib = call->arg[0].list.items[i].u;
        uint64_t pages;

        if (!host_pages(kib, &pages, NULL))
            return err_set(&call->err, RPC_FAULT(RPC_OPERATION_FAILED), "page size of %u KiB is not known on this host", kib);
        xdr_put_u64(&call->out, pages);
    }
    rpc_count_end(&call->out, at, (uint32_t)sizes);
    return 0;
}

/* What the firmware tells about a part of the host. */
static void put_entries(struct xml_writer *writer, const char *element, const char *const entries[][2], unsigned count)
{
    xml_open(writer, element);
    for (unsigned i = 0; i < count; i++) {
        char path[64], text[256];

        text_format(path, sizeof(path), "/sys/class/dmi/id/%s", entries[i][1]);
        host_read_line(path, text, sizeof(text));
        if (text[0] == 0)
            continue;
        xml_open(writer, "entry");
        xml_put(writer, "name", "%s", entries[i][0]);
        xml_close_text(writer, "%s", text);
    }
    xml_close(writer);
}

static int get_sysinfo(struct call *call)
{
    static const char *const bios[][2] = {{"vendor", "bios_vendor"}, {"version", "bios_version"}, {"date", "bios_date"}};
    static const char *const system[][2] = {{"manufacturer", "sys_vendor"}, {"product", "product_name"}, {"version", "product_version"},
                                            {"family", "product_family"}};
    static const char *const board[][2] = {{"manufacturer", "board_vendor"}, {"product", "board_name"}, {"version", "board_version"}};
    struct buffer document = BUFFER_INIT(XDR_STRING_MAX);
    struct xml_writer writer;
    int r;

    xml_writer_init(&writer, &document);
    xml_open(&writer, "sysinfo");
    xml_put(&writer, "type", "smbios");
    put_entries(&writer, "bios", bios, ARRAY_SIZE(bios));
    put_entries(&writer, "system", system, ARRAY_SIZE(system));
    put_entries(&writer, "baseBoard", board, ARRAY_SIZE(board));
    xml_close(&writer);
    r = xml_writer_end(&writer);
    return r < 0 ? r : put_document(call, &document);
}

/* No labels: the sandbox of a VM is not one of the kernel's security modules. */
static int node_get_security_model(struct call *call)
{
    xdr_put_u32(&call->out, 0);
    xdr_put_u32(&call->out, 0);
    return 0;
}

/* Lists of what Ferry does not manage: host devices, host interfaces, filters, secrets. */
static int empty_count(struct call *call)
{
    xdr_put_i32(&call->out, 0);
    return 0;
}

static int empty_list(struct call *call)
{
    xdr_put_u32(&call->out, 0);
    return 0;
}

static int empty_list_with_count(struct call *call)
{
    xdr_put_u32(&call->out, 0);
    xdr_put_u32(&call->out, 0);
    return 0;
}

static int no_node_device(struct call *call)
{
    return err_set(&call->err, RPC_FAULT(RPC_NO_NODE_DEVICE), "there is no node device '%.200s'", call->arg[0].s);
}

const struct call_handler host_calls[] = {
    {REMOTE_CONNECT_GET_TYPE, get_type},
    {REMOTE_CONNECT_GET_VERSION, get_version},
    {REMOTE_CONNECT_GET_LIB_VERSION, get_lib_version},
    {REMOTE_CONNECT_GET_HOSTNAME, get_hostname},
    {REMOTE_CONNECT_GET_MAX_VCPUS, get_max_vcpus},
    {REMOTE_NODE_GET_INFO, node_get_info},
    {REMOTE_CONNECT_GET_CAPABILITIES, get_capabilities},
    {REMOTE_CONNECT_GET_DOMAIN_CAPABILITIES, get_domain_capabilities},
    {REMOTE_NODE_GET_FREE_MEMORY, node_get_free_memory},
    {REMOTE_NODE_GET_CELLS_FREE_MEMORY, node_get_cells_free_memory},
    {REMOTE_NODE_GET_CPU_MAP, node_get_cpu_map},
    {REMOTE_NODE_GET_MEMORY_STATS, node_get_memory_stats},
    {REMOTE_NODE_GET_CPU_STATS, node_get_cpu_stats},
    {REMOTE_NODE_GET_FREE_PAGES, node_get_free_pages},
    {REMOTE_CONNECT_GET_SYSINFO, get_sysinfo},
    {REMOTE_NODE_GET_SECURITY_MODEL, node_get_security_model},
    {REMOTE_NODE_NUM_OF_DEVICES, empty_count},
    {REMOTE_NODE_LIST_DEVICES, empty_list},
    {REMOTE_CONNECT_LIST_ALL_NODE_DEVICES, empty_list_with_count},
    {REMOTE_NODE_DEVICE_LOOKUP_BY_NAME, no_node_device},
    {REMOTE_NODE_DEVICE_GET_XML_DESC, no_node_device},
    {REMOTE_CONNECT_LIST_ALL_INTERFACES, empty_list_with_count},
    {REMOTE_CONNECT_LIST_ALL_NWFILTERS, empty_list_with_count},
    {REMOTE_CONNECT_LIST_ALL_NWFILTER_BINDINGS, empty_list_with_count},
    {REMOTE_CONNECT_NUM_OF_NWFILTERS, empty_count},
    {REMOTE_CONNECT_LIST_NWFILTERS, empty_list},
    {REMOTE_CONNECT_LIST_ALL_SECRETS, empty_list_with_count},
    {0, NULL},
};
