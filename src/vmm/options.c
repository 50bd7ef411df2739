/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of a VM: one table for parsing and help. */
#include "vmm/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "bus/platform.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "vmm/suboptions.h"

struct option {
    const char *name;     /* without the dashes */
    const char *argument; /* what the help calls it; NULL: a flag */
    const char *help;
    size_t offset;        /* of the member that parse() fills */
    int (*parse)(const struct option *option, struct vm_config *config, const char *value, struct err *err);
};

static int no_memory(struct err *err)
{
    return err_set(err, -ENOMEM, "out of memory");
}

static int set_text(char **text, const char *value, struct err *err)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return no_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

static int parse_text(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    if (*value == 0)
        return err_set(err, -EINVAL, "--%s needs a value that is not empty: %s", option->name, option->argument);
    return set_text((char **)((char *)config + option->offset), value, err);
}

static int parse_append(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    return set_text(&config->append, value, err);
}

static int parse_flag(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    *(bool *)((char *)config + option->offset) = true;
    return 0;
}

static int parse_engine(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    size_t length = strcspn(value, ",");
    char name[32];
    int r;

    if (text_format(name, sizeof(name), "%.*s", (int)length, value) < 0 ||
        (!text_equal(name, "auto") && !text_equal(name, "kvm") && !text_equal(name, "dbt")))
        return err_set(err, -EINVAL, "unknown engine '%.*s'; there are: auto, kvm, dbt", (int)length, value);
    r = set_text(&config->engine, name, err);
    if (r == 0 && value[length] == ',')
        r = set_text(&config->engine_options, value + length + 1, err);
    return r;
}

static int parse_cpus(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    uint64_t cpus;

    if (text_parse_u64(value, &cpus) < 0 || cpus < 1 || cpus > ENGINE_CPUS_MAX)
        return err_set(err, -EINVAL, "--cpus must be a number from 1 to %u, not '%s'", ENGINE_CPUS_MAX, value);
    config->cpus = cpus;
    return 0;
}

static int parse_memory(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    uint64_t bytes;

    if (text_parse_size(value, MIB(1), &bytes) < 0)
        return err_set(err, -EINVAL, "--memory must be a size like 512M or 2G (a bare number is MiB), not '%s'", value);
    config->memory = bytes;
    return 0;
}

static int parse_character(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    if (!text_equal(value, "stdio") && !text_equal(value, "pty") && !text_equal(value, "none") &&
        !(text_starts_with(value, "file:") && value[5] != 0) && !(text_starts_with(value, "fd=") && value[3] != 0))
        return err_set(err, -EINVAL, "unknown --%s '%s'; there are: stdio, file:PATH, fd=N, pty, none", option->name,
                       value);
    return set_text((char **)((char *)config + option->offset), value, err);
}

static int parse_sandbox(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    bool on = true;
    int r = suboption_bool("--sandbox", value, &on, err);

    config->no_sandbox = !on;
    return r;
}

static int parse_slot(const char *value, unsigned *ret_slot, struct err *err)
{
    uint64_t slot;

    if (text_parse_u64(value, &slot) < 0 || slot < PLATFORM_PCI_PLUG_FIRST || slot >= PLATFORM_PCI_SLOTS)
        return err_set(err, -EINVAL, "slot must be a number from %d to %d, not '%s'", PLATFORM_PCI_PLUG_FIRST,
                       PLATFORM_PCI_SLOTS - 1, value);
    *ret_slot = slot;
    return 0;
}

