/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FXSAVE, FXRSTOR, the XSAVE family, XGETBV, XSETBV, RDPKRU and WRPKRU (SDM vol. 1 chapter 13, sections 10.5 and 2.7 of vol. 3).
 *
 * XSTATE_BV and XINUSE are exact: a component is in use when it differs from its initial configuration. The modified
 * optimisation is not made; the SDM leaves it to the implementation. */
#include "engine/dbt/vector.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"
#include "x86/xsave.h"

#define LEGACY_SIZE 512u
#define HEADER_SIZE 64u
#define COMPACT BIT(63)
#define EFER_FFXSR BIT(14)
#define AREA_MAX BOUNCE_MAX

enum { POINTERS = 8 }; /* FIP, with FDP behind it */

uint64_t dbt_xstate_offered(const struct dbt_vcpu *v)
{
    uint32_t r[4];

    cpuid_query(&v->cpuid, 0xd, 0, r);
    if (!dbt_cpuid_bit(v, 1, 0, CPUID_ECX, 26))
        return X86_XSTATE_X87 | X86_XSTATE_SSE;
    return (r[CPUID_EAX] | (uint64_t)r[CPUID_EDX] << 32) & (X86_XSTATE_ALL & ~X86_XSTATE_MPX);
}

void dbt_xsave_take_layout(struct dbt_vcpu *v)
{
    cpuid_get_xsave_layout(&v->cpuid, &v->xsave_layout);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++)
        if (v->xsave_layout.offset[i] == 0)
            v->xsave_layout.offset[i] = x86_xstate_components[i].offset;
}

void dbt_xsave_set_layout(struct engine_vm *engine_vm, const struct cpuid_xsave_layout *layout)
{
    struct dbt_vm *vm = (struct dbt_vm *)engine_vm;

    for (unsigned i = 0; i < vm->cpus; i++) {
        if (vm->vcpu[i] == NULL)
            continue;
        cpuid_set_xsave_layout(&vm->vcpu[i]->cpuid, layout, NULL);
        dbt_xsave_take_layout(vm->vcpu[i]);
    }
}

/* A part of the vector registers `first`..`last`: `bytes` of each, from byte `from` on. */
struct slice {
    unsigned first, last, from, bytes;
};

static struct slice component_slice(unsigned i, unsigned registers)
{
    switch (i) {
    case 1:
        return (struct slice){0, registers, 0, 16};
    case 2:
        return (struct slice){0, registers, 16, 16};
    case 6:
        return (struct slice){0, registers, 32, 32};
    case 7:
        return (struct slice){16, registers > 8 ? 32 : 16, 0, 64};
    default:
        return (struct slice){0, 0, 0, 0};
    }
}

static void load_slice(struct dbt_vcpu *v, struct slice s, const uint8_t *source)
{
    for (unsigned r = s.first; r < s.last; r++) {
        if (source == NULL)
            memset(v->vector[r] + s.from, 0, s.bytes);
        else
            memcpy(v->vector[r] + s.from, source + (size_t)(r - s.first) * s.bytes, s.bytes);
    }
}

static void save_slice(const struct dbt_vcpu *v, struct slice s, uint8_t *target)
{
    for (unsigned r = s.first; r < s.last; r++)
        memcpy(target + (size_t)(r - s.first) * s.bytes, v->vector[r] + s.from, s.bytes);
}

void dbt_xstate_save(const struct dbt_vcpu *v, unsigned i, unsigned registers, uint8_t *target)
{
    save_slice(v, component_slice(i, registers), target);
    if (i == 5)
        memcpy(target, v->opmask, sizeof(v->opmask));
    else if (i == 9)
        store_le64(target, v->pkru);
}

