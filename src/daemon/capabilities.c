/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The capabilities documents (libvirt's formatcaps and formatdomaincaps): what clients choose by. */
#include <inttypes.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/uuid.h"
#include "daemon/host.h"

static const uint32_t page_sizes[] = {4, 2048, 1048576}; /* KiB */

static void put_page_sizes(struct buffer *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(page_sizes); i++) {
        if (host_pages(page_sizes[i], NULL, NULL))
            buffer_printf(out, "      <pages unit='KiB' size='%u'/>\n", page_sizes[i]);
    }
}

static void put_pages(struct buffer *out)
{
    uint64_t total;

    for (unsigned i = 0; i < ARRAY_SIZE(page_sizes); i++) {
        if (host_pages(page_sizes[i], NULL, &total))
            buffer_printf(out, "          <pages unit='KiB' size='%u'>%" PRIu64 "</pages>\n", page_sizes[i], total);
    }
}

static void put_host(const struct host *host, struct buffer *out)
{
    char uuid[37];

    uuid_format(host->uuid, uuid);
    buffer_printf(out,
                  "<capabilities>\n\n  <host>\n    <uuid>%s</uuid>\n    <cpu>\n      <arch>x86_64</arch>\n      <model>x86-64-v%u</model>\n"
                  "      <vendor>%s</vendor>\n      <topology sockets='%u' dies='1' cores='%u' threads='%u'/>\n",
                  uuid, host_level(host), host->cpu_vendor, host->sockets, host->cores, host->threads);
    put_page_sizes(out);
    buffer_printf(out, "    </cpu>\n    <power_management/>\n    <iommu support='no'/>\n    <migration_features>\n      <live/>\n"
                       "      <uri_transports>\n        <uri_transport>tcp</uri_transport>\n      </uri_transports>\n"
                       "    </migration_features>\n");
}

static void put_topology(const struct host *host, struct buffer *out)
{
    buffer_printf(out,
                  "    <topology>\n      <cells num='1'>\n        <cell id='0'>\n          <memory unit='KiB'>%" PRIu64 "</memory>\n",
                  host->memory / 1024);
    put_pages(out);
    buffer_printf(out, "          <cpus num='%u'>\n", host->cpus);
    for (unsigned i = 0; i < host->cpus; i++)
        buffer_printf(out, "            <cpu id='%u' socket_id='0' core_id='%u' siblings='%u'/>\n", i, i / host->threads, i);
    buffer_printf(out, "          </cpus>\n        </cell>\n      </cells>\n    </topology>\n  </host>\n\n");
}

static void put_guest(const struct host *host, struct buffer *out)
{
    buffer_printf(out,
                  "  <guest>\n    <os_type>hvm</os_type>\n    <arch name='x86_64'>\n      <wordsize>64</wordsize>\n"
                  "      <emulator>%s</emulator>\n      <machine maxCpus='%u'>pc</machine>\n      <domain type='qemu'/>\n",
                  host->vmm, host->cpus_max);
    if (host->kvm)
        buffer_printf(out, "      <domain type='kvm'/>\n");
    buffer_printf(out, "    </arch>\n    <features>\n      <acpi default='on' toggle='no'/>\n      <apic default='on' toggle='no'/>\n"
                       "      <cpuselection/>\n    </features>\n  </guest>\n\n</capabilities>\n");
}

int host_capabilities(const struct host *host, struct buffer *out)
{
    put_host(host, out);
    put_topology(host, out);
    put_guest(host, out);
    return 0;
}

static void put_enum(struct buffer *out, const char *name, const char *const *values)
{
    buffer_printf(out, "      <enum name='%s'>\n", name);
    for (; *values != NULL; values++)
        buffer_printf(out, "        <value>%s</value>\n", *values);
    buffer_printf(out, "      </enum>\n");
}

static void put_cpu_modes(const struct host *host, struct buffer *out)
{
    buffer_printf(out,
                  "  <cpu>\n    <mode name='host-passthrough' supported='yes'>\n      <enum name='hostPassthroughMigratable'>\n"
                  "        <value>on</value>\n      </enum>\n    </mode>\n    <mode name='maximum' supported='yes'>\n"
                  "      <enum name='maximumMigratable'>\n        <value>on</value>\n      </enum>\n    </mode>\n"
                  "    <mode name='host-model' supported='yes'>\n      <model fallback='forbid'>x86-64-v%u</model>\n    </mode>\n"
                  "    <mode name='custom' supported='yes'>\n",
                  host_level(host));
    for (unsigned i = 0; host->models[i] != NULL; i++) {
        if (host_level_of(host->models[i]) != 0)
            buffer_printf(out, "      <model usable='%s' vendor='unknown'>%s</model>\n", host->model_usable[i] ? "yes" : "no",
                          host->models[i]);
    }
    buffer_printf(out, "    </mode>\n  </cpu>\n");
}

static void put_devices(struct buffer *out)
{
    static const char *const disk_devices[] = {"disk", NULL}, *const disk_buses[] = {"virtio", NULL},
                             *const disk_models[] = {"virtio", NULL}, *const rng_models[] = {"virtio", NULL},
                             *const rng_backends[] = {"random", NULL}, *const console_types[] = {"pty", "file", "null", NULL};

    buffer_printf(out, "  <devices>\n    <disk supported='yes'>\n");
    put_enum(out, "diskDevice", disk_devices);
    put_enum(out, "bus", disk_buses);
    put_enum(out, "model", disk_models);
    buffer_printf(out, "    </disk>\n    <graphics supported='no'/>\n    <video supported='no'/>\n    <hostdev supported='no'/>\n"
                       "    <rng supported='yes'>\n");
    put_enum(out, "model", rng_models);
    put_enum(out, "backendModel", rng_backends);
    buffer_printf(out, "    </rng>\n    <console supported='yes'>\n");
    put_enum(out, "type", console_types);
    buffer_printf(out, "    </console>\n    <filesystem supported='no'/>\n    <tpm supported='no'/>\n    <redirdev supported='no'/>\n"
                       "    <channel supported='no'/>\n    <crypto supported='no'/>\n  </devices>\n");
}

int host_domain_capabilities(const struct host *host, bool kvm, struct buffer *out)
{
    buffer_printf(out,
                  "<domainCapabilities>\n  <path>%s</path>\n  <domain>%s</domain>\n  <machine>pc</machine>\n  <arch>x86_64</arch>\n"
                  "  <vcpu max='%u'/>\n  <iothreads supported='no'/>\n  <os supported='yes'>\n    <enum name='firmware'/>\n"
                  "    <loader supported='no'/>\n  </os>\n",
                  host->vmm, kvm ? "kvm" : "qemu", host->cpus_max);
    put_cpu_modes(host, out);
    buffer_printf(out, "  <memoryBacking supported='no'/>\n");
    put_devices(out);
    return buffer_printf(out, "  <features>\n    <gic supported='no'/>\n    <vmcoreinfo supported='no'/>\n    <genid supported='no'/>\n"
                              "    <backingStoreInput supported='no'/>\n    <backup supported='no'/>\n    <sev supported='no'/>\n"
                              "  </features>\n</domainCapabilities>\n");
}
