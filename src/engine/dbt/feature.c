/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of instruction set extensions: CPUID bits (SDM vol. 2 CPUID, APM vol. 3 appendix E) and gates. */
#include "engine/dbt/feature.h"

enum { REGISTER_A = CPUID_EAX, REGISTER_B = CPUID_EBX, REGISTER_C = CPUID_ECX, REGISTER_D = CPUID_EDX };

struct feature {
    uint8_t gate;
    bool always;     /* no CPUID bit */
    bool vector_length; /* AVX512VL too */
    uint32_t leaf;
    uint8_t subleaf, reg, bit;
};

#define SET(name, g, l, s, r, b) [ZYDIS_ISA_SET_##name] = {.gate = GATE_##g, .leaf = l, .subleaf = s, .reg = REGISTER_##r, .bit = b}
#define HINT(name) [ZYDIS_ISA_SET_##name] = {.gate = GATE_NONE, .always = true}
#define AVX512(name, l, s, r, b) SET(name, AVX512, l, s, r, b)
#define AVX512VL(name, l, s, r, b)                                                                                     \
    [ZYDIS_ISA_SET_##name] = {                                                                                         \
        .gate = GATE_AVX512, .vector_length = true, .leaf = l, .subleaf = s, .reg = REGISTER_##r, .bit = b}
#define AVX512_ALL(name, l, s, r, b)                                                                                   \
    AVX512VL(name##_128, l, s, r, b), AVX512VL(name##_256, l, s, r, b), AVX512(name##_512, l, s, r, b)

static const struct feature features[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    SET(X87, X87, 1, 0, D, 0),
    SET(FCMOV, X87, 1, 0, D, 15),
    SET(PPRO, X87, 1, 0, D, 15), /* FCOMI; its other members belong to other binders */
    SET(SSE3X87, X87, 1, 0, C, 0),
    SET(FXSAVE, X87, 1, 0, D, 24),
    SET(FXSAVE64, X87, 1, 0, D, 24),
    SET(PENTIUMMMX, MMX, 1, 0, D, 23),
    SET(SSE2MMX, MMX, 1, 0, D, 26),
    SET(SSSE3MMX, MMX, 1, 0, C, 9),
    SET(SSE, SSE, 1, 0, D, 25),
    SET(SSEMXCSR, SSE, 1, 0, D, 25),
    SET(SSE2, SSE, 1, 0, D, 26),
    SET(SSE3, SSE, 1, 0, C, 0),
    SET(SSSE3, SSE, 1, 0, C, 9),
    SET(SSE4, SSE, 1, 0, C, 19),
    SET(SSE42, SSE, 1, 0, C, 20),
    SET(SSE4A, SSE, 0x80000001, 0, C, 6),
    SET(AES, SSE, 1, 0, C, 25),
    SET(PCLMULQDQ, SSE, 1, 0, C, 1),
    SET(SHA, SSE, 7, 0, B, 29),
    SET(GFNI, SSE, 7, 0, C, 8),
    SET(AVX, AVX, 1, 0, C, 28),
    SET(AVXAES, AVX, 1, 0, C, 25),
    SET(AVX2, AVX, 7, 0, B, 5),
    SET(AVX2GATHER, AVX, 7, 0, B, 5),
    SET(F16C, AVX, 1, 0, C, 29),
    SET(FMA, AVX, 1, 0, C, 12),
    SET(VAES, AVX, 7, 0, C, 9),
    SET(VPCLMULQDQ, AVX, 7, 0, C, 10),
    SET(AVX_GFNI, AVX, 7, 0, C, 8),
    SET(AVX_VNNI, AVX, 7, 1, A, 4),
    SET(BMI1, VEX_GPR, 7, 0, B, 3),
    SET(BMI2, VEX_GPR, 7, 0, B, 8),
    SET(ADOX_ADCX, NONE, 7, 0, B, 19),
    SET(LZCNT, NONE, 0x80000001, 0, C, 5),
    SET(POPCNT, NONE, 1, 0, C, 23),
    SET(CLFSH, NONE, 1, 0, D, 19),
    SET(CLFLUSHOPT, NONE, 7, 0, B, 23),
    SET(CLWB, NONE, 7, 0, B, 24),
    SET(PKU, NONE, 7, 0, C, 3),
    SET(XSAVE, XSAVE, 1, 0, C, 26),
    SET(XSAVEOPT, XSAVE, 0xd, 1, A, 0),
    SET(XSAVEC, XSAVE, 0xd, 1, A, 1),
    SET(XSAVES, XSAVE, 0xd, 1, A, 3),
    HINT(SSE_PREFETCH),
    HINT(PREFETCH_NOP),
    HINT(PREFETCHWT1),
    HINT(CLDEMOTE),
    HINT(PAUSE),
    HINT(MPX), /* never offered: its opcodes are NOPs then */
    AVX512_ALL(AVX512F, 7, 0, B, 16),
    AVX512(AVX512F_128N, 7, 0, B, 16),
    AVX512(AVX512F_SCALAR, 7, 0, B, 16),
    AVX512(AVX512F_KOP, 7, 0, B, 16),
    AVX512_ALL(AVX512DQ, 7, 0, B, 17),
    AVX512(AVX512DQ_128N, 7, 0, B, 17),
    AVX512(AVX512DQ_SCALAR, 7, 0, B, 17),
    AVX512(AVX512DQ_KOP, 7, 0, B, 17),
    AVX512_ALL(AVX512BW, 7, 0, B, 30),
    AVX512(AVX512BW_128N, 7, 0, B, 30),
    AVX512(AVX512BW_KOP, 7, 0, B, 30),
    AVX512_ALL(AVX512CD, 7, 0, B, 28),
    AVX512_ALL(AVX512_IFMA, 7, 0, B, 21),
    AVX512_ALL(AVX512_VBMI, 7, 0, C, 1),
    AVX512_ALL(AVX512_VBMI2, 7, 0, C, 6),
    AVX512_ALL(AVX512_GFNI, 7, 0, C, 8),
    AVX512_ALL(AVX512_VAES, 7, 0, C, 9),
    AVX512_ALL(AVX512_VPCLMULQDQ, 7, 0, C, 10),
    AVX512_ALL(AVX512_VNNI, 7, 0, C, 11),
    AVX512_ALL(AVX512_BITALG, 7, 0, C, 12),
    AVX512_ALL(AVX512_VPOPCNTDQ, 7, 0, C, 14),
    AVX512_ALL(AVX512_BF16, 7, 1, A, 5),
};

/* Instructions whose extension is that of vector code but which touch general registers, or nothing. */
static bool without_vector_state(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOVNTI:
    case ZYDIS_MNEMONIC_CRC32:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
        return true;
    default:
        return false;
    }
}

/* SSE instructions on MMX registers only: they do not ask for CR4.OSFXSR (SDM vol. 2 section 2.4.9, table 2-24). */
static bool is_mmx_form(const ZydisDecodedInstruction *in)
{
    return in->meta.isa_ext == ZYDIS_ISA_EXT_MMX;
}

enum feature_gate dbt_feature_gate(const ZydisDecodedInstruction *in)
{
    enum feature_gate gate = (enum feature_gate)features[in->meta.isa_set].gate;

    if (in->meta.isa_set == ZYDIS_ISA_SET_PPRO && in->meta.isa_ext != ZYDIS_ISA_EXT_X87)
        return GATE_NOT_MINE;
    if (in->mnemonic == ZYDIS_MNEMONIC_FISTTP) /* the decoder's tables take one of its forms for SSE */
        return GATE_X87;
    if (in->mnemonic == ZYDIS_MNEMONIC_XGETBV || in->mnemonic == ZYDIS_MNEMONIC_XSETBV)
        return GATE_OSXSAVE;
    if (gate == GATE_SSE && without_vector_state(in->mnemonic))
        return GATE_NONE;
    if (gate == GATE_SSE && is_mmx_form(in))
        return GATE_MMX;
    return gate;
}

bool dbt_feature_offered(const struct dbt_vcpu *v, const ZydisDecodedInstruction *in)
{
    const struct feature *f = &features[in->meta.isa_set];

    if (f->always)
        return true;
    if (f->vector_length && !dbt_cpuid_bit(v, 7, 0, CPUID_EBX, 31))
        return false;
    return dbt_cpuid_bit(v, f->leaf, f->subleaf, (enum cpuid_register)f->reg, f->bit);
}
