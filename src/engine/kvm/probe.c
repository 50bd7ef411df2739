/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The measured probe: runs a tiny 64-bit guest at CPL 0 and times it, because /dev/kvm alone says nothing about speed.
 *
 * Where KVM has no hardware below it (a host that is itself a VM), kernel-mode code is emulated one instruction at a
 * time, thousands of times slower than native; a counting loop shows the difference in less than a millisecond. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "engine/kvm/internal.h"
#include "x86/state.h"

#define PROBE_MEMORY KIB(64)
#define PROBE_PML4 0x1000
#define PROBE_PDPT 0x2000
#define PROBE_DIRECTORY 0x3000
#define PROBE_CODE 0x4000
#define INSTRUCTIONS_PER_TURN 2
#define NATIVE_PICOSECONDS_MAX 10000 /* per instruction; hardware takes under 1000, an emulator some 100000 and more */

struct probe_vm {
    int system_fd, vm_fd, vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
};

static void probe_vm_free(struct probe_vm *vm)
{
    if (vm->run != NULL)
        munmap(vm->run, vm->run_size);
    fd_close(&vm->vcpu_fd);
    fd_close(&vm->vm_fd);
    fd_close(&vm->system_fd);
    if (vm->memory != NULL)
        munmap(vm->memory, PROBE_MEMORY);
}

static void write_guest(uint8_t *memory)
{
    static const uint8_t code[] = {
        0x48, 0xff, 0xc9, /* 1: dec rcx */
        0x75, 0xfb,       /*    jnz 1b */
        0xf4,             /*    hlt */
    };

    store_le64(memory + PROBE_PML4, PROBE_PDPT | 7);
    store_le64(memory + PROBE_PDPT, PROBE_DIRECTORY | 7);
    store_le64(memory + PROBE_DIRECTORY, 0x87); /* the first 2 MiB, one to one */
    memcpy(memory + PROBE_CODE, code, sizeof(code));
}

static int make_memory(struct probe_vm *vm)
{
    struct kvm_userspace_memory_region region = {.memory_size = PROBE_MEMORY};
    void *p = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    vm->memory = p;
    write_guest(vm->memory);
    region.userspace_addr = (uintptr_t)p;
    return kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int make_vcpu(struct probe_vm *vm)
{
    void *p;
    int r = kvm_ioctl(vm->vm_fd, KVM_CREATE_VCPU, NULL);

    if (r < 0)
        return r;
    vm->vcpu_fd = r;
    r = kvm_ioctl(vm->system_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (r < (int)sizeof(struct kvm_run))
        return -EIO;
    vm->run_size = (size_t)r;
    p = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    vm->run = p;
    return 0;
}

/* The guest's CPUID is the host's: without it some hosts refuse long mode. */
static int set_cpuid(struct probe_vm *vm)
{
    const unsigned count = 256;
    struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + count * sizeof(list->entries[0]));
    int r;

    if (list == NULL)
        return -ENOMEM;
    list->nent = count;
    r = kvm_ioctl(vm->system_fd, KVM_GET_SUPPORTED_CPUID, list);
    if (r == 0)
        r = kvm_ioctl(vm->vcpu_fd, KVM_SET_CPUID2, list);
    free(list);
    return r;
}

static int enter_long_mode(struct probe_vm *vm)
{
    const struct kvm_segment data = {.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_sregs sregs;
    int r = kvm_ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs);

    if (r < 0)
        return r;
    sregs.cs =
        (struct kvm_segment){.limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG;
    sregs.cr3 = PROBE_PML4;
    sregs.cr4 = X86_CR4_PAE;
    sregs.efer = X86_EFER_LME | X86_EFER_LMA;
    return kvm_ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs);
}

static int make_guest(struct probe_vm *vm)
{
    int r = kvm_ioctl(vm->system_fd, KVM_CREATE_VM, NULL);

    if (r < 0)
        return r;
    vm->vm_fd = r;
    if ((r = kvm_ioctl_value(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000)) < 0 || (r = make_memory(vm)) < 0 ||
        (r = make_vcpu(vm)) < 0 || (r = set_cpuid(vm)) < 0)
        return r;
    return enter_long_mode(vm);
}

/* Runs the loop for so many turns until its HLT. Nanoseconds, or -errno. */
static int64_t time_loop(struct probe_vm *vm, uint64_t turns)
{
    struct kvm_regs regs = {.rip = PROBE_CODE, .rcx = turns, .rflags = 2, .rsp = PROBE_MEMORY};
    int64_t start;
    int r = kvm_ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs);

    if (r < 0)
        return r;
    start = host_monotonic_ns();
    r = kvm_ioctl(vm->vcpu_fd, KVM_RUN, NULL);
    if (r < 0)
        return r;
    return vm->run->exit_reason == KVM_EXIT_HLT ? host_monotonic_ns() - start : -EIO;
}

/* Picoseconds per instruction, or -errno. The cost of one exit is taken off by timing the shortest loop first, which
 * also warms up. */
static int64_t measure(struct probe_vm *vm)
{
    uint64_t turns = 250;
    int64_t base, time;

    if ((base = time_loop(vm, 1)) < 0 || (base = time_loop(vm, 1)) < 0 || (time = time_loop(vm, turns)) < 0)
        return base < 0 ? base : time;
    if (time - base < 50000) {
        turns = 500000;
        time = time_loop(vm, turns);
        if (time < 0)
            return time;
    }
    return (time > base ? time - base : 0) * 1000 / (int64_t)(turns * INSTRUCTIONS_PER_TURN);
}

static void judge(int64_t picoseconds, struct engine_probe *ret)
{
    if (picoseconds < 0) {
        text_format(ret->reason, sizeof(ret->reason), "KVM on this host can't run the probe's guest: %s",
                    strerror((int)-picoseconds));
        return;
    }
    ret->usable = true;
    ret->instruction_ns_x1000 = (uint64_t)picoseconds;
    ret->native = picoseconds <= NATIVE_PICOSECONDS_MAX;
    if (!ret->native)
        text_format(ret->reason, sizeof(ret->reason),
                    "KVM on this host emulates kernel code instead of running it: %lld ns for a simple instruction",
                    (long long)picoseconds / 1000);
}

void kvm_probe(struct engine_probe *ret_probe)
{
    struct probe_vm vm = {.system_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
    struct err err = ERR_INIT;
    int64_t picoseconds;

    *ret_probe = (struct engine_probe){0};
    if (kvm_open(&vm.system_fd, &err) < 0) {
        text_format(ret_probe->reason, sizeof(ret_probe->reason), "%s", err.message);
        return;
    }
    picoseconds = make_guest(&vm);
    if (picoseconds >= 0)
        picoseconds = measure(&vm);
    judge(picoseconds, ret_probe);
    probe_vm_free(&vm);
}
