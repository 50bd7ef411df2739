/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry-vmm's command line. */
#include "daemon/vmm_arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/host.h"
#include "daemon/interfaces.h"
#include "daemon/process.h"
#include "daemon/storage.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

__attribute__((format(printf, 2, 3))) static void add(struct vmm_arguments *arguments, const char *format, ...)
{
    va_list args;

    if (arguments->count >= VMM_ARGUMENTS_MAX)
        return;
    va_start(args, format);
    if (vasprintf(&arguments->text[arguments->count], format, args) >= 0)
        arguments->count++;
    va_end(args);
}

static void add_option(struct vmm_arguments *arguments, const char *option, const char *value)
{
    if (value == NULL)
        return;
    add(arguments, "--%s", option);
    add(arguments, "%s", value);
}

void vmm_arguments_fini(struct vmm_arguments *arguments)
{
    for (unsigned i = 0; i < arguments->count; i++)
        free(arguments->text[i]);
    for (unsigned i = 0; i < arguments->fd_count; i++)
        fd_close(&arguments->fds[i]);
    *arguments = (struct vmm_arguments){0};
}

static bool alias_taken(const struct domain *domain, const char *name)
{
    for (const xmlNode *device = xml_first(definition_devices(domain->live), NULL); device != NULL; device = xml_next(device, NULL)) {
        if (tree_is(xml_first(device, "alias"), "name", name))
            return true;
    }
    return false;
}

void device_set_alias(struct domain *domain, xmlNode *device)
{
    const char *prefix = xml_is(device, "disk") ? "virtio-disk" : "net";
    char name[32];

    if (xml_attribute(xml_first(device, "alias"), "name") != NULL)
        return;
    for (unsigned i = 0;; i++) {
        text_format(name, sizeof(name), "%s%u", prefix, i);
        if (!alias_taken(domain, name))
            break;
    }
    tree_set(tree_child(device, "alias"), "name", "%s", name);
}

bool disk_url(const struct domain *domain, const xmlNode *disk, char url[static DISK_URL_SIZE])
{
    return daemon_storage_resolve(domain->daemon, xml_attribute(xml_first(disk, "source"), "file"), url, DISK_URL_SIZE) == 0;
}

static int open_disk(const xmlNode *disk, int *ret_fd, struct err *err)
{
    bool block = tree_is(disk, "type", "block"), readonly = xml_first(disk, "readonly") != NULL;
    const char *path = xml_attribute(xml_first(disk, "source"), block ? "dev" : "file");
    int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat about;

    if (fd < 0)
        return err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "Cannot access storage file '%s': %s", path, strerror(errno));
    if (fstat(fd, &about) < 0 || (block ? !S_ISBLK(about.st_mode) : !S_ISREG(about.st_mode))) {
        close(fd);
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "'%s' is no %s", path, block ? "block device" : "regular file");
    }
    *ret_fd = fd;
    return 0;
}

int device_open(struct domain *domain, xmlNode *device, int *ret_fd, struct err *err)
{
    char url[DISK_URL_SIZE];

    if (xml_is(device, "disk"))
        return disk_url(domain, device, url) ? 0 : open_disk(device, ret_fd, err);
    return interface_open(domain, device, ret_fd, err);
}

static int keep_fd(struct vmm_arguments *arguments, int fd, struct err *err)
{
    if (arguments->fd_count == VMM_FDS_MAX) {
        close(fd);
        return err_set(err, -ENOSPC, "the domain has too many devices");
    }
    arguments->fds[arguments->fd_count++] = fd;
    return 0;
}

static const char *alias_of(const xmlNode *device)
{
    return xml_attribute(xml_first(device, "alias"), "name");
}

static int add_disk(const struct domain *domain, struct vmm_arguments *arguments, xmlNode *disk, int fd)
{
    char url[DISK_URL_SIZE], where[32] = "";
    const char *serial = xml_child_content(disk, "serial");
    const char *path = xml_attribute(xml_first(disk, "source"), tree_is(disk, "type", "block") ? "dev" : "file");

    if (fd >= 0)
        text_format(where, sizeof(where), ",fd=%d", fd);
    else if (disk_url(domain, disk, url))
        path = url;
    add(arguments, "--disk");
    add(arguments, "%s,format=%s%s,slot=%u,id=%s%s%s%s", path, xml_attribute(xml_first(disk, "driver"), "type"), where,
        device_slot(disk), alias_of(disk), xml_first(disk, "readonly") != NULL ? ",readonly=on" : "", serial != NULL ? ",serial=" : "",
        serial != NULL ? serial : "");
    return 0;
}

