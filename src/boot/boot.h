/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct boot: puts a kernel, its initrd, its command line and the firmware's tables into guest memory.
 *
 *     struct boot_config config = {.kernel = "vmlinuz", .initrd = "initrd.img", .cmdline = "console=ttyS0", .cpus = 2};
 *     r = boot_load(&config, memory, &bsp, &err);
 *
 * Formats, told apart by their content:
 *  - bzImage (Linux x86 boot protocol 2.10 and newer): 64-bit entry, or 32-bit when the kernel has no 64-bit one;
 *  - ELF with a Multiboot 1 header, or any file with one that carries the addresses itself;
 *  - ELF with the PVH note (uncompressed vmlinux).
 *
 * Every field of these files is checked. Nothing here runs guest code. */
#ifndef FERRY_BOOT_BOOT_H
#define FERRY_BOOT_BOOT_H

#include <stdbool.h>

struct err;
struct memory;
struct x86_state;

#define BOOT_CPUS_MAX 1024

struct boot_config {
    const char *kernel;  /* path */
    const char *initrd;  /* path, or NULL; the one module of a Multiboot kernel */
    int kernel_fd, initrd_fd; /* above 0: open already, and the path only its name; the caller's */
    const char *cmdline; /* or NULL; a Multiboot kernel gets its own path in front, as argv[0] */
    unsigned cpus;       /* 1 to BOOT_CPUS_MAX; APIC IDs are 0 to cpus - 1 */
    bool hpet;           /* the board has one */
};

/* Loads the kernel and writes ACPI tables and memory map; sets every field of bsp as the format's protocol wants it at
 * entry. The memory holds the board's RAM already (bus/platform.h). Call it again on the same memory for a reboot.
 *
 * Errors: those of open and read; -ENOEXEC for a file in no or a broken format; -ENOMEM when RAM is too small; -E2BIG
 * for too long a command line; -EINVAL. On failure bsp is untouched; memory may hold parts of the images. */
int boot_load(const struct boot_config *config, struct memory *memory, struct x86_state *bsp, struct err *err);

/* Sets in the reset state of a CPU what firmware would have set in each, the secondary ones included: MTRRs on, RAM
 * write-back. boot_load() has done so for bsp. */
void boot_prepare_cpu(struct x86_state *state);

#endif