void dbt_xstate_load(struct dbt_vcpu *v, unsigned i, unsigned registers, const uint8_t *source)
{
    load_slice(v, component_slice(i, registers), source);
    if (i == 5 && source != NULL)
        memcpy(v->opmask, source, sizeof(v->opmask));
    else if (i == 5)
        memset(v->opmask, 0, sizeof(v->opmask));
    else if (i == 9)
        dbt_tlb_set_pkru(v, source != NULL ? load_le32(source) : 0);
}

void dbt_xstate_load_xmm(struct dbt_vcpu *v, unsigned registers, const uint8_t *source)
{
    load_slice(v, component_slice(1, registers), source);
}

static bool all_zero(const void *p, size_t size)
{
    const uint8_t *byte = p;

    return size == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, size - 1) == 0);
}

static bool slice_in_use(const struct dbt_vcpu *v, struct slice s)
{
    for (unsigned r = s.first; r < s.last; r++) {
        if (!all_zero(v->vector[r] + s.from, s.bytes))
            return true;
    }
    return false;
}

static bool x87_in_use(const uint8_t *x87)
{
    uint8_t initial[LEGACY_SIZE];

    dbt_fpu_initial_image(initial);
    return memcmp(x87, initial, X86_XSAVE_MXCSR) != 0 || !all_zero(x87 + X86_XSAVE_ST, 128);
}

/* XINUSE, for the components asked about. */
static uint64_t in_use(const struct dbt_vcpu *v, const uint8_t *x87, uint64_t components)
{
    uint64_t result = x87_in_use(x87) ? X86_XSTATE_X87 : 0;

    for (unsigned i = 1; i < X86_XSTATE_COMPONENTS; i++) {
        if ((components & BIT(i)) && slice_in_use(v, component_slice(i, 16)))
            result |= BIT(i);
    }
    if (!all_zero(v->opmask, sizeof(v->opmask)))
        result |= X86_XSTATE_OPMASK;
    if (v->pkru != 0)
        result |= X86_XSTATE_PKRU;
    return result & components;
}

static unsigned registers_here(const struct dbt_vcpu *v)
{
    return dbt_code64(v) ? 16 : 8;
}

/* The x87 part of the legacy region: 64-bit pointers with REX.W, else offset and selector, of which the latter is 0. */
static void put_x87(uint8_t *area, const uint8_t *x87, bool wide)
{
    memcpy(area, x87, X86_XSAVE_MXCSR);
    if (!wide) {
        store_le32(area + POINTERS + 4, 0);
        store_le32(area + POINTERS + 12, 0);
    }
    memcpy(area + X86_XSAVE_ST, x87 + X86_XSAVE_ST, 128);
}

static void get_x87(uint8_t *x87, const uint8_t *area, bool wide)
{
    memcpy(x87, area, X86_XSAVE_MXCSR);
    if (!wide) {
        store_le32(x87 + POINTERS + 4, 0);
        store_le32(x87 + POINTERS + 12, 0);
    }
    memcpy(x87 + X86_XSAVE_ST, area + X86_XSAVE_ST, 128);
}

static uint64_t aligned_address(struct dbt_vcpu *v, const struct op *op, unsigned size, unsigned access, unsigned alignment)
{
    uint64_t linear = dbt_segment_address(v, op->segment, dbt_offset(v, op), size, access);

    if (linear & (alignment - 1))
        dbt_raise_error(v, X86_GP, 0);
    return linear;
}

/* op->argument of these handlers: REX.W. AMD's fast FXSAVE leaves the XMM registers out. */
static bool fast_fxsave(const struct dbt_vcpu *v)
{
    return (v->msr.efer & EFER_FFXSR) && v->cpl == 0 && dbt_code64(v);
}

