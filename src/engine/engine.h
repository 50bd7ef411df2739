/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seam: one interface behind which guest code runs, by KVM or by our own translator.
 *
 * Everything in it is plain data of ours: no kvm_run, no kernel struct crosses it. The rest of Ferry asks for
 * capabilities, never for an engine's name.
 *
 * Threads: each vCPU is run by one thread (engine_vcpu_run). kick, interrupt, nmi, init, sipi, irq_line, msi, doorbells and the
 * dirty log may be called from any thread, with or without the machine lock. get/set state only while the vCPU is not
 * inside engine_vcpu_run(). Hooks are called by the vCPU's thread with no lock held. */
#ifndef FERRY_ENGINE_ENGINE_H
#define FERRY_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "state/irqchip.h"

struct cpuid_table;
struct cpuid_xsave_layout;
struct memory;
struct x86_state;

enum engine_capability {
    ENGINE_IRQCHIP = 1 << 0,      /* PIC, IOAPIC, LAPIC and PIT live in the engine; irq_line and msi work */
    ENGINE_IRQFD = 1 << 1,
    ENGINE_IOEVENTFD = 1 << 2,
    ENGINE_DIRTY_LOG = 1 << 3,
    ENGINE_DIRTY_RING = 1 << 4,   /* the log is kept in a ring: cost goes with dirty pages, not with memory */
    ENGINE_SINGLE_STEP = 1 << 5,
};

enum exit_kind {
    EXIT_KICKED,     /* engine_vcpu_kick() */
    EXIT_SHUTDOWN,   /* triple fault */
    EXIT_HALT,       /* halted for ever: HLT with interrupts off and no way to wake but INIT or NMI */
    EXIT_ERROR,      /* the engine can't go on: message says why */
};

struct exit {
    enum exit_kind kind;
    char message[200];
};

/* What an engine asks of the machine around it. apic_* and interrupt_acknowledge are used only by engines without ENGINE_IRQCHIP. */
struct engine_hooks {
    void *ctx;
    uint64_t (*port_read)(void *ctx, unsigned cpu, uint16_t port, unsigned size);
    void (*port_write)(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value);
    uint64_t (*mmio_read)(void *ctx, unsigned cpu, uint64_t address, unsigned size);
    void (*mmio_write)(void *ctx, unsigned cpu, uint64_t address, unsigned size, uint64_t value);
    /* The CPU takes an interrupt: the vector, moved from IRR to ISR (or the PIC's INTA); -1 = there is none any more. */
    int (*interrupt_acknowledge)(void *ctx, unsigned cpu);
    /* MSRs 0x1b, 0x6e0, 0x800..0x8ff. 0, or -EINVAL for #GP. */
    int (*apic_msr_read)(void *ctx, unsigned cpu, uint32_t msr, uint64_t *ret_value);
    int (*apic_msr_write)(void *ctx, unsigned cpu, uint32_t msr, uint64_t value);
    /* CR8: TPR bits 7:4 as 0..15. */
    uint64_t (*tpr_read)(void *ctx, unsigned cpu);
    void (*tpr_write)(void *ctx, unsigned cpu, uint64_t value);
    /* Something for the log, each said once in the life of a VM (what a host refused, say). May be NULL. */
    void (*notice)(void *ctx, const char *sentence);
    /* An interrupt message, delivery mode and vector as in the ICR `icr`, to each CPU of a bitmap whose first bit is that of APIC ID
     * `first`. Returns how many took it. May be NULL. */
    unsigned (*apic_send)(void *ctx, const uint64_t bitmap[static 2], uint32_t first, uint64_t icr);
};

#define ENGINE_CPUS_MAX 64

struct engine_config {
    struct memory *memory;              /* all RAM already added; outlives the VM */
    unsigned cpus;
    bool use_irqchip;                   /* false keeps interrupt controllers outside even where ENGINE_IRQCHIP is there */
    uint32_t tsc_khz;                   /* guest TSC frequency, CPUID_TSC_KHZ_MIN..MAX; 0 = the host's */
    struct engine_hooks hooks;
    const char *options;                /* engine-specific text after "--engine NAME,"; NULL: none */
};