static int add_interface(struct vmm_arguments *arguments, xmlNode *interface, int fd)
{
    char backend[32] = "user";

    if (fd >= 0)
        text_format(backend, sizeof(backend), "fd=%d", fd);
    add(arguments, "--net");
    add(arguments, "%s,mac=%s,slot=%u,id=%s", backend, xml_attribute(xml_first(interface, "mac"), "address"), device_slot(interface),
        alias_of(interface));
    return 0;
}

static int add_devices(struct domain *domain, struct vmm_arguments *arguments, struct err *err)
{
    int r = 0;

    for (xmlNode *device = tree_first(definition_devices(domain->live), NULL); r == 0 && device != NULL;
         device = tree_next(device, NULL)) {
        int fd = -1;

        if (!xml_is(device, "disk") && !xml_is(device, "interface"))
            continue;
        device_set_alias(domain, device);
        r = device_open(domain, device, &fd, err);
        if (r == 0 && fd >= 0)
            r = keep_fd(arguments, fd, err);
        if (r == 0)
            r = xml_is(device, "disk") ? add_disk(domain, arguments, device, fd) : add_interface(arguments, device, fd);
    }
    return r;
}

static const char *tsc_frequency(const xmlNode *clock)
{
    for (const xmlNode *timer = xml_first(clock, "timer"); timer != NULL; timer = xml_next(timer, "timer"))
        if (tree_is(timer, "name", "tsc"))
            return xml_attribute(timer, "frequency");
    return NULL;
}

/* "model,+feature,-feature,tsc-frequency=hertz" as --cpu takes it. */
static int add_cpu(const struct domain *domain, struct vmm_arguments *arguments, struct err *err)
{
    const xmlNode *cpu = xml_first(definition_root(domain->live), "cpu");
    const char *model = xml_child_content(cpu, "model");
    const char *hertz = tsc_frequency(xml_first(definition_root(domain->live), "clock"));
    char text[8192];
    int r = 0;

    if (cpu == NULL)
        return 0;
    if (tree_is(cpu, "mode", "host-passthrough"))
        model = "host";
    else if (tree_is(cpu, "mode", "maximum") || model == NULL)
        model = "max";
    r = text_format(text, sizeof(text), "%s", model);
    for (const xmlNode *feature = xml_first(cpu, "feature"); r == 0 && feature != NULL; feature = xml_next(feature, "feature")) {
        bool without = tree_is(feature, "policy", "disable") || tree_is(feature, "policy", "forbid");
        size_t used = strlen(text);

        r = text_format(text + used, sizeof(text) - used, ",%c%s", without ? '-' : '+', xml_attribute(feature, "name"));
    }
    if (r == 0 && hertz != NULL)
        r = text_format(text + strlen(text), sizeof(text) - strlen(text), ",tsc-frequency=%s", hertz);
    if (r < 0)
        return err_set(err, -E2BIG, "the model and features of the domain's <cpu> have more than %zu characters", sizeof(text) - 1);
    add_option(arguments, "cpu", text);
    return 0;
}

/* A file is opened here: the VM's user need not have the right to. */
static int open_output(const xmlNode *device, int *ret_fd, struct err *err)
{
    const char *path = xml_attribute(xml_first(device, "source"), "path");
    int fd = open(path != NULL ? path : "", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);

    if (fd < 0)
        return err_set(err, -errno, "cannot open '%s' for what the VM says on its <%s>: %s", path != NULL ? path : "", xml_name(device),
                       strerror(errno));
    *ret_fd = fd;
    return 0;
}

/* As ferry-vmm takes it: pty, fd=N, none. */
static int add_console(struct vmm_arguments *arguments, const char *option, const xmlNode *device, struct err *err)
{
    int fd = -1, r = 0;

    add(arguments, "--%s", option);
    if (tree_is(device, "type", "file"))
        r = open_output(device, &fd, err);
    else
        add(arguments, "%s", tree_is(device, "type", "pty") ? "pty" : "none");
    if (r == 0 && fd >= 0)
        r = keep_fd(arguments, fd, err);
    if (r == 0 && fd >= 0)
        add(arguments, "fd=%d", fd);
    return r;
}

