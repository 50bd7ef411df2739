/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a VM is made of, and the command line that says so: one table is the source of parsing and help. */
#ifndef FERRY_VMM_OPTIONS_H
#define FERRY_VMM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct err;

#define VM_DISKS_MAX 8
#define VM_NICS_MAX 8

struct vm_disk {
    char *path;
    char *format;
    char *id;      /* NULL: "disk" and its number */
    int fd;        /* above 0: open already, and path only its name */
    char *serial;  /* NULL: one from its slot */
    unsigned slot; /* of PCI; 0: the first that is free */
    bool readonly;
};

struct vm_nic {
    char *backend; /* as net_open() takes it */
    char *id;      /* NULL: "net" and its number */
    unsigned slot; /* of PCI; 0: the first that is free */
    uint8_t mac[6];
    bool has_mac;  /* otherwise the board gives it one */
};

struct vm_config {
    char *name;
    char *engine;         /* "auto", "kvm", "dbt" */
    char *engine_options; /* NULL: none */
    unsigned cpus;
    uint64_t memory;      /* bytes */
    char *cpu;            /* NULL: the engine's best */
    char *kernel, *initrd, *append; /* NULL: none */
    int kernel_fd, initrd_fd;       /* above 0: open already, and the path only its name */
    struct vm_disk disk[VM_DISKS_MAX];
    unsigned disk_count;
    struct vm_nic nic[VM_NICS_MAX];
    unsigned nic_count;
    char *control;        /* path of the control socket; NULL: none */
    char *serial;         /* as character_open() takes it */
    char *console;        /* of the virtio console, the same; NULL: no such device */
    int userfault_fd;     /* above 0: /dev/userfaultfd, opened by somebody who may: for post-copy to here */
    char *incoming;       /* migration address at which the VM is waited for, or "defer"; NULL: boot */
    char *tls_directory;  /* of certificates for migrations; NULL: /etc/pki/qemu */
    char *load;           /* file made by x-ferry-save from which the VM continues; NULL: boot */
    bool testdev, no_reboot, stats, paused;
    bool no_sandbox;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_CAPABILITIES };

/* Fills *ret_config from the arguments (argv[0] is skipped). 0 with *ret_result, or -EINVAL, -ENOMEM with a sentence.
 * What the sentence complains about, it also names the alternatives of. The caller frees ret_config by vm_config_fini()
 * in either case. */
int options_parse(int argc, char *const argv[], struct vm_config *ret_config, enum options_result *ret_result,
                  struct err *err);

/* Whether what the options ask for can be had on this host: memory against RAM and swap, the CPU count. -EINVAL. */
int vm_config_check(const struct vm_config *config, struct err *err);

void vm_config_fini(struct vm_config *config);

void options_print_help(FILE *out);

#endif