static void op_fxsave(struct dbt_vcpu *v, const struct op *op)
{
    _Alignas(16) uint8_t bounce[LEGACY_SIZE], x87[LEGACY_SIZE];
    uint64_t linear = aligned_address(v, op, LEGACY_SIZE, ACCESS_WRITE, 16);
    uint8_t *area = dbt_access_begin(v, linear, LEGACY_SIZE, ACCESS_READ | ACCESS_WRITE, bounce);

    dbt_fpu_read(v, x87);
    put_x87(area, x87, op->argument);
    memcpy(area + X86_XSAVE_MXCSR, x87 + X86_XSAVE_MXCSR, 8);
    if (!fast_fxsave(v))
        save_slice(v, component_slice(1, registers_here(v)), area + X86_XSAVE_XMM);
    dbt_access_end(v, linear, LEGACY_SIZE, ACCESS_READ | ACCESS_WRITE, area, bounce);
}

static void op_fxrstor(struct dbt_vcpu *v, const struct op *op)
{
    _Alignas(16) uint8_t bounce[LEGACY_SIZE], area[LEGACY_SIZE], x87[LEGACY_SIZE];
    uint64_t linear = aligned_address(v, op, LEGACY_SIZE, ACCESS_READ, 16);

    memcpy(area, dbt_access_begin(v, linear, LEGACY_SIZE, ACCESS_READ, bounce), LEGACY_SIZE);
    if (load_le32(area + X86_XSAVE_MXCSR) & ~MXCSR_VALID)
        dbt_raise_error(v, X86_GP, 0);
    dbt_fpu_initial_image(x87);
    get_x87(x87, area, op->argument);
    memcpy(x87 + X86_XSAVE_MXCSR, area + X86_XSAVE_MXCSR, 4);
    dbt_fpu_write(v, x87);
    if (!fast_fxsave(v))
        dbt_xstate_load_xmm(v, registers_here(v), area + X86_XSAVE_XMM);
}

static uint64_t requested(const struct dbt_vcpu *v)
{
    return (uint32_t)v->gpr[X86_RAX] | (v->gpr[X86_RDX] << 32);
}

/* Where component i lies in an area of the compacted format (SDM vol. 1 section 13.4.3), and its end otherwise. */
static unsigned component_offset(const struct dbt_vcpu *v, uint64_t xcomp_bv, unsigned i)
{
    unsigned offset = LEGACY_SIZE + HEADER_SIZE;

    if (!(xcomp_bv & COMPACT))
        return v->xsave_layout.offset[i];
    for (unsigned j = 2; j <= i; j++) {
        if ((xcomp_bv & BIT(j)) && dbt_cpuid_bit(v, 0xd, j, CPUID_ECX, 1))
            offset = (unsigned)align_up(offset, 64);
        if ((xcomp_bv & BIT(j)) && j < i)
            offset += x86_xstate_components[j].size;
    }
    return offset;
}

/* Bytes of an area up to the end of the last of the components. */
static unsigned area_size(const struct dbt_vcpu *v, uint64_t xcomp_bv, uint64_t components)
{
    unsigned size = LEGACY_SIZE + HEADER_SIZE;

    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        unsigned end = component_offset(v, xcomp_bv, i) + x86_xstate_components[i].size;

        if ((components & BIT(i)) && end > size)
            size = end;
    }
    return size;
}

static void save_area(const struct dbt_vcpu *v, uint8_t *area, const uint8_t *x87, uint64_t xcomp_bv, uint64_t components,
                      bool wide)
{
    if (components & X86_XSTATE_X87)
        put_x87(area, x87, wide);
    if (components & X86_XSTATE_SSE)
        save_slice(v, component_slice(1, registers_here(v)), area + X86_XSAVE_XMM);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        if (components & BIT(i))
            dbt_xstate_save(v, i, registers_here(v), area + component_offset(v, xcomp_bv, i));
    }
}

static void store_mxcsr(uint8_t *area, const uint8_t *x87)
{
    memcpy(area + X86_XSAVE_MXCSR, x87 + X86_XSAVE_MXCSR, 8);
}

