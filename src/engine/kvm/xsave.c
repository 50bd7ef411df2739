/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87, SSE, AVX and the rest of the XSAVE image: KVM's, laid out as the host's CPUID leaf 0xd says (AMD and Intel differ
 * above AVX), and ours, laid out as x86/xsave.h says. */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "engine/kvm/internal.h"
#include "x86/state.h"
#include "x86/xsave.h"

#define MXCSR_MASK 0xffff /* every CPU with SSE2's denormals-are-zeros, so every one with long mode */
#define SW_RESERVED 416 /* bytes 416..511 of the legacy region mean nothing to the CPU */

/* Where the host keeps component `number`; false: it has none. */
static bool host_component(unsigned number, size_t area, uint32_t *ret_offset)
{
    uint32_t size, offset, ecx, edx;

    if (!__get_cpuid_count(0xd, number, &size, &offset, &ecx, &edx) || size == 0)
        return false;
    if (size < x86_xstate_components[number].size || (size_t)offset + size > area)
        return false;
    *ret_offset = offset;
    return true;
}

static int from_host(const uint8_t *host, size_t area, struct x86_state *state, struct err *err)
{
    uint64_t xstate_bv = load_le64(host + X86_XSAVE_XSTATE_BV);

    if (xstate_bv & ~X86_XSTATE_ALL)
        return err_set(err, -ENOTSUP, "the CPU has XSAVE components %#llx, for which a saved state has no room",
                       (unsigned long long)(xstate_bv & ~X86_XSTATE_ALL));
    memset(state->xsave, 0, sizeof(state->xsave));
    memcpy(state->xsave, host, SW_RESERVED);
    store_le32(state->xsave + X86_XSAVE_MXCSR_MASK, MXCSR_MASK);
    store_le64(state->xsave + X86_XSAVE_XSTATE_BV, xstate_bv);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        const struct x86_xstate_component *ours = &x86_xstate_components[i];
        uint32_t offset;

        if ((xstate_bv & BIT(i)) && host_component(i, area, &offset))
            memcpy(state->xsave + ours->offset, host + offset, ours->size);
    }
    return 0;
}

/* Whether a component holds nothing but its initial values: zero for all of those above SSE. */
static bool is_initial(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* A component that the host lacks is let go while it is in its initial configuration: the guest has never used it. */
static int component_to_host(const struct x86_state *state, unsigned number, uint8_t *host, size_t area, struct err *err)
{
    const uint8_t *bytes = state->xsave + x86_xstate_components[number].offset;
    size_t size = x86_xstate_components[number].size;
    uint32_t offset;

    if (host_component(number, area, &offset))
        memcpy(host + offset, bytes, size);
    else if (is_initial(bytes, size))
        store_le64(host + X86_XSAVE_XSTATE_BV, load_le64(host + X86_XSAVE_XSTATE_BV) & ~BIT(number));
    else
        return err_set(err, -ENOTSUP, "the saved CPU state uses XSAVE component %u, which this host's CPU lacks", number);
    return 0;
}

static int to_host(const struct x86_state *state, uint8_t *host, size_t area, struct err *err)
{
    uint64_t xstate_bv = load_le64(state->xsave + X86_XSAVE_XSTATE_BV);
    int r = 0;

    memcpy(host, state->xsave, SW_RESERVED);
    store_le64(host + X86_XSAVE_XSTATE_BV, xstate_bv);
    for (unsigned i = 2; r == 0 && i < X86_XSTATE_COMPONENTS; i++)
        if (xstate_bv & BIT(i))
            r = component_to_host(state, i, host, area, err);
    return r;
}

int kvm_get_xsave(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    size_t size = vcpu->vm->xsave_size;
    uint8_t *host = calloc(1, size);
    int r;

    if (host == NULL)
        return err_set(err, -ENOMEM, "no memory for a CPU's XSAVE area");
    r = kvm_ioctl(vcpu->fd, size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, host);
    if (r < 0)
        err_set(err, r, "KVM does not give the x87 and vector registers of CPU %u: %s", vcpu->id, strerror(-r));
    else
        r = from_host(host, size, state, err);
    free(host);
    return r;
}

int kvm_set_xsave(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    size_t size = vcpu->vm->xsave_size;
    uint8_t *host = calloc(1, size);
    int r;

    if (host == NULL)
        return err_set(err, -ENOMEM, "no memory for a CPU's XSAVE area");
    r = to_host(state, host, size, err);
    if (r == 0) {
        r = kvm_ioctl(vcpu->fd, KVM_SET_XSAVE, host);
        if (r < 0)
            err_set(err, r, "KVM refuses the x87 and vector registers of CPU %u: %s", vcpu->id, strerror(-r));
    }
    free(host);
    return r;
}
