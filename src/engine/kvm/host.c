/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's KVM as a whole: opening it, what it must be able to do, and the CPUID features that guests can be given. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/fd.h"
#include "engine/kvm/internal.h"
#include "x86/cpuid.h"
#include "x86/xsave.h"

int kvm_ioctl(int fd, unsigned long request, void *argument)
{
    int r;

    do
        r = ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

int kvm_ioctl_value(int fd, unsigned long request, unsigned long argument)
{
    return kvm_ioctl(fd, request, (void *)argument);
}

static const struct {
    int number;
    const char *name;
} required[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},       {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},     {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
    {KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2"},         {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},         {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},       {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},                   {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},     {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"}, {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
};

static int check_host(int fd, struct err *err)
{
    int version = kvm_ioctl(fd, KVM_GET_API_VERSION, NULL);

    if (version != KVM_API_VERSION)
        return err_set(err, -ENOTSUP, "/dev/kvm speaks version %d of its interface, not %d: use --engine dbt", version,
                       KVM_API_VERSION);
    for (unsigned i = 0; i < ARRAY_SIZE(required); i++)
        if (kvm_ioctl_value(fd, KVM_CHECK_EXTENSION, required[i].number) <= 0)
            return err_set(err, -ENOTSUP, "this host's KVM lacks %s, which the kvm engine needs: use --engine dbt",
                           required[i].name);
    return 0;
}

int kvm_open(int *ret_fd, struct err *err)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), r;

    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return err_set(err, -EACCES, "no permission to open /dev/kvm: add this user to its group (often \"kvm\"), or use "
                                     "--engine dbt");
    if (fd < 0)
        return err_set(err, -ENODEV, "cannot open /dev/kvm: %s: enable hardware virtualization and the kvm module, or "
                                     "use --engine dbt",
                       strerror(errno));
    r = check_host(fd, err);
    if (r < 0) {
        fd_close(&fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

enum cpuid_register { EAX, EBX, ECX, EDX };

/* Features whose registers struct x86_state does not hold (or, for RDPMC's and nested virtualization's, that no saved
 * state could bring to another engine): never offered, so that every guest can be saved. */
static const struct {
    uint32_t leaf, subleaf;
    enum cpuid_register reg;
    uint32_t bits;
} unsaved[] = {
    {0x1, 0, ECX, BIT(2) | BIT(3) | BIT(5) | BIT(6) | BIT(15)}, /* DTES64, MONITOR, VMX, SMX, PDCM */
    {0x1, 0, EDX, BIT(21)},                                      /* DS */
    {0x7, 0, EBX, BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(25)}, /* SGX, RDT-M, MPX, RDT-A, PT */
    {0x7, 0, ECX, BIT(5) | BIT(7) | BIT(30) | BIT(31)},          /* WAITPKG, SHSTK, SGX_LC, PKS */
    /* UINTR, LBR, IBT, AMX, ARCH_CAPABILITIES, CORE_CAPABILITIES */
    {0x7, 0, EDX, BIT(5) | BIT(19) | BIT(20) | BIT(22) | BIT(24) | BIT(25) | BIT(29) | BIT(30)},
    {0x7, 1, EAX, BIT(17) | BIT(21)}, /* FRED, AMX-FP16 */
    {0xd, 0, EAX, ~(uint32_t)X86_XSTATE_ALL | (uint32_t)X86_XSTATE_MPX},
    {0xd, 0, EDX, UINT32_MAX},
    {0xd, 1, EAX, BIT(4)}, /* XFD */
    {0xd, 1, ECX, UINT32_MAX},
    {0xd, 1, EDX, UINT32_MAX},
    /* SVM, IBS, SKINIT, LWP, NodeId, PERFCTR_CORE, PERFCTR_NB, BPEXT, PERFCTR_LLC */
    {0x80000001, 0, ECX,
     BIT(2) | BIT(10) | BIT(12) | BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(26) | BIT(28)},
    {0x40000001, 0, EAX, ~(uint32_t)(BIT(1) | BIT(3) | BIT(24))}, /* all but no-delay I/O, kvmclock and its stable bit */
};

static bool is_unsaved_leaf(uint32_t leaf, uint32_t subleaf)
{
    /* Architectural PMU, SGX, PT, LBR, AMX (2), SVM, IBS, LWP, SEV, AMD PMU. */
    static const uint32_t leaves[] = {0xa,        0x12,       0x14,       0x1c,       0x1d,      0x1e,
                                      0x8000000a, 0x8000001b, 0x8000001c, 0x8000001f, 0x80000022};

    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
        if (leaves[i] == leaf)
            return true;
    return leaf == 0xd && subleaf >= 2 && (subleaf >= 32 || !(BIT(subleaf) & X86_XSTATE_ALL & ~X86_XSTATE_MPX));
}

static void mask_unsaved(struct cpuid_entry *entry)
{
    uint32_t *const registers[] = {&entry->eax, &entry->ebx, &entry->ecx, &entry->edx};

    for (unsigned i = 0; i < ARRAY_SIZE(unsaved); i++)
        if (unsaved[i].leaf == entry->leaf && unsaved[i].subleaf == entry->subleaf)
            *registers[unsaved[i].reg] &= ~unsaved[i].bits;
}

static struct kvm_cpuid2 *read_supported_cpuid(int fd)
{
    const unsigned count = 256;
    struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + count * sizeof(list->entries[0]));

    if (list == NULL)
        return NULL;
    list->nent = count;
    if (kvm_ioctl(fd, KVM_GET_SUPPORTED_CPUID, list) < 0) {
        free(list);
        return NULL;
    }
    return list;
}

void kvm_cpuid_offered(const struct kvm_cpuid2 *list, bool tsc_deadline, struct cpuid_table *ret_table)
{
    ret_table->count = 0;
    for (unsigned i = 0; i < list->nent && ret_table->count < CPUID_ENTRIES_MAX; i++) {
        const struct kvm_cpuid_entry2 *from = &list->entries[i];
        struct cpuid_entry entry = {.leaf = from->function,
                                    .subleaf = from->index,
                                    .indexed = from->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                                    .eax = from->eax,
                                    .ebx = from->ebx,
                                    .ecx = from->ecx,
                                    .edx = from->edx};

        mask_unsaved(&entry);
        if (entry.leaf == 1 && tsc_deadline)
            entry.ecx |= BIT(24);
        if (is_unsaved_leaf(entry.leaf, entry.subleaf) || (entry.eax | entry.ebx | entry.ecx | entry.edx) == 0)
            continue;
        ret_table->entry[ret_table->count++] = entry;
    }
}

int kvm_supported_cpuid(struct cpuid_table *ret_table, struct err *err)
{
    struct kvm_cpuid2 *list;
    int fd, r = kvm_open(&fd, err);

    if (r < 0)
        return r;
    list = read_supported_cpuid(fd);
    if (list == NULL)
        r = err_set(err, -EIO, "KVM does not say which CPUID features it supports");
    else
        kvm_cpuid_offered(list, kvm_ioctl_value(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0, ret_table);
    free(list);
    fd_close(&fd);
    return r;
}