/* XSAVE and, with op->argument2, XSAVEOPT: the standard format. */
static void op_xsave(struct dbt_vcpu *v, const struct op *op)
{
    _Alignas(64) uint8_t bounce[AREA_MAX];
    uint8_t x87[LEGACY_SIZE];
    uint64_t rfbm = requested(v) & v->xcr0, used, bv;
    unsigned size = area_size(v, 0, rfbm);
    uint64_t linear = aligned_address(v, op, size, ACCESS_WRITE, 64);
    uint8_t *area = dbt_access_begin(v, linear, size, ACCESS_READ | ACCESS_WRITE, bounce);

    dbt_fpu_read(v, x87);
    used = in_use(v, x87, v->xcr0);
    save_area(v, area, x87, 0, op->argument2 ? rfbm & used : rfbm, op->argument);
    if (rfbm & (X86_XSTATE_SSE | X86_XSTATE_AVX))
        store_mxcsr(area, x87);
    bv = load_le64(area + X86_XSAVE_XSTATE_BV);
    store_le64(area + X86_XSAVE_XSTATE_BV, (bv & ~rfbm) | (used & rfbm));
    dbt_access_end(v, linear, size, ACCESS_READ | ACCESS_WRITE, area, bounce);
}

static void save_compact(struct dbt_vcpu *v, const struct op *op, uint64_t rfbm)
{
    _Alignas(64) uint8_t bounce[AREA_MAX];
    uint8_t x87[LEGACY_SIZE];
    unsigned size = area_size(v, rfbm | COMPACT, rfbm);
    uint64_t linear = aligned_address(v, op, size, ACCESS_WRITE, 64), bv;
    uint8_t *area = dbt_access_begin(v, linear, size, ACCESS_READ | ACCESS_WRITE, bounce);

    dbt_fpu_read(v, x87);
    bv = in_use(v, x87, rfbm);
    if (dbt_fpu_mxcsr(v) != MXCSR_INITIAL)
        bv |= rfbm & X86_XSTATE_SSE;
    save_area(v, area, x87, rfbm | COMPACT, bv, op->argument);
    if (bv & X86_XSTATE_SSE)
        store_mxcsr(area, x87);
    memset(area + LEGACY_SIZE, 0, HEADER_SIZE);
    store_le64(area + X86_XSAVE_XSTATE_BV, bv);
    store_le64(area + X86_XSAVE_XCOMP_BV, rfbm | COMPACT);
    dbt_access_end(v, linear, size, ACCESS_READ | ACCESS_WRITE, area, bounce);
}

static void op_xsavec(struct dbt_vcpu *v, const struct op *op)
{
    save_compact(v, op, requested(v) & v->xcr0);
}

static void op_xsaves(struct dbt_vcpu *v, const struct op *op)
{
    if (v->cpl != 0)
        dbt_raise_error(v, X86_GP, 0);
    save_compact(v, op, requested(v) & (v->xcr0 | v->msr.xss));
}

/* The header's rules (SDM vol. 1 section 13.8, 13.12). */
static void check_header(struct dbt_vcpu *v, const uint8_t *header, uint64_t allowed, bool compact_only)
{
    uint64_t bv = load_le64(header), xcomp_bv = load_le64(header + 8);
    bool good;

    if (xcomp_bv & COMPACT)
        good = !(xcomp_bv & ~COMPACT & ~allowed) && !(bv & ~xcomp_bv) && all_zero(header + 16, HEADER_SIZE - 16) &&
               dbt_cpuid_bit(v, 0xd, 1, CPUID_EAX, 1);
    else
        good = !compact_only && !(bv & ~allowed) && all_zero(header + 8, 16);
    if (!good)
        dbt_raise_error(v, X86_GP, 0);
}