/* A doorbell: a guest write that signals an eventfd instead of a hook. */
struct engine_doorbell {
    bool port;                          /* port space, else MMIO */
    uint64_t address;
    unsigned size;                      /* 0: any size; else 1, 2, 4, 8 */
    bool match;                         /* only when the value written equals `value` */
    uint64_t value;
    int fd;
};

struct irqchip_state { /* what an engine with ENGINE_IRQCHIP saves, in the one layout */
    struct pic_state pic[2];
    struct pit_state pit;
    struct ioapic_state ioapic;
};

/* Result of a probe: what the engine can do on this host, measured. */
struct engine_probe {
    bool usable;            /* it can run guests at all */
    bool native;            /* kernels run at hardware speed: what --engine auto looks for */
    uint64_t instruction_ns_x1000; /* measured: picoseconds per simple guest instruction at CPL 0 */
    char reason[200];       /* why not usable, or why not native: a sentence */
};

/* The host's time stamp counter. */
struct engine_tsc {
    uint32_t khz;
    bool scales; /* guests can be given another frequency */
};

struct engine_type;
struct engine_vm { const struct engine_type *type; };   /* first member of each engine's own VM */
struct engine_vcpu { const struct engine_type *type; }; /* first member of each engine's own vCPU */

struct engine_type {
    const char *name;
    /* A few milliseconds; never fails: what it finds stands in ret. */
    void (*probe)(struct engine_probe *ret_probe);
    /* What CPUID features guests can be given. */
    int (*supported_cpuid)(struct cpuid_table *ret_table, struct err *err);
    int (*vm_new)(const struct engine_config *config, struct engine_vm **ret_vm, struct err *err);
    void (*vm_free)(struct engine_vm *vm);             /* after its vCPUs; accepts NULL */
    unsigned (*capabilities)(const struct engine_vm *vm);
    int (*host_tsc)(struct engine_tsc *ret_tsc, struct err *err);

    /* The VM's TSC frequency. It is fixed when the VM is made, moves with the VM, and is what CPUID tells; where a host's differs by
     * no more than the engine's tolerance, the counter runs at the host's. */
    uint32_t (*tsc_khz)(const struct engine_vm *vm);
    /* Gives the VM another one, and its vCPUs the CPUID leaves that tell it, while none is inside engine_vcpu_run(). The counters' values
     * are undefined until tsc_set. -ENOTSUP in a sentence with both frequencies where this host can't; then all is as it was.
     * With KVM only before a vCPU has run. */
    int (*tsc_set_khz)(struct engine_vm *vm, uint32_t khz, struct err *err);
    /* The counters of all vCPUs, by id, at one and the same moment, while none is inside engine_vcpu_run(): guests rely on how they
     * stand to each other. From tsc_get, or since the VM was made, to tsc_set the deadlines of local APICs in the engine wait. */
    void (*tsc_get)(struct engine_vm *vm, uint64_t *ret_tsc);
    void (*tsc_set)(struct engine_vm *vm, const uint64_t *tsc);

    /* Has XSAVE put registers where another host does, for a guest that comes from there, and the vCPUs' CPUID tell it, while none is
     * inside engine_vcpu_run(). A layout that cpuid_set_xsave_layout() takes. NULL: the processor decides. */
    void (*xsave_set_layout)(struct engine_vm *vm, const struct cpuid_xsave_layout *layout);