static int add_consoles(const struct domain *domain, struct vmm_arguments *arguments, struct err *err)
{
    const xmlNode *devices = definition_devices(domain->live);
    int r = add_console(arguments, "serial", xml_first(devices, "serial"), err);

    for (const xmlNode *at = xml_first(devices, "console"); r == 0 && at != NULL; at = xml_next(at, "console")) {
        if (tree_is(xml_first(at, "target"), "type", "virtio"))
            r = add_console(arguments, "console", at, err);
    }
    return r;
}

/* Opened here: the VM's user need not have the right to. A guest that continues from elsewhere needs the file for a reset alone: without it
 * the reset fails, and not the start. */
static int add_boot_file(struct vmm_arguments *arguments, const char *option, const char *path, bool needed, struct err *err)
{
    int fd, r;

    if (path == NULL)
        return 0;
    add_option(arguments, option, path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return !needed ? 0 : err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "cannot open the %s %s: %s", option, path, strerror(errno));
    r = keep_fd(arguments, fd, err);
    if (r < 0)
        return r;
    add(arguments, "--%s-fd", option);
    add(arguments, "%d", fd);
    return 0;
}

static int add_boot(const struct domain *domain, const struct process_options *options, struct vmm_arguments *arguments, struct err *err)
{
    const xmlNode *os = xml_first(definition_root(domain->live), "os");
    bool boots = options->load == NULL && options->incoming == NULL;
    int r;

    if (boots && xml_child_content(os, "kernel") == NULL)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: the machine has no firmware that could boot "
                       "from a disk: <os> must name a <kernel> (virt-install: --boot kernel=FILE,initrd=FILE,kernel_args=TEXT)");
    r = add_boot_file(arguments, "kernel", xml_child_content(os, "kernel"), boots, err);
    return r < 0 ? r : add_boot_file(arguments, "initrd", xml_child_content(os, "initrd"), boots, err);
}

static int add_machine(struct domain *domain, const struct process_options *options, struct vmm_arguments *arguments, struct err *err)
{
    const xmlNode *root = definition_root(domain->live), *os = xml_first(root, "os");
    const char *reboot = xml_child_content(root, "on_reboot");
    char control[PATH_MAX], number[32];
    int r;

    domain_path(domain, FILE_CONTROL, control);
    add(arguments, "%s", domain->daemon->host->vmm);
    add_option(arguments, "name", domain_name(domain));
    add_option(arguments, "engine", domain->live->kvm ? "kvm" : "dbt");
    text_format(number, sizeof(number), "%u", domain->live->cpus);
    add_option(arguments, "cpus", number);
    text_format(number, sizeof(number), "%" PRIu64 "K", domain->live->memory_kib);
    add_option(arguments, "memory", number);
    r = add_cpu(domain, arguments, err);
    if (r < 0)
        return r;
    add_option(arguments, "append", xml_child_content(os, "cmdline"));
    add_option(arguments, "control", control);
    add_option(arguments, "tls-dir", domain->daemon->config.migration_tls_dir);
    if (options->incoming == NULL || options->paused) /* else the guest goes on by itself when it has come */
        add(arguments, "--paused");
    if (reboot != NULL && text_equal(reboot, "destroy"))
        add(arguments, "--no-reboot");
    return 0;
}

/* VMs' user may mostly not open it; the VM says so itself when it can't be had. */
static int add_userfaultfd(struct vmm_arguments *arguments, struct err *err)
{
    int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), r;

    if (fd < 0)
        return 0;
    r = keep_fd(arguments, fd, err);
    if (r < 0)
        return r;
    add(arguments, "--userfaultfd");
    add(arguments, "%d", fd);
    return 0;
}

int vmm_arguments_make(struct domain *domain, const struct process_options *options, struct vmm_arguments *ret_arguments, struct err *err)
{
    struct vmm_arguments arguments = {0};
    int r = add_machine(domain, options, &arguments, err);

    add_option(&arguments, "load", options->load);
    add_option(&arguments, "incoming", options->incoming);
    if (r == 0)
        r = add_boot(domain, options, &arguments, err);
    if (r == 0 && options->postcopy)
        r = add_userfaultfd(&arguments, err);
    if (r == 0)
        r = add_consoles(domain, &arguments, err);
    if (r == 0)
        r = add_devices(domain, &arguments, err);
    if (r == 0 && arguments.count >= VMM_ARGUMENTS_MAX)
        r = err_set(err, -E2BIG, "the domain has too many devices");
    if (r < 0) {
        vmm_arguments_fini(&arguments);
        return r;
    }
    *ret_arguments = arguments;
    return 0;
}