/* The check for openness saves from taking one that another option opens. */
static int parse_fd(const char *value, int *ret_fd, struct err *err)
{
    uint64_t fd;

    if (text_parse_u64(value, &fd) < 0 || fd < 3 || fd > INT_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(err, -EINVAL, "fd must be the number of a descriptor that is open, from 3 on, not '%s'", value);
    *ret_fd = (int)fd;
    return 0;
}

static int parse_open_file(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    return parse_fd(value, (int *)((char *)config + option->offset), err);
}

static int parse_disk_key(struct vm_disk *disk, const char *key, const char *value, struct err *err)
{
    if (text_equal(key, "format")) {
        if (!text_equal(value, "raw") && !text_equal(value, "qcow2"))
            return err_set(err, -EINVAL, "unknown format '%s' of disk %s; there are: raw, qcow2", value, disk->path);
        return set_text(&disk->format, value, err);
    }
    if (text_equal(key, "bus"))
        return text_equal(value, "virtio") ? 0 : err_set(err, -EINVAL, "unknown bus '%s' of disk %s; there are: virtio",
                                                         value, disk->path);
    if (text_equal(key, "readonly"))
        return suboption_bool("readonly of a disk", value, &disk->readonly, err);
    if (text_equal(key, "id"))
        return set_text(&disk->id, value, err);
    if (text_equal(key, "serial"))
        return set_text(&disk->serial, value, err);
    if (text_equal(key, "slot"))
        return parse_slot(value, &disk->slot, err);
    if (text_equal(key, "fd"))
        return parse_fd(value, &disk->fd, err);
    return err_set(err, -EINVAL, "unknown setting '%s' of disk %s; there are: format, bus, readonly, id, serial, slot, fd", key,
                   disk->path);
}

static int parse_disk(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    struct vm_disk *disk = &config->disk[config->disk_count];
    char *piece;
    int r = 0;

    if (config->disk_count == VM_DISKS_MAX)
        return err_set(err, -EINVAL, "more than %d disks", VM_DISKS_MAX);
    disk->path = suboption_next(&value);
    if (disk->path == NULL || disk->path[0] == 0) {
        free(disk->path);
        disk->path = NULL;
        return err_set(err, -EINVAL, "--disk needs a file: FILE[,format=raw|qcow2][,bus=virtio][,readonly=on]");
    }
    config->disk_count++;
    while (r == 0 && (piece = suboption_next(&value)) != NULL) {
        char *setting = suboption_value(piece);

        r = setting != NULL ? parse_disk_key(disk, piece, setting, err)
                            : err_set(err, -EINVAL, "setting '%s' of disk %s lacks its value: %s=...", piece, disk->path,
                                      piece);
        free(piece);
    }
    return r;
}

/* Everything but mac=, model=, id= and slot= is the backend's. */
static int parse_net_piece(struct vm_nic *nic, const char *piece, struct err *err)
{
    char *longer;

    if (text_starts_with(piece, "mac=")) {
        nic->has_mac = true;
        if (text_parse_mac(piece + 4, nic->mac) < 0 || (nic->mac[0] & 1) != 0)
            return err_set(err, -EINVAL, "'%s' is no MAC address of a network card (like 52:54:00:12:34:56)", piece + 4);
        return 0;
    }
    if (text_starts_with(piece, "model="))
        return text_equal(piece + 6, "virtio") ? 0 : err_set(err, -EINVAL, "unknown network card model '%s'; there are: "
                                                             "virtio", piece + 6);
    if (text_starts_with(piece, "id="))
        return set_text(&nic->id, piece + 3, err);
    if (text_starts_with(piece, "slot="))
        return parse_slot(piece + 5, &nic->slot, err);
    if (asprintf(&longer, "%s,%s", nic->backend, piece) < 0)
        return no_memory(err);
    free(nic->backend);
    nic->backend = longer;
    return 0;
}

static int parse_net(const struct option *option, struct vm_config *config, const char *value, struct err *err)
{
    struct vm_nic *nic = &config->nic[config->nic_count];
    char *piece;
    int r = 0;

    if (text_equal(value, "none"))
        return 0;
    if (config->nic_count == VM_NICS_MAX)
        return err_set(err, -EINVAL, "more than %d network cards", VM_NICS_MAX);
    nic->backend = suboption_next(&value);
    if (nic->backend == NULL || (!text_equal(nic->backend, "user") && !text_starts_with(nic->backend, "tap=") &&
                                 !text_starts_with(nic->backend, "bridge=") && !text_starts_with(nic->backend, "fd="))) {
        r = err_set(err, -EINVAL, "unknown network '%s'; there are: none, user, tap=NAME, bridge=NAME, fd=N",
                    nic->backend != NULL ? nic->backend : "");
        free(nic->backend);
        nic->backend = NULL;
        return r;
    }
    config->nic_count++;
    while (r == 0 && (piece = suboption_next(&value)) != NULL) {
        r = parse_net_piece(nic, piece, err);
        free(piece);
    }
    return r;
}

#define TEXT(member) offsetof(struct vm_config, member), parse_text
#define FD(member) offsetof(struct vm_config, member), parse_open_file
#define FLAG(member) offsetof(struct vm_config, member), parse_flag

static const struct option options[] = {
    {"name", "NAME", "what the VM is called", TEXT(name)},
    {"engine", "auto|kvm|dbt[,OPTIONS]", "how guest code runs (default: auto, the faster one by a short measurement)", 0,
     parse_engine},
    {"cpus", "N", "number of CPUs (default: 1)", 0, parse_cpus},
    {"memory", "SIZE", "RAM, like 512M or 2G (default: 512M)", 0, parse_memory},
    {"cpu", "MODEL[,+FEATURE][,-FEATURE][,vendor=NAME][,phys-bits=N][,tsc-frequency=HZ]",
     "CPU model: x86-64-v1 to x86-64-v4, host, max (default: max); ferry cpu list says which this host has", TEXT(cpu)},
    {"kernel", "FILE", "bzImage, PVH or multiboot kernel to boot", TEXT(kernel)},
    {"initrd", "FILE", "initial RAM disk for the kernel", TEXT(initrd)},
    {"kernel-fd", "N", "the kernel is open already: as this descriptor; --kernel says its name", FD(kernel_fd)},
    {"initrd-fd", "N", "the same of the initial RAM disk", FD(initrd_fd)},
    {"append", "TEXT", "the kernel's command line", 0, parse_append},
    {"disk", "FILE[,format=raw|qcow2][,bus=virtio][,readonly=on][,id=ID][,serial=TEXT][,slot=N][,fd=N]",
     "a disk; may be given several times", 0, parse_disk},
    {"net", "none|user[,hostfwd=tcp:ADDR:PORT-ADDR:PORT]|tap=NAME|bridge=NAME|fd=N[,mac=MAC][,id=ID][,slot=N]",
     "a network card; may be given several times", 0, parse_net},
    {"serial", "stdio|file:PATH|fd=N|pty|none", "where the first serial port goes (default: stdio)",
     offsetof(struct vm_config, serial), parse_character},
    {"console", "stdio|file:PATH|fd=N|pty|none", "add a virtio console (hvc0) and say where it goes",
     offsetof(struct vm_config, console), parse_character},
    {"control", "SOCKET", "control socket to listen on (QMP)", TEXT(control)},
    {"load", "FILE", "continue a VM that x-ferry-save wrote; the other options as they were then", TEXT(load)},
    {"incoming", "tcp:HOST:PORT|tls:HOST:PORT|unix:PATH|fd:N|defer",
     "wait for a VM that is migrated to here; the other options as the source's", TEXT(incoming)},
    {"userfaultfd", "N", "/dev/userfaultfd is open as this descriptor: for post-copy to here, where this user may not open it",
     FD(userfault_fd)},
    {"tls-dir", "DIRECTORY", "certificates for migrations by tls: (default: /etc/pki/qemu)", TEXT(tls_directory)},
    {"paused", NULL, "don't start the CPUs until told to by the control socket", FLAG(paused)},
    {"testdev", NULL, "add the devices that test kernels use (exit port, interrupt lines, ...)", FLAG(testdev)},
    {"no-reboot", NULL, "end when the guest resets itself", FLAG(no_reboot)},
    {"stats", NULL, "print counters and times at the end", FLAG(stats)},
    {"sandbox", "on|off", "confine the process to the system calls that it needs (default: on)", 0, parse_sandbox},
};

/* Appends ", --name" of every option to text as far as they fit. */
static void list_options(char *text, size_t size)
{
    size_t used = 0;

    text[0] = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(options) && used < size; i++)
        used += snprintf(text + used, size - used, "--%s, ", options[i].name);
    if (used < size)
        snprintf(text + used, size - used, "--help, --version, --capabilities");
}

