/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which instructions and which results the silicon can judge. */
#include "isa.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) /* clang's way to say what gcc defines */
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

static const uint8_t wanted_sets[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
#define SET(name) [ZYDIS_ISA_SET_##name] = 1
    SET(X87),   SET(FCMOV),        SET(PPRO),         SET(SSE3X87),  SET(PENTIUMMMX), SET(SSE2MMX),     SET(SSSE3MMX),
    SET(SSE),   SET(SSEMXCSR),     SET(SSE2),         SET(SSE3),     SET(SSSE3),      SET(SSE4),        SET(SSE42),
    SET(SSE4A), SET(AES),          SET(PCLMULQDQ),    SET(SHA),      SET(GFNI),       SET(AVX),         SET(AVXAES),
    SET(AVX2),  SET(AVX2GATHER),   SET(F16C),         SET(FMA),      SET(VAES),       SET(VPCLMULQDQ),  SET(AVX_GFNI),
    SET(BMI1),  SET(BMI2),         SET(ADOX_ADCX),    SET(LZCNT),    SET(POPCNT),     SET(CLFSH),       SET(CLFLUSHOPT),
    SET(CLWB),  SET(SSE_PREFETCH), SET(PREFETCH_NOP), SET(PAUSE),    SET(MOVBE),      SET(CMOV),        SET(CMPXCHG16B),
    SET(I86),   SET(I186),         SET(I386),         SET(I486REAL), SET(I486),       SET(PENTIUMREAL), SET(FAT_NOP),
    SET(LAHF),  SET(LONGMODE),     SET(FXSAVE),
#undef SET
};

/* Left out: what depends on the system around the program, and what stores addresses that differ. */
static bool excluded(const ZydisDecodedInstruction *in)
{
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_SWAPGS:
        return true;
    default:
        return false;
    }
}

static bool uses_segments(const ZydisDecodedInstruction *in)
{
    if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || in->meta.category == ZYDIS_CATEGORY_SEGOP ||
        (in->attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)))
        return true;
    /* MOV, PUSH and POP of segment registers. */
    return (in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
            (in->opcode == 0x8c || in->opcode == 0x8e || in->opcode == 0x06 || in->opcode == 0x0e ||
             in->opcode == 0x16 || in->opcode == 0x1e || in->opcode == 0x07 || in->opcode == 0x17 ||
             in->opcode == 0x1f)) ||
           (in->opcode_map == ZYDIS_OPCODE_MAP_0F &&
            (in->opcode == 0xa0 || in->opcode == 0xa1 || in->opcode == 0xa8 || in->opcode == 0xa9));
}

/* Where CPUs of different makers differ by design: a 66 prefix on near branches in 64-bit mode (AMD's obey it, Intel's
 * and we do not), repeat prefixes on LOOPcc (on AMD's they replace the condition), 0F 0D with a register (#UD on
 * AMD's), repeated INS and OUTS (with a count of 0 AMD's check the port all the same), and what ENTER leaves in memory
 * when it faults half-way. */
static bool differs_by_maker(const ZydisDecodedInstruction *in)
{
    bool loop = in->mnemonic == ZYDIS_MNEMONIC_LOOPE || in->mnemonic == ZYDIS_MNEMONIC_LOOPNE;

    if (in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && (loop || in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64)) {
        for (unsigned i = 0; i < in->raw.prefix_count; i++) {
            if (in->raw.prefixes[i].value == 0x66 || (loop && (in->raw.prefixes[i].value & 0xfe) == 0xf2))
                return true;
        }
    }
    return (in->mnemonic == ZYDIS_MNEMONIC_NOP && in->meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP) ||
           in->mnemonic == ZYDIS_MNEMONIC_ENTER ||
           (in->meta.category == ZYDIS_CATEGORY_IOSTRINGOP &&
            (in->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPNE)));
}

bool isa_wanted(const ZydisDecodedInstruction *in, void *ctx)
{
    (void)ctx;
    if (!wanted_sets[in->meta.isa_set] || excluded(in) || uses_segments(in) || differs_by_maker(in) ||
        in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
        return false;
    return in->meta.category != ZYDIS_CATEGORY_SYSTEM || in->mnemonic == ZYDIS_MNEMONIC_HLT;
}

bool isa_comparable(const struct isa_result *native)
{
    return native->vector >= 0 && native->vector != 1 && !(native->state.fxsave[26] & 2);
}

bool isa_reached_shadow(const struct isa_result *engine)
{
#ifdef __SANITIZE_ADDRESS__
    return engine->vector == 14 && engine->address >= 0x7fff7000;
#else
    return false;
#endif
}
