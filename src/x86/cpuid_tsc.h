/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TSC's frequency, as CPUID tells it and as a CPU model asks for it. */
#ifndef FERRY_X86_CPUID_TSC_H
#define FERRY_X86_CPUID_TSC_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"

struct err;

/* What a VM's TSC may run at, kHz. */
#define CPUID_TSC_KHZ_MIN 100000u
#define CPUID_TSC_KHZ_MAX 20000000u

/* As far apart two counters are of one frequency, where nothing scales: KVM's own tolerance, and what time synchronization in a guest
 * makes good. */
#define CPUID_TSC_TOLERANCE_PPM 250

/* Whether a frequency is no more than so many millionths of another away from it; both in kHz. */
static inline bool cpuid_tsc_is_within(uint64_t khz, uint64_t of_khz, unsigned ppm)
{
    uint64_t difference = khz > of_khz ? khz - of_khz : of_khz - khz;

    return difference * 1000000 <= of_khz * ppm;
}

/* The local APIC's bus clock and core crystal, kHz. */
#define CPUID_CRYSTAL_KHZ 1000000u

/* Puts the frequency into those of the leaves 0x15, 0x16 (SDM vol. 2A, CPUID) and 0x40000010 that the table has. Leaf 0x15 tells a
 * ratio that is within 1 ppm and that a reader who multiplies kHz in 32 bits gets right, or, where there is none, nothing. */
void cpuid_set_tsc_khz(struct cpuid_table *table, uint32_t khz);

/* The frequency that a model's text asks for by ",tsc-frequency=HZ", in kHz; 0: it asks for none. -EINVAL: not a number in
 * the limits above. */
int cpuid_model_tsc_khz(const char *model, uint32_t *ret_khz, struct err *err);

#endif