static const struct option *find_option(const char *name, size_t length)
{
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0)
            return &options[i];
    }
    return NULL;
}

/* Parses argv[*at] and, if it takes one from there, the value behind it. */
static int parse_argument(int argc, char *const argv[], int *at, struct vm_config *config, struct err *err)
{
    const char *argument = argv[*at];
    size_t length = strcspn(argument, "=");
    const char *value = argument[length] == '=' ? argument + length + 1 : NULL;
    const struct option *option = text_starts_with(argument, "--") ? find_option(argument + 2, length - 2) : NULL;
    char list[400];

    if (option == NULL) {
        list_options(list, sizeof(list));
        return err_set(err, -EINVAL, "unknown %s '%.*s'; there are: %s", argument[0] == '-' ? "option" : "argument",
                       (int)(length < 60 ? length : 60), argument, list);
    }
    if (option->argument == NULL && value != NULL)
        return err_set(err, -EINVAL, "option --%s takes no value", option->name);
    if (option->argument != NULL && value == NULL) {
        if (*at + 1 >= argc)
            return err_set(err, -EINVAL, "option --%s lacks its value: %s", option->name, option->argument);
        value = argv[++*at];
    }
    return option->parse(option, config, value, err);
}

static int set_defaults(struct vm_config *config, struct err *err)
{
    int r;

    *config = (struct vm_config){.cpus = 1, .memory = MIB(512)};
    r = set_text(&config->name, "ferry", err);
    if (r == 0)
        r = set_text(&config->engine, "auto", err);
    if (r == 0)
        r = set_text(&config->serial, "stdio", err);
    return r;
}

