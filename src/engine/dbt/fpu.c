/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's x87 and MXCSR state: in and out of the host's units, and in and out of XSAVE images. */
#include "engine/dbt/fpu.h"

#include <errno.h>

#include "engine/dbt/op.h"
#include "x86/xsave.h"

struct fxsave_area {
    uint8_t byte[512];
} __attribute__((aligned(16)));

enum { FOP = 6, FIP = 8, FDP = 16 };

uint32_t dbt_fpu_live_mxcsr(void)
{
    uint32_t mxcsr;

    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return mxcsr;
}

void dbt_fpu_set_live_mxcsr(uint32_t mxcsr)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr) : "memory");
}

uint32_t dbt_fpu_mxcsr(const struct dbt_vcpu *v)
{
    return (dbt_fpu_live_mxcsr() & ~MXCSR_MASKS) | v->fpu.mxcsr_masks;
}

/* Translated code works with all exceptions masked only. */
static void set_masks(struct dbt_vcpu *v, uint32_t mxcsr)
{
    v->fpu.mxcsr_masks = mxcsr & MXCSR_MASKS;
    v->vectors_away &= ~(uint32_t)VECTORS_UNMASKED;
    if (v->fpu.mxcsr_masks == MXCSR_MASKS)
        return;
    v->vectors_away |= VECTORS_UNMASKED;
    if (v->op != NULL)
        dbt_end_block_at(v, v->op + 1);
}

void dbt_fpu_set_mxcsr(struct dbt_vcpu *v, uint32_t mxcsr)
{
    set_masks(v, mxcsr);
    dbt_fpu_set_live_mxcsr(mxcsr | MXCSR_MASKS);
}

void dbt_fpu_note_x87_masks(struct dbt_vcpu *v, uint16_t control, uint16_t status)
{
    bool unmasked = (control & X87_MASKS) != X87_MASKS || (status & X87_SUMMARY);
    uint32_t mode = unmasked ? MODE_X87_UNMASKED : 0;

    if (LIKELY(mode == v->fpu.x87_mode))
        return;
    v->fpu.x87_mode = mode;
    v->mode = (v->mode & ~(uint32_t)MODE_X87_UNMASKED) | mode;
    if (v->op != NULL)
        dbt_end_block_at(v, v->op + 1);
}

/* The pointers that the unit holds are addresses of ours: the guest gets those kept for it. */
void dbt_fpu_read(const struct dbt_vcpu *v, uint8_t ret_image[static 512])
{
    struct fxsave_area area;

    memset(&area, 0, sizeof(area));
    __asm__ volatile("fxsave64 %0" : "+m"(area));
    memset(area.byte + X86_XSAVE_XMM, 0, sizeof(area.byte) - X86_XSAVE_XMM);
    store_le16(area.byte + FOP, v->fpu.opcode);
    store_le64(area.byte + FIP, v->fpu.ip);
    store_le64(area.byte + FDP, v->fpu.dp);
    store_le32(area.byte + X86_XSAVE_MXCSR, dbt_fpu_mxcsr(v));
    store_le32(area.byte + X86_XSAVE_MXCSR + 4, MXCSR_VALID);
    memcpy(ret_image, &area, sizeof(area));
}

