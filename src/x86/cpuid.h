/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID as a table, and the CPU models: what a guest is offered, the same on both engines. */
#ifndef FERRY_X86_CPUID_H
#define FERRY_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define CPUID_ENTRIES_MAX 96

struct cpuid_entry {
    uint32_t leaf, subleaf;
    bool indexed; /* the subleaf matters */
    uint32_t eax, ebx, ecx, edx;
};

struct cpuid_table {
    unsigned count;
    struct cpuid_entry entry[CPUID_ENTRIES_MAX];
};

/* The entry for leaf and subleaf, or NULL. */
const struct cpuid_entry *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);

/* What CPUID returns, rules for leaves out of range included (AMD's: zeroes). */
void cpuid_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t ret[static 4]);

/* The host's own CPUID, every leaf and subleaf that matters. */
void cpuid_host(struct cpuid_table *ret_table);

/* Builds what a guest is offered.
 * model: "x86-64-v1" ... "x86-64-v4", "host", "max", each optionally followed by ",+feature,-feature,vendor=AuthenticAMD|
 * GenuineIntel,phys-bits=N,tsc-frequency=HZ" (feature names as in /proc/cpuinfo; the frequency is not looked at here, see
 * cpuid_tsc.h). A named model is the same CPU wherever it is built: vendor,
 * family, model, caches and 40 bits of physical address are its own, not the host's (fewer bits only where the host has no
 * more). supported: the features that the engine can deliver; a named model that asks
 * for more is refused in a sentence that lists what is missing; "host" and "max" take what there is.
 * cpus: how many the VM has. tsc_khz: its TSC frequency. Topology leaves hold CPU 0's APIC ID; see cpuid_for_cpu(). */
struct cpuid_request {
    const char *model;
    const struct cpuid_table *supported;
    unsigned cpus;
    uint32_t tsc_khz;
    const struct cpuid_table *host; /* whose family, model and name "host" tells; NULL: those of the CPU that this runs on */
};
int cpuid_build(const struct cpuid_request *request, struct cpuid_table *ret_table, struct err *err);

/* Puts the APIC ID of one CPU into the leaves that tell it (1, 0xb, 0x1f, 0x8000001e). */
void cpuid_for_cpu(struct cpuid_table *table, uint32_t apic_id);

/* Names of the models, for messages: a NULL-terminated list. */
const char *const *cpuid_model_names(void);

#endif