/* MXCSR comes from the area whenever SSE is loaded, and in the standard format even when only asked for. */
static uint32_t new_mxcsr(struct dbt_vcpu *v, const uint8_t *area, uint64_t rfbm, uint64_t bv, bool compact)
{
    uint64_t asked = compact ? rfbm & X86_XSTATE_SSE : rfbm & (X86_XSTATE_SSE | X86_XSTATE_AVX);
    uint32_t mxcsr = load_le32(area + X86_XSAVE_MXCSR);

    if (asked == 0)
        return dbt_fpu_mxcsr(v);
    if (compact && !(bv & X86_XSTATE_SSE))
        return MXCSR_INITIAL;
    if (mxcsr & ~MXCSR_VALID)
        dbt_raise_error(v, X86_GP, 0);
    return mxcsr;
}

static void load_legacy(struct dbt_vcpu *v, const uint8_t *area, uint64_t rfbm, uint64_t bv, bool wide, uint32_t mxcsr)
{
    uint8_t x87[LEGACY_SIZE];

    if (rfbm & X86_XSTATE_X87) {
        dbt_fpu_initial_image(x87);
        if (bv & X86_XSTATE_X87)
            get_x87(x87, area, wide);
        store_le32(x87 + X86_XSAVE_MXCSR, mxcsr);
        dbt_fpu_write(v, x87);
    } else {
        dbt_fpu_set_mxcsr(v, mxcsr);
    }
    if (rfbm & X86_XSTATE_SSE)
        dbt_xstate_load_xmm(v, registers_here(v), bv & X86_XSTATE_SSE ? area + X86_XSAVE_XMM : NULL);
}

static void restore(struct dbt_vcpu *v, const struct op *op, uint64_t allowed, bool compact_only)
{
    _Alignas(64) uint8_t bounce[AREA_MAX], area[AREA_MAX];
    uint64_t rfbm = requested(v) & allowed, bv, xcomp_bv;
    uint64_t linear = aligned_address(v, op, LEGACY_SIZE + HEADER_SIZE, ACCESS_READ, 64);
    unsigned size = LEGACY_SIZE + HEADER_SIZE;
    uint32_t mxcsr;

    memcpy(area, dbt_access_begin(v, linear, size, ACCESS_READ, bounce), size);
    check_header(v, area + LEGACY_SIZE, allowed, compact_only);
    bv = load_le64(area + X86_XSAVE_XSTATE_BV);
    xcomp_bv = load_le64(area + X86_XSAVE_XCOMP_BV);
    size = area_size(v, xcomp_bv, rfbm & bv);
    linear = aligned_address(v, op, size, ACCESS_READ, 64);
    memcpy(area + LEGACY_SIZE + HEADER_SIZE,
           (uint8_t *)dbt_access_begin(v, linear, size, ACCESS_READ, bounce) + LEGACY_SIZE + HEADER_SIZE,
           size - LEGACY_SIZE - HEADER_SIZE);
    mxcsr = new_mxcsr(v, area, rfbm, bv, xcomp_bv & COMPACT);
    load_legacy(v, area, rfbm, bv, op->argument, mxcsr);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        if (rfbm & BIT(i))
            dbt_xstate_load(v, i, registers_here(v), bv & BIT(i) ? area + component_offset(v, xcomp_bv, i) : NULL);
    }
}

static void op_xrstor(struct dbt_vcpu *v, const struct op *op)
{
    restore(v, op, v->xcr0, false);
}

static void op_xrstors(struct dbt_vcpu *v, const struct op *op)
{
    if (v->cpl != 0)
        dbt_raise_error(v, X86_GP, 0);
    restore(v, op, v->xcr0 | v->msr.xss, true);
}

static void set_edx_eax(struct dbt_vcpu *v, uint64_t value)
{
    gpr32_set(v, X86_RAX, (uint32_t)value);
    gpr32_set(v, X86_RDX, (uint32_t)(value >> 32));
}

