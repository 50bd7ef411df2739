/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XSAVE image of struct x86_state: the standard (not compacted) format of SDM vol. 1 section 13.4, with Intel's
 * offsets on every host. A component whose XSTATE_BV bit is clear is in its initial configuration, whatever its bytes
 * are; MXCSR is always valid. */
#ifndef FERRY_X86_XSAVE_H
#define FERRY_X86_XSAVE_H

#include <stdint.h>

#define X86_XSTATE_X87 UINT64_C(0x1)
#define X86_XSTATE_SSE UINT64_C(0x2)
#define X86_XSTATE_AVX UINT64_C(0x4)
#define X86_XSTATE_BNDREGS UINT64_C(0x8)
#define X86_XSTATE_BNDCSR UINT64_C(0x10)
#define X86_XSTATE_OPMASK UINT64_C(0x20)
#define X86_XSTATE_ZMM_HI256 UINT64_C(0x40)
#define X86_XSTATE_HI16_ZMM UINT64_C(0x80)
#define X86_XSTATE_PKRU UINT64_C(0x200)
#define X86_XSTATE_AVX512 (X86_XSTATE_OPMASK | X86_XSTATE_ZMM_HI256 | X86_XSTATE_HI16_ZMM)
#define X86_XSTATE_MPX (X86_XSTATE_BNDREGS | X86_XSTATE_BNDCSR)
/* All that fits in the image: what XCR0 may hold. */
#define X86_XSTATE_ALL                                                                                                 \
    (X86_XSTATE_X87 | X86_XSTATE_SSE | X86_XSTATE_AVX | X86_XSTATE_MPX | X86_XSTATE_AVX512 | X86_XSTATE_PKRU)

enum { /* byte offsets in the image */
    X86_XSAVE_FCW = 0,
    X86_XSAVE_FSW = 2,
    X86_XSAVE_FTW = 4, /* one byte, abridged: bit set = register in use */
    X86_XSAVE_MXCSR = 24,
    X86_XSAVE_MXCSR_MASK = 28, /* no state: what the CPU that wrote the image supports; ignored when loading */
    X86_XSAVE_ST = 32,   /* 8 of 16 bytes */
    X86_XSAVE_XMM = 160, /* 16 of 16 bytes */
    X86_XSAVE_XSTATE_BV = 512,
    X86_XSAVE_XCOMP_BV = 520,
    X86_XSAVE_HEADER_END = 576,
};

#define X86_XSTATE_COMPONENTS 10 /* components 0..9; 0 and 1 form the legacy region */

/* Where component `number` lies; size 0 for 0, 1 and those not in the image. */
struct x86_xstate_component {
    uint16_t offset, size;
};
extern const struct x86_xstate_component x86_xstate_components[X86_XSTATE_COMPONENTS];

#endif
