/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a host's engine can offer, as text that people carry from host to host, and the CPU model that several hosts share.
 *
 * The text is lines of a key and its value: "ferry-cpu 1" first, then in any order "engine", "vendor", "physical-bits", "features"
 * (names as in /proc/cpuinfo, separated by blanks; lines add up), "tsc KHZ scaled|fixed" and "xstate NUMBER SIZE OFFSET" for each
 * register set of XSAVE. Keys and names that a reader does not know are skipped; # begins a comment line. */
#ifndef FERRY_X86_CPUID_BASELINE_H
#define FERRY_X86_CPUID_BASELINE_H

#include <stddef.h>

#include "x86/cpuid_feature.h"
#include "x86/xsave.h"

struct buffer;

#define CPUID_DESCRIPTION_MAX 65536 /* bytes of text */
#define CPUID_MODEL_MAX 1024        /* bytes of a model with its options */

struct cpuid_description {
    char engine[16], vendor[16];
    uint32_t physical_bits;
    uint32_t tsc_khz; /* the host's; 0: not told */
    bool tsc_fixed;   /* guests can't be given another frequency */
    struct cpuid_features features;
    struct x86_xstate_component xstate[X86_XSTATE_COMPONENTS]; /* size 0: not there */
};

/* Of what an engine supports. The TSC is the caller's to tell. */
void cpuid_describe(const struct cpuid_table *supported, const char *engine, struct cpuid_description *ret_description);

int cpuid_description_print(const struct cpuid_description *description, struct buffer *out);

/* -EBADMSG with a sentence that names the line. */
int cpuid_description_parse(const char *text, size_t size, struct cpuid_description *ret_description, struct err *err);

/* The model, as --cpu takes it, that offers the most of what all of them have, the same on each of them: the highest level of
 * x86-64 that all reach, and the instructions beyond it that all have. Where a host can't scale the TSC and another one's has
 * another frequency, also the TSC frequency that VMs must be made with. -ENOTSUP with a sentence when they share not even the first
 * level, or two TSCs can't be scaled. names: what to call them in it. */
int cpuid_baseline(const struct cpuid_description *list, const char *const *names, unsigned count,
                   char ret_model[static CPUID_MODEL_MAX], struct err *err);

#endif
