/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a set of features to all leaves of CPUID. */
#ifndef FERRY_X86_CPUID_LEAF_H
#define FERRY_X86_CPUID_LEAF_H

#include "x86/cpuid_feature.h"

enum cpuid_vendor { VENDOR_AMD, VENDOR_INTEL };
enum cpuid_identity { IDENTITY_OURS, IDENTITY_HOST }; /* whose family, model and brand string are told */

struct cpuid_leaf_plan {
    const struct cpuid_request *request;
    struct cpuid_features features;
    enum cpuid_vendor vendor;
    enum cpuid_identity identity;
    uint32_t physical_bits; /* of an address */
};

void cpuid_leaves(const struct cpuid_leaf_plan *plan, struct cpuid_table *ret_table);

/* Family, model and stepping of our own CPUs, for which Linux has no errata and no costly mitigations: AMD's is
 * that of a K8, Intel's is to be seen together with ARCH_CAPABILITIES. */
#define CPUID_SIGNATURE_AMD 0x00060fb1u
#define CPUID_SIGNATURE_INTEL 0x000806f8u

#endif
