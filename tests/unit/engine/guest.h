/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest of the translator without a machine around it, for tests of its debugging aids. Include it once a program. */
#ifndef FERRY_TESTS_UNIT_ENGINE_GUEST_H
#define FERRY_TESTS_UNIT_ENGINE_GUEST_H

#include "check.h"

#include "base/bits.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"
#include "x86/xsave.h"

enum { CODE = 0x1000, DATA = 0x2000, STACK = 0x5000, RAM = 0x10000, STOP_PORT = 0x80 };

static struct guest {
    const struct engine_type *type;
    struct memory *memory;
    struct engine_vm *vm;
    struct engine_vcpu *vcpu;
    char report[16384]; /* the engine's notices */
    unsigned stops;     /* writes to STOP_PORT */
} guest;

static uint64_t guest_on_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    return 0;
}

static void guest_on_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    guest.stops++;
    guest.type->vcpu_kick(guest.vcpu);
}

static int guest_on_acknowledge(void *ctx, unsigned cpu)
{
    return -1;
}

static void guest_on_notice(void *ctx, const char *sentence)
{
    size_t used = strlen(guest.report);

    snprintf(guest.report + used, sizeof(guest.report) - used, "%s\n", sentence);
}

static void guest_make(const char *options)
{
    static struct cpuid_table supported, cpuid;
    struct engine_config config = {.cpus = 1, .options = options,
                                   .hooks = {.port_read = guest_on_read, .port_write = guest_on_write,
                                             .interrupt_acknowledge = guest_on_acknowledge, .notice = guest_on_notice}};

    memset(&guest, 0, sizeof(guest));
    assert_int_equal(engine_choose("dbt", &guest.type, NULL, 0, NULL), 0);
    assert_int_equal(guest.type->supported_cpuid(&supported, NULL), 0);
    assert_int_equal(memory_new(&guest.memory, NULL), 0);
    assert_int_equal(memory_add(guest.memory, 0, RAM, false, NULL), 0);
    assert_int_equal(cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = 1, .tsc_khz = 1000000},
                                 &cpuid, NULL), 0);
    config.memory = guest.memory;
    assert_int_equal(guest.type->vm_new(&config, &guest.vm, NULL), 0);
    assert_int_equal(guest.type->vcpu_new(guest.vm, 0, &cpuid, &guest.vcpu, NULL), 0);
}

static void guest_free(void)
{
    guest.type->vcpu_free(guest.vcpu);
    guest.type->vm_free(guest.vm);
    memory_free(guest.memory);
}

/* 32-bit code at CODE; tables: page tables in the old form, 0: without paging. */
static void guest_set_state(uint32_t tables)
{
    static struct x86_state state;

    x86_state_reset(&state, true);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = i == X86_CS ? 8 : 16, .s = 1, .present = 1,
                                                .type = i == X86_CS ? 0xb : 3, .db = 1, .g = 1};
    state.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | (tables != 0 ? X86_CR0_PG : 0);
    state.cr3 = tables;
    store_le16(state.xsave + X86_XSAVE_FCW, 0x37f); /* masked, as the mode of a translation to spoil has it */
    store_le32(state.xsave + X86_XSAVE_MXCSR, 0x1f80);
    store_le64(state.xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_X87 | X86_XSTATE_SSE);
    state.rip = CODE;
    state.gpr[X86_RSP] = STACK;
    assert_int_equal(guest.type->vcpu_set_state(guest.vcpu, &state, NULL), 0);
}

static void guest_write_code(const uint8_t *code, size_t size)
{
    assert_int_equal(memory_write(guest.memory, CODE, code, size), 0);
    guest_set_state(0);
}

static struct exit guest_run(void)
{
    struct exit stop;

    guest.type->vcpu_run(guest.vcpu, &stop);
    return stop;
}

#endif