int options_parse(int argc, char *const argv[], struct vm_config *ret_config, enum options_result *ret_result,
                  struct err *err)
{
    int r = set_defaults(ret_config, err);

    for (int i = 1; r == 0 && i < argc; i++) {
        if (text_equal(argv[i], "--help") || text_equal(argv[i], "-h")) {
            *ret_result = OPTIONS_HELP;
            return 0;
        }
        if (text_equal(argv[i], "--version")) {
            *ret_result = OPTIONS_VERSION;
            return 0;
        }
        if (text_equal(argv[i], "--capabilities")) {
            *ret_result = OPTIONS_CAPABILITIES;
            return 0;
        }
        r = parse_argument(argc, argv, &i, ret_config, err);
    }
    if (r == 0)
        *ret_result = OPTIONS_RUN;
    return r;
}

/* RAM and swap of this host in bytes. */
static uint64_t host_memory(void)
{
    struct sysinfo info;

    if (sysinfo(&info) != 0)
        return UINT64_MAX;
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

int vm_config_check(const struct vm_config *config, struct err *err)
{
    uint64_t host = host_memory();

    if (config->memory % MEMORY_PAGE_SIZE != 0)
        return err_set(err, -EINVAL, "--memory of %llu bytes is not a multiple of %u bytes, the size of a page",
                       (unsigned long long)config->memory, MEMORY_PAGE_SIZE);
    if (config->memory < MIB(1))
        return err_set(err, -EINVAL, "--memory of %llu KiB is too little: a VM needs at least 1 MiB",
                       (unsigned long long)config->memory / 1024);
    if (config->memory > host || config->memory > PLATFORM_RAM_MAX)
        return err_set(err, -EINVAL, "--memory of %llu MiB is more than this host's RAM and swap together, %llu MiB",
                       (unsigned long long)(config->memory >> 20), (unsigned long long)(host >> 20));
    if (config->console != NULL && text_equal(config->console, "stdio") && text_equal(config->serial, "stdio"))
        return err_set(err, -EINVAL, "--serial and --console cannot both have stdio: give --serial none or file:PATH too");
    if (config->load != NULL && config->incoming != NULL)
        return err_set(err, -EINVAL, "--load and --incoming both say where the VM comes from: give one of them");
    if (config->kernel == NULL && config->load == NULL && config->incoming == NULL)
        return err_set(err, -EINVAL, "nothing to boot: give --kernel FILE");
    if (config->kernel == NULL && config->initrd != NULL)
        return err_set(err, -EINVAL, "--initrd is of no use without --kernel");
    if ((config->kernel == NULL && config->kernel_fd > 0) || (config->initrd == NULL && config->initrd_fd > 0))
        return err_set(err, -EINVAL, "--kernel-fd and --initrd-fd want a name beside them: --kernel FILE, --initrd FILE");
    return 0;
}

void vm_config_fini(struct vm_config *config)
{
    char *const texts[] = {config->name, config->engine, config->engine_options, config->cpu,    config->kernel,
                           config->initrd, config->append, config->control,      config->serial, config->load,
                           config->console, config->incoming, config->tls_directory};

    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    for (unsigned i = 0; i < config->disk_count; i++) {
        free(config->disk[i].path);
        free(config->disk[i].format);
        free(config->disk[i].id);
        free(config->disk[i].serial);
    }
    for (unsigned i = 0; i < config->nic_count; i++) {
        free(config->nic[i].backend);
        free(config->nic[i].id);
    }
    *config = (struct vm_config){0};
}

void options_print_help(FILE *out)
{
    fprintf(out, "usage: ferry run [OPTION]...\n"
                 "Runs one virtual machine in the foreground.\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        const struct option *option = &options[i];

        fprintf(out, "  --%s%s%s\n          %s\n", option->name, option->argument != NULL ? " " : "",
                option->argument != NULL ? option->argument : "", option->help);
    }
    fprintf(out, "  --help\n          this text\n"
                 "  --version\n          the version\n"
                 "  --capabilities\n          what this program can do on this host, as JSON\n\n"
                 "On the terminal: Ctrl-A x ends the VM, Ctrl-A h lists the other keys.\n"
                 "Exit code: 0 the guest powered off, 2 bad options or files, 3 the guest crashed,\n"
                 "128+N signal N; with --testdev what the guest gives to the exit port, (value << 1) | 1.\n");
}