void dbt_fpu_write(struct dbt_vcpu *v, const uint8_t image[static 512])
{
    struct fxsave_area area;
    uint32_t mxcsr = load_le32(image + X86_XSAVE_MXCSR) & MXCSR_VALID;

    memcpy(&area, image, sizeof(area));
    v->fpu.opcode = load_le16(image + FOP) & 0x7ff;
    v->fpu.ip = load_le64(image + FIP);
    v->fpu.dp = load_le64(image + FDP);
    set_masks(v, mxcsr);
    dbt_fpu_note_x87_masks(v, load_le16(image + X86_XSAVE_FCW), load_le16(image + X86_XSAVE_FSW));
    memset(area.byte + FOP, 0, X86_XSAVE_MXCSR - FOP);
    store_le32(area.byte + X86_XSAVE_MXCSR, mxcsr | MXCSR_MASKS);
    __asm__ volatile("fxrstor64 %0"
                     :
                     : "m"(area)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15", "memory");
}

void dbt_fpu_enter(struct dbt_vcpu *v)
{
    v->fpu.host_mxcsr = dbt_fpu_live_mxcsr();
    __asm__ volatile("fnstcw %0" : "=m"(v->fpu.host_fcw));
    dbt_fpu_write(v, v->fpu_image);
}

void dbt_fpu_leave(struct dbt_vcpu *v)
{
    dbt_fpu_read(v, v->fpu_image);
    __asm__ volatile("fninit\n\tfldcw %0" : : "m"(v->fpu.host_fcw) : "memory");
    dbt_fpu_set_live_mxcsr(v->fpu.host_mxcsr);
}

void dbt_fpu_initial_image(uint8_t ret_image[static 512])
{
    memset(ret_image, 0, 512);
    store_le16(ret_image + X86_XSAVE_FCW, 0x37f);
    store_le32(ret_image + X86_XSAVE_MXCSR, MXCSR_INITIAL);
    store_le32(ret_image + X86_XSAVE_MXCSR + 4, MXCSR_VALID);
}

/* RESET differs from FNINIT in the control word: 40h, exceptions unmasked (SDM vol. 3 table 10-1). */
void dbt_fpu_reset(struct dbt_vcpu *v)
{
    dbt_fpu_initial_image(v->fpu_image);
    store_le16(v->fpu_image + X86_XSAVE_FCW, 0x40);
    v->fpu_image[X86_XSAVE_FTW] = 0xff;
    memset(v->vector, 0, sizeof(v->vector));
    memset(v->opmask, 0, sizeof(v->opmask));
    v->pkru = 0;
}

void dbt_fpu_get_xsave(const struct dbt_vcpu *v, uint8_t ret_area[static X86_XSAVE_MAX])
{
    uint64_t components = dbt_xstate_offered(v);

    memset(ret_area, 0, X86_XSAVE_MAX);
    memcpy(ret_area, v->fpu_image, 416);
    for (unsigned i = 0; i < 16; i++)
        memcpy(ret_area + X86_XSAVE_XMM + 16 * i, v->vector[i], 16);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        if (components & BIT(i))
            dbt_xstate_save(v, i, 16, ret_area + x86_xstate_components[i].offset);
    }
    store_le64(ret_area + X86_XSAVE_XSTATE_BV, components);
}

static const uint8_t *component_or_initial(const uint8_t *area, uint64_t bv, unsigned i, size_t offset)
{
    return bv & BIT(i) ? area + offset : NULL;
}

int dbt_fpu_set_xsave(struct dbt_vcpu *v, const uint8_t area[static X86_XSAVE_MAX])
{
    uint64_t components = dbt_xstate_offered(v), bv = load_le64(area + X86_XSAVE_XSTATE_BV);
    uint32_t mxcsr = load_le32(area + X86_XSAVE_MXCSR);

    if ((mxcsr & ~MXCSR_VALID) || (bv & ~components) || load_le64(area + X86_XSAVE_XCOMP_BV) != 0)
        return -EINVAL;
    dbt_fpu_initial_image(v->fpu_image);
    if (bv & X86_XSTATE_X87)
        memcpy(v->fpu_image, area, X86_XSAVE_XMM);
    store_le32(v->fpu_image + X86_XSAVE_MXCSR, mxcsr);
    store_le32(v->fpu_image + X86_XSAVE_MXCSR + 4, MXCSR_VALID);
    dbt_xstate_load_xmm(v, 16, component_or_initial(area, bv, 1, X86_XSAVE_XMM));
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++)
        dbt_xstate_load(v, i, 16, component_or_initial(area, bv, i, x86_xstate_components[i].offset));
    return 0;
}
