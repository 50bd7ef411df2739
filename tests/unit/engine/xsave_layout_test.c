/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's XSAVE with the layouts of other processors: what guests see is theirs, what is saved of the CPU is the same for all. */
#include "guest.h"

#include "base/err.h"
#include "x86/cpuid_xsave.h"

enum { AREA = DATA, SEEN = 0x3000, PKRU = 0x55555554, PKRU_SIZE = 8 };

/* Sets PKRU, saves it, clears it, brings it back, and notes it, its place and the sizes of leaf 0xd. */
static const uint8_t code[] = {
    0x31, 0xc9, 0x31, 0xd2, 0xb8, 0x54, 0x55, 0x55, 0x55, 0x0f, 0x01, 0xef, /* PKRU = 0x55555554 */
    0xb8, 0xff, 0xff, 0xff, 0xff, 0x89, 0xc2,                               /* EDX:EAX = all */
    0x0f, 0xae, 0x25, 0x00, 0x20, 0x00, 0x00,                               /* XSAVE [AREA] */
    0x31, 0xd2, 0x31, 0xc0, 0x0f, 0x01, 0xef,                               /* PKRU = 0 */
    0xb8, 0xff, 0xff, 0xff, 0xff, 0x89, 0xc2,
    0x0f, 0xae, 0x2d, 0x00, 0x20, 0x00, 0x00,                               /* XRSTOR [AREA] */
    0x31, 0xc9, 0x0f, 0x01, 0xee, 0xa3, 0x00, 0x30, 0x00, 0x00,             /* [SEEN] = PKRU */
    0xb8, 0x0d, 0x00, 0x00, 0x00, 0xb9, 0x09, 0x00, 0x00, 0x00, 0x0f, 0xa2, /* CPUID 0xd.9 */
    0x89, 0x1d, 0x04, 0x30, 0x00, 0x00,
    0xb8, 0x0d, 0x00, 0x00, 0x00, 0x31, 0xc9, 0x0f, 0xa2,                   /* CPUID 0xd.0 */
    0x89, 0x1d, 0x08, 0x30, 0x00, 0x00, 0x89, 0x0d, 0x0c, 0x30, 0x00, 0x00,
    0xe6, STOP_PORT,
};

static uint32_t at(uint64_t address)
{
    uint8_t bytes[4];

    assert_int_equal(memory_read(guest.memory, address, bytes, sizeof(bytes)), 0);
    return load_le32(bytes);
}

static void set_state(void)
{
    static struct x86_state state;

    guest_write_code(code, sizeof(code));
    assert_int_equal(guest.type->vcpu_get_state(guest.vcpu, &state, NULL), 0);
    state.cr4 = X86_CR4_OSXSAVE | X86_CR4_OSFXSR | X86_CR4_PKE;
    state.xcr0 = X86_XSTATE_X87 | X86_XSTATE_SSE | X86_XSTATE_AVX | X86_XSTATE_PKRU;
    assert_int_equal(guest.type->vcpu_set_state(guest.vcpu, &state, NULL), 0);
}

static void check_saved(void)
{
    static struct x86_state state;

    assert_int_equal(guest.type->vcpu_get_state(guest.vcpu, &state, NULL), 0);
    assert_int_equal(load_le32(state.xsave + x86_xstate_components[9].offset), PKRU);
}

/* offset: PKRU's. */
static void run(const char *options, uint16_t offset)
{
    const struct cpuid_xsave_layout layout = {.offset = {[2] = 576, [9] = offset}};

    guest_make(options);
    if (offset != 0)
        guest.type->xsave_set_layout(guest.vm, &layout);
    else
        offset = 2688;
    set_state();
    assert_int_equal(guest_run().kind, EXIT_KICKED);
    assert_int_equal(at(AREA + offset), PKRU);
    for (uint16_t other = 832; other < 2720; other += PKRU_SIZE)
        assert_true(other == offset || at(AREA + other) == 0);
    assert_int_equal(at(SEEN), PKRU);
    assert_int_equal(at(SEEN + 4), offset);
    assert_int_equal(at(SEEN + 8), offset + PKRU_SIZE);
    assert_int_equal(at(SEEN + 12), offset + PKRU_SIZE);
    check_saved();
    guest_free();
}

static void test_layouts(void **state)
{
    static const char *const options[] = {"tier=interp", NULL, "checks=on", "lockstep=on"};
    static const uint16_t offsets[] = {0, 2688, 2432, 832}; /* Ferry's own, Intel's, Zen 4's, the lowest possible */

    for (unsigned o = 0; o < ARRAY_SIZE(options); o++)
        for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++)
            run(options[o], offsets[i]);
}

/* There and back: code that ran before runs on with the new layout. */
static void test_change(void **state)
{
    const struct cpuid_xsave_layout amd = {.offset = {[2] = 576, [9] = 2432}}, intel = {.offset = {[2] = 576, [9] = 2688}};

    guest_make(NULL);
    for (unsigned turn = 0; turn < 4; turn++) {
        guest.type->xsave_set_layout(guest.vm, turn % 2 == 0 ? &amd : &intel);
        set_state();
        assert_int_equal(guest_run().kind, EXIT_KICKED);
        assert_int_equal(at(SEEN), PKRU);
        assert_int_equal(at(SEEN + 4), turn % 2 == 0 ? 2432 : 2688);
    }
    guest_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts), cmocka_unit_test(test_change)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
