/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPU state after RESET and INIT, the check of loaded states, and the way through a saved section. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "state/section.h"
#include "x86/state.h"
#include "x86/xsave.h"

static void test_reset(void **ctx)
{
    struct x86_state state;

    x86_state_reset(&state, true);
    assert_int_equal(state.rip, 0xfff0);
    assert_int_equal(state.segment[X86_CS].base, 0xffff0000);
    assert_int_equal(state.cr0, 0x60000010);
    assert_int_equal(state.rflags, 2);
    assert_int_equal(state.dr6, 0xffff0ff0);
    assert_int_equal(state.dr7, 0x400);
    assert_int_equal(state.msr.pat, UINT64_C(0x0007040600070406));
    assert_int_equal(load_le32(state.xsave + X86_XSAVE_MXCSR), 0x1f80);
    assert_int_equal(load_le16(state.xsave + X86_XSAVE_FCW), 0x40);
    assert_int_equal(state.run_state, X86_RUNNABLE);
    assert_int_equal(x86_state_check(&state, NULL), 0);
    x86_state_reset(&state, false);
    assert_int_equal(state.run_state, X86_WAIT_FOR_SIPI);
    assert_int_equal(x86_state_check(&state, NULL), 0);
}

static void test_init_keeps(void **ctx)
{
    struct x86_state state;

    x86_state_reset(&state, true);
    state.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_CD;
    state.cr4 = X86_CR4_PAE;
    state.msr.efer = X86_EFER_LME | X86_EFER_LMA;
    state.msr.tsc = 77;
    state.msr.mtrr_def_type = 0x806;
    state.xcr0 = 7;
    state.xsave[X86_XSAVE_XMM] = 9;
    state.nmi_masked = 1;
    state.gpr[X86_RAX] = 5;
    x86_state_init(&state, false);
    assert_int_equal(state.cr0, X86_CR0_CD | X86_CR0_ET);
    assert_int_equal(state.cr4, 0);
    assert_int_equal(state.msr.efer, 0);
    assert_int_equal(state.gpr[X86_RAX], 0);
    assert_int_equal(state.nmi_masked, 0);
    assert_int_equal(state.run_state, X86_WAIT_FOR_SIPI);
    assert_int_equal(state.msr.tsc, 77); /* and what INIT leaves */
    assert_int_equal(state.msr.mtrr_def_type, 0x806);
    assert_int_equal(state.xcr0, 7);
    assert_int_equal(state.xsave[X86_XSAVE_XMM], 9);
    assert_int_equal(x86_state_check(&state, NULL), 0);
}

static void long_mode(struct x86_state *state)
{
    x86_state_reset(state, true);
    state->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET;
    state->cr4 = X86_CR4_PAE;
    state->msr.efer = X86_EFER_LME | X86_EFER_LMA;
    state->segment[X86_CS].l = 1;
}

#define EXPECT_REFUSED(change)                                          \
    do {                                                                \
        struct x86_state state;                                         \
        struct err err = ERR_INIT;                                      \
        long_mode(&state);                                              \
        assert_int_equal(x86_state_check(&state, &err), 0);             \
        change;                                                         \
        assert_int_equal(x86_state_check(&state, &err), -EINVAL);       \
        assert_non_null(strstr(err.message, "impossible"));             \
    } while (0)

