/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a guest that was started with one CPUID table may go on under another: what a migration asks before it moves a byte. */
#ifndef FERRY_X86_CPUID_COMPARE_H
#define FERRY_X86_CPUID_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "x86/cpuid.h"

/* 0 when the guest sees the same CPU in both; else -ENOTSUP with one sentence that names both sides' values and what to change.
 * What is told apart for each CPU (APIC IDs) doesn't count, and neither does the TSC's frequency, which the time base
 * is compared for.
 * long_mode: the guest has gone to 64-bit mode (EFER.LME on any of its CPUs). One that has not may go to a CPU with or
 * without long mode, and without what exists in long mode only. */
int cpuid_compare(const struct cpuid_table *source, const struct cpuid_table *destination, bool long_mode, struct err *err);

#endif