    /* id = APIC ID = index, created in order from 0. The CPU is in reset state. */
    int (*vcpu_new)(struct engine_vm *vm, unsigned id, const struct cpuid_table *cpuid, struct engine_vcpu **ret_vcpu,
                    struct err *err);
    void (*vcpu_free)(struct engine_vcpu *vcpu);       /* accepts NULL */
    /* Runs until something that the hooks can't serve. A HLT waits inside. */
    void (*vcpu_run)(struct engine_vcpu *vcpu, struct exit *ret_exit);
    /* Makes the present or the next vcpu_run return EXIT_KICKED soon, before another instruction if called from a hook. */
    void (*vcpu_kick)(struct engine_vcpu *vcpu);
    int (*vcpu_get_state)(struct engine_vcpu *vcpu, struct x86_state *ret_state, struct err *err);
    /* On failure the vCPU is as it was, or (KVM refusing half-way) unusable: don't run it. */
    int (*vcpu_set_state)(struct engine_vcpu *vcpu, const struct x86_state *state, struct err *err);

    /* Without irqchip in the engine: the INTR pin's level, and the APIC bus messages. NULL otherwise. */
    void (*vcpu_set_interrupt)(struct engine_vcpu *vcpu, bool level);
    void (*vcpu_init)(struct engine_vcpu *vcpu);
    void (*vcpu_sipi)(struct engine_vcpu *vcpu, uint8_t vector);
    void (*vcpu_nmi)(struct engine_vcpu *vcpu);        /* both kinds of engine */
    /* The guest's TSC now, from any thread: for the local APIC's deadline. */
    uint64_t (*vcpu_tsc)(struct engine_vcpu *vcpu);

    /* With irqchip in the engine. NULL otherwise. */
    int (*irq_line)(struct engine_vm *vm, unsigned gsi, bool level);
    int (*msi)(struct engine_vm *vm, uint64_t address, uint32_t data);
    int (*irqchip_get)(struct engine_vm *vm, struct irqchip_state *ret_state, struct err *err);
    int (*irqchip_set)(struct engine_vm *vm, const struct irqchip_state *state, struct err *err);
    int (*lapic_get)(struct engine_vcpu *vcpu, struct lapic_state *ret_state, struct err *err);
    int (*lapic_set)(struct engine_vcpu *vcpu, const struct lapic_state *state, struct err *err);
    /* An eventfd that raises an MSI when signalled. fd: -1 takes the route with that number away. */
    int (*irqfd_msi)(struct engine_vm *vm, unsigned route, int fd, uint64_t address, uint32_t data);

    /* Doorbells: -ENOSPC, -EEXIST; removing one that isn't there is -ENOENT. */
    int (*doorbell_add)(struct engine_vm *vm, const struct engine_doorbell *doorbell);
    int (*doorbell_remove)(struct engine_vm *vm, const struct engine_doorbell *doorbell);

    /* The log of pages written by vCPUs and by devices (memory room). fetch copies what was dirtied since the last fetch into
     * ret_bitmap (memory_bitmap_words() words) and begins anew: a write that comes after its return is in the next fetch, so
     * pages read after it are never stale unnoticed. */
    int (*dirty_start)(struct engine_vm *vm, struct err *err);
    int (*dirty_fetch)(struct engine_vm *vm, uint64_t *ret_bitmap, uint64_t *ret_pages, struct err *err);
    void (*dirty_stop)(struct engine_vm *vm);

    /* The VM clock, which is kvmclock's view of time: nanoseconds since the VM's boot; set while no vCPU runs. Times in
     * pit_state and lapic_state are of this clock, so it is set before those. */
    int (*clock_get)(struct engine_vm *vm, uint64_t *ret_ns);
    int (*clock_set)(struct engine_vm *vm, uint64_t ns);

    /* Counters, as "name value" lines appended to the text; NULL: none. */
    void (*print_statistics)(struct engine_vm *vm, char *out, size_t size);
};

/* The engines built in, in order of preference; ends with NULL. Defined in engine/engines.c, the one file of this room that
 * knows both. */
extern const struct engine_type *const engine_types[];

/* Picks by name ("kvm", "dbt"), or for "auto" the first native one by measured probe, else dbt. -ENOENT, -ENODEV; err lists what exists.
 * ret_why (may be NULL, size bytes): a sentence on why auto chose so. */
int engine_choose(const char *name, const struct engine_type **ret_type, char *ret_why, size_t size, struct err *err);

#endif