static void test_check_refuses(void **ctx)
{
    EXPECT_REFUSED(state.cr0 &= ~X86_CR0_PE);
    EXPECT_REFUSED(state.cr0 |= X86_CR0_NW);
    EXPECT_REFUSED(state.cr0 |= BIT(40));
    EXPECT_REFUSED(state.cr4 = 0);
    EXPECT_REFUSED(state.cr4 |= BIT(13)); /* VMXE */
    EXPECT_REFUSED(state.cr3 = BIT(52));
    EXPECT_REFUSED(state.cr8 = 16);
    EXPECT_REFUSED(state.msr.efer = X86_EFER_LMA);
    EXPECT_REFUSED(state.msr.efer |= BIT(12)); /* SVME */
    EXPECT_REFUSED(state.rflags = 0);
    EXPECT_REFUSED(state.rflags |= 8);
    EXPECT_REFUSED(state.rflags |= X86_VM);
    EXPECT_REFUSED(state.dr7 |= BIT(32));
    EXPECT_REFUSED(state.segment[X86_FS].base = BIT(48));
    EXPECT_REFUSED(state.segment[X86_DS].type = 16);
    EXPECT_REFUSED(state.segment[X86_SS].dpl = 4);
    EXPECT_REFUSED(state.segment[X86_CS].db = 1);
    EXPECT_REFUSED(state.ldtr.present = 2);
    EXPECT_REFUSED(state.idtr.base = BIT(63));
    EXPECT_REFUSED(state.msr.pat = 2);
    EXPECT_REFUSED(state.msr.lstar = BIT(60));
    EXPECT_REFUSED(state.xcr0 = 0);
    EXPECT_REFUSED(state.xcr0 = X86_XSTATE_X87 | X86_XSTATE_AVX);
    EXPECT_REFUSED(state.xcr0 = 7 | X86_XSTATE_OPMASK);
    EXPECT_REFUSED(state.xcr0 = BIT(18) | 3); /* AMX: no room for it */
    EXPECT_REFUSED(store_le64(state.xsave + X86_XSAVE_XSTATE_BV, BIT(18)));
    EXPECT_REFUSED(state.xsave[X86_XSAVE_XCOMP_BV + 7] = 0x80);
    EXPECT_REFUSED(state.xsave[X86_XSAVE_MXCSR + 2] = 1);
    EXPECT_REFUSED(state.run_state = 3);
    EXPECT_REFUSED(state.exception_pending = 2);
    EXPECT_REFUSED(state.exception_vector = 32);
    EXPECT_REFUSED(state.interrupt_shadow = 4);
}

static void test_section(void **ctx)
{
    struct x86_state written, read;
    struct buffer buffer = BUFFER_INIT(1 << 16);
    struct section_reader reader;
    struct section section;

    long_mode(&written);
    for (unsigned i = 0; i < X86_GPR_COUNT; i++)
        written.gpr[i] = i * UINT64_C(0x1111111111111111);
    written.segment[X86_GS].base = 0x1234;
    written.msr.mtrr_fixed[10] = 6;
    written.msr.debugctl = 1;
    written.xsave[X86_XSAVE_MAX - 1] = 0xee;
    written.nmi_masked = 1;
    assert_int_equal(section_write(&buffer, "cpu", 3, 1, x86_state_fields, &written), 0);
    section_reader_init(&reader, buffer.data, buffer.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    x86_state_reset(&read, false);
    assert_int_equal(section_read(&section, x86_state_fields, &read, sizeof(read), NULL), 0);
    assert_memory_equal(read.gpr, written.gpr, sizeof(read.gpr));
    assert_memory_equal(&read.segment, &written.segment, sizeof(read.segment));
    assert_memory_equal(&read.msr, &written.msr, sizeof(read.msr));
    assert_memory_equal(read.xsave, written.xsave, sizeof(read.xsave));
    assert_int_equal(read.nmi_masked, 1);
    assert_int_equal(read.run_state, X86_RUNNABLE);
    buffer_fini(&buffer);
}

static void test_print(void **ctx)
{
    struct x86_state state;
    char text[4096], cut[100];

    long_mode(&state);
    state.gpr[X86_R15] = 0xabcdef;
    x86_state_print(&state, text, sizeof(text));
    assert_non_null(strstr(text, "r15 0000000000abcdef"));
    assert_non_null(strstr(text, "cr0 80000011"));
    memset(cut, 'x', sizeof(cut));
    x86_state_print(&state, cut, 50);
    assert_int_equal(strlen(cut), 49);
    assert_int_equal(cut[50], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),   cmocka_unit_test(test_init_keeps), cmocka_unit_test(test_check_refuses),
        cmocka_unit_test(test_section), cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
