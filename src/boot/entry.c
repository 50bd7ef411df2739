/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU states at a kernel's entry: flat 32-bit protected mode, and 64-bit mode with the first 4 GiB mapped to
 * themselves.
 *
 * The selectors are Linux's boot protocol's (0x10 code, 0x18 data); the other protocols leave them open. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/boot.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS 0x20
#define DESCRIPTORS 6
#define TSS_LIMIT 0x67

#define PAGE_PRESENT_WRITABLE 0x3u
#define PAGE_LARGE 0x80u

#define MTRR_DEFAULT_WRITE_BACK 0x6u
#define MTRR_ENABLE 0x800u

void boot_prepare_cpu(struct x86_state *state)
{
    state->msr.mtrr_def_type = MTRR_ENABLE | MTRR_DEFAULT_WRITE_BACK;
}

static struct x86_segment flat(uint16_t selector, uint8_t type, bool long_mode)
{
    return (struct x86_segment){.selector = selector,
                                .limit = UINT32_MAX,
                                .type = type,
                                .s = 1,
                                .present = 1,
                                .g = 1,
                                .l = long_mode,
                                .db = !long_mode};
}

/* The descriptor of a segment register's hidden part (SDM vol. 3 section 3.4.5). */
static uint64_t descriptor(const struct x86_segment *segment)
{
    uint32_t limit = segment->g ? segment->limit >> 12 : segment->limit;
    uint64_t access = segment->type | segment->s << 4 | segment->dpl << 5 | segment->present << 7;
    uint64_t flags = segment->avl | segment->l << 1 | segment->db << 2 | segment->g << 3;

    return (limit & 0xffff) | (segment->base & 0xffffff) << 16 | access << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           flags << 52 | (segment->base >> 24 & 0xff) << 56;
}

static int load_segments(struct memory *memory, struct x86_state *state, bool long_mode)
{
    struct x86_segment code = flat(SELECTOR_CODE, 0xb, long_mode), data = flat(SELECTOR_DATA, 0x3, false);
    struct x86_segment tss = {.selector = SELECTOR_TSS, .limit = TSS_LIMIT, .type = 0xb, .present = 1};
    uint64_t gdt[DESCRIPTORS] = {0, 0, descriptor(&code), descriptor(&data), descriptor(&tss), 0};

    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state->segment[i] = i == X86_CS ? code : data;
    state->tr = tss;
    state->ldtr = (struct x86_segment){.type = 2};
    state->gdtr = (struct x86_table){.base = BOOT_GDT, .limit = sizeof(gdt) - 1};
    state->idtr = (struct x86_table){0};
    return memory_write(memory, BOOT_GDT, gdt, sizeof(gdt));
}

/* PML4 -> PDPT -> four page directories of 2 MiB pages. */
static int write_page_tables(struct memory *memory)
{
    uint64_t table[6][512] = {0};
    const uint64_t first = BOOT_PAGE_TABLES | PAGE_PRESENT_WRITABLE;

    table[0][0] = first + MEMORY_PAGE_SIZE;
    for (unsigned i = 0; i < 4; i++)
        table[1][i] = first + (2 + i) * MEMORY_PAGE_SIZE;
    for (unsigned i = 0; i < 4 * 512; i++)
        table[2 + i / 512][i % 512] = MIB(2) * i | PAGE_LARGE | PAGE_PRESENT_WRITABLE;
    return memory_write(memory, BOOT_PAGE_TABLES, table, sizeof(table));
}

static int set_entry(struct memory *memory, struct x86_state *state, uint64_t rip, bool long_mode, struct err *err)
{
    int r = load_segments(memory, state, long_mode);

    if (r == 0 && long_mode)
        r = write_page_tables(memory);
    if (r < 0)
        return err_set(err, -ENOMEM, "the guest has no RAM at 0x%x, where its first tables go; give it at least 1 MiB",
                       (unsigned)BOOT_AREA);
    memset(state->gpr, 0, sizeof(state->gpr));
    state->rip = rip;
    state->rflags = 2;
    state->run_state = X86_RUNNABLE;
    boot_prepare_cpu(state);
    return 0;
}

int entry_flat32(struct memory *memory, struct x86_state *state, uint64_t rip, struct err *err)
{
    state->cr0 = X86_CR0_PE | X86_CR0_ET;
    state->cr3 = 0;
    state->cr4 = 0;
    state->msr.efer = 0;
    return set_entry(memory, state, rip, false, err);
}

int entry_long64(struct memory *memory, struct x86_state *state, uint64_t rip, struct err *err)
{
    state->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_PG;
    state->cr3 = BOOT_PAGE_TABLES;
    state->cr4 = X86_CR4_PAE;
    state->msr.efer = X86_EFER_LME | X86_EFER_LMA;
    return set_entry(memory, state, rip, true, err);
}