static void op_xgetbv(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t x87[LEGACY_SIZE];
    uint32_t index = gpr32(v, X86_RCX);

    (void)op;
    if (index == 0) {
        set_edx_eax(v, v->xcr0);
        return;
    }
    if (index != 1 || !dbt_cpuid_bit(v, 0xd, 1, CPUID_EAX, 2))
        dbt_raise_error(v, X86_GP, 0);
    dbt_fpu_read(v, x87);
    set_edx_eax(v, in_use(v, x87, v->xcr0));
}

static bool xcr0_valid(const struct dbt_vcpu *v, uint64_t value)
{
    uint64_t avx512 = value & X86_XSTATE_AVX512;

    if ((value & ~dbt_xstate_offered(v)) || !(value & X86_XSTATE_X87))
        return false;
    if ((value & X86_XSTATE_AVX) && !(value & X86_XSTATE_SSE))
        return false;
    return avx512 == 0 || (avx512 == X86_XSTATE_AVX512 && (value & X86_XSTATE_AVX));
}

static void op_xsetbv(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    if (v->cpl != 0 || gpr32(v, X86_RCX) != 0 || !xcr0_valid(v, requested(v)))
        dbt_raise_error(v, X86_GP, 0);
    v->xcr0 = requested(v);
    dbt_update_mode(v);
    dbt_end_block(v);
}

static void op_rdpkru(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    if (!(v->cr4 & X86_CR4_PKE))
        dbt_raise(v, X86_UD);
    if (gpr32(v, X86_RCX) != 0)
        dbt_raise_error(v, X86_GP, 0);
    set_edx_eax(v, v->pkru);
}

static void op_wrpkru(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    if (!(v->cr4 & X86_CR4_PKE))
        dbt_raise(v, X86_UD);
    if (gpr32(v, X86_RCX) != 0 || gpr32(v, X86_RDX) != 0)
        dbt_raise_error(v, X86_GP, 0);
    dbt_tlb_set_pkru(v, gpr32(v, X86_RAX));
}

static const struct {
    ZydisMnemonic narrow, wide;
    op_fn *execute;
} family[] = {
    {ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64, op_fxsave},
    {ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64, op_fxrstor},
    {ZYDIS_MNEMONIC_XSAVE, ZYDIS_MNEMONIC_XSAVE64, op_xsave},
    {ZYDIS_MNEMONIC_XSAVEOPT, ZYDIS_MNEMONIC_XSAVEOPT64, op_xsave},
    {ZYDIS_MNEMONIC_XSAVEC, ZYDIS_MNEMONIC_XSAVEC64, op_xsavec},
    {ZYDIS_MNEMONIC_XSAVES, ZYDIS_MNEMONIC_XSAVES64, op_xsaves},
    {ZYDIS_MNEMONIC_XRSTOR, ZYDIS_MNEMONIC_XRSTOR64, op_xrstor},
    {ZYDIS_MNEMONIC_XRSTORS, ZYDIS_MNEMONIC_XRSTORS64, op_xrstors},
    {ZYDIS_MNEMONIC_XGETBV, ZYDIS_MNEMONIC_XGETBV, op_xgetbv},
    {ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_XSETBV, op_xsetbv},
    {ZYDIS_MNEMONIC_RDPKRU, ZYDIS_MNEMONIC_RDPKRU, op_rdpkru},
    {ZYDIS_MNEMONIC_WRPKRU, ZYDIS_MNEMONIC_WRPKRU, op_wrpkru},
};

op_fn *dbt_bind_xsave(const struct decode *d, struct op *op)
{
    ZydisMnemonic mnemonic = d->instruction->mnemonic;

    for (unsigned i = 0; i < ARRAY_SIZE(family); i++) {
        if (mnemonic != family[i].narrow && mnemonic != family[i].wide)
            continue;
        op->argument = mnemonic == family[i].wide;
        op->argument2 = mnemonic == ZYDIS_MNEMONIC_XSAVEOPT || mnemonic == ZYDIS_MNEMONIC_XSAVEOPT64;
        return family[i].execute;
    }
    return NULL;
}
