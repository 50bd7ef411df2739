/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page walk of both engines' software side. See walk.h. */
#include "x86/walk.h"

#include <stddef.h>

#include "base/bits.h"
#include "memory/memory.h"
#include "x86/state.h"

enum { PTE_P = 1 << 0, PTE_W = 1 << 1, PTE_U = 1 << 2, PTE_A = 1 << 5, PTE_D = 1 << 6, PTE_PS = 1 << 7, PTE_G = 1 << 8 };
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

struct step { /* one table entry on the way */
    void *host;
    uint64_t address;
    uint64_t entry;
};

struct progress {
    struct step step[4];
    unsigned steps;
    unsigned entry_size; /* 4 or 8 bytes */
    bool writable, user, no_execute;
    unsigned page_shift;
    uint64_t physical;
};

/* Guest tables outside of RAM read as all ones, as a bus without a device does. */
static uint64_t read_entry(struct memory *memory, struct progress *p, uint64_t address)
{
    struct step *step = &p->step[p->steps++];

    step->address = address;
    step->host = memory_pointer(memory, address, p->entry_size);
    if (step->host == NULL)
        step->entry = UINT64_MAX;
    else if (p->entry_size == 8)
        step->entry = __atomic_load_n((uint64_t *)step->host, __ATOMIC_RELAXED);
    else
        step->entry = __atomic_load_n((uint32_t *)step->host, __ATOMIC_RELAXED);
    return step->entry;
}

static uint64_t reserved_address_bits(const struct x86_walk *walk)
{
    uint64_t reserved = PTE_ADDRESS & ~(BIT(walk->physical_bits) - 1);

    return (walk->efer & X86_EFER_NXE) ? reserved : reserved | PTE_NX;
}

static void take_rights(struct progress *p, uint64_t entry)
{
    p->writable = p->writable && (entry & PTE_W);
    p->user = p->user && (entry & PTE_U);
    p->no_execute = p->no_execute || (entry & PTE_NX);
}

/* 4-level and PAE. Returns 0, or error-code bits P and RSVD with the fault mark. */
static uint32_t walk_64bit_entries(struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct progress *p)
{
    bool long_mode = (walk->efer & X86_EFER_LMA) != 0;
    uint64_t reserved = reserved_address_bits(walk);
    uint64_t table = long_mode ? walk->cr3 & PTE_ADDRESS : walk->cr3 & UINT64_C(0xffffffe0);

    p->entry_size = 8;
    for (int level = long_mode ? 3 : 2; level >= 0; level--) {
        unsigned shift = 12 + 9 * (unsigned)level;
        uint64_t entry = read_entry(memory, p, table + bit_range(linear, shift + 8, shift) * 8);
        bool pae_pdpte = !long_mode && level == 2;
        bool leaf = level == 0 || ((entry & PTE_PS) && level < 3 && !pae_pdpte);

        if (!(entry & PTE_P))
            return X86_WALK_FAULT;
        if (entry & reserved)
            return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
        if (!long_mode && (entry & UINT64_C(0x7ff0000000000000)))
            return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
        if (pae_pdpte) { /* no rights in a PDPTE */
            if (entry & (PTE_NX | 0x1e6))
                return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
            p->steps--; /* and no accessed bit */
            table = entry & PTE_ADDRESS;
            continue;
        }
        if ((entry & PTE_PS) && (level == 3 || (level == 2 && !walk->gigabyte_pages)))
            return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
        if (leaf && level > 0 && (entry & PTE_ADDRESS & (BIT(shift) - 1) & ~UINT64_C(0x1000)))
            return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED; /* bit 12 is PAT in a large page */
        take_rights(p, entry);
        if (leaf) {
            p->page_shift = shift;
            p->physical = (entry & PTE_ADDRESS & ~(BIT(shift) - 1)) | (linear & (BIT(shift) - 1) & ~UINT64_C(0xfff));
            return 0;
        }
        table = entry & PTE_ADDRESS;
    }
    return X86_WALK_FAULT;
}

static uint32_t walk_32bit_entries(struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct progress *p)
{
    uint64_t entry;

    p->entry_size = 4;
    entry = read_entry(memory, p, (walk->cr3 & UINT64_C(0xfffff000)) + bit_range(linear, 31, 22) * 4) & UINT32_MAX;
    if (!(entry & PTE_P))
        return X86_WALK_FAULT;
    take_rights(p, entry);
    if ((entry & PTE_PS) && (walk->cr4 & X86_CR4_PSE)) {
        if (bit_range(entry, 21, 21)) /* PSE-36: bits 20:13 are address bits 39:32 */
            return X86_WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
        p->page_shift = 22;
        p->physical = (entry & UINT64_C(0xffc00000)) | bit_range(entry, 20, 13) << 32 | (linear & UINT64_C(0x3ff000));
        return 0;
    }
    entry = read_entry(memory, p, (entry & UINT64_C(0xfffff000)) + bit_range(linear, 21, 12) * 4) & UINT32_MAX;
    if (!(entry & PTE_P))
        return X86_WALK_FAULT;
    take_rights(p, entry);
    p->page_shift = 12;
    p->physical = entry & UINT64_C(0xfffff000);
    return 0;
}

/* Protection keys: what the key of this page forbids. SDM vol. 3 section 4.6.2. */
static void apply_key(const struct x86_walk *walk, uint64_t entry, bool user_page, struct x86_translation *t, bool *key_hit)
{
    unsigned key = (unsigned)bit_range(entry, 62, 59);
    bool enabled = (walk->efer & X86_EFER_LMA) && (walk->cr4 & (user_page ? X86_CR4_PKE : X86_CR4_PKS));
    uint32_t rights = (user_page ? walk->pkru : walk->pkrs) >> (2 * key);
    bool no_access = enabled && (rights & 1);
    bool no_write = no_access || (enabled && (rights & 2) && (walk->user || (walk->cr0 & X86_CR0_WP)));

    t->keyed = enabled && key != 0;
    t->readable = t->readable && !no_access;
    t->writable = t->writable && !no_write;
    *key_hit = walk->write ? no_write : no_access;
}

static void rights_of(const struct x86_walk *walk, const struct progress *p, struct x86_translation *t, bool *key_hit)
{
    bool write_protect = (walk->cr0 & X86_CR0_WP) != 0;

    if (walk->user) {
        t->readable = p->user;
        t->writable = p->user && p->writable;
        t->executable = p->user && !p->no_execute;
    } else {
        bool smap = p->user && (walk->cr4 & X86_CR4_SMAP) && !walk->smap_off;

        t->readable = !smap;
        t->writable = !smap && (p->writable || !write_protect);
        t->executable = !p->no_execute && !(p->user && (walk->cr4 & X86_CR4_SMEP));
    }
    *key_hit = false;
    if (p->entry_size == 8)
        apply_key(walk, p->step[p->steps - 1].entry, p->user, t, key_hit);
}

/* Sets bits in an entry if it is still what was seen. false: it changed, walk again. */
static bool set_bits(struct memory *memory, const struct step *step, unsigned entry_size, uint64_t bits)
{
    if ((step->entry & bits) == bits || step->host == NULL)
        return true;
    if (entry_size == 8) {
        uint64_t seen = step->entry;
        if (!__atomic_compare_exchange_n((uint64_t *)step->host, &seen, seen | bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED))
            return false;
    } else {
        uint32_t seen = (uint32_t)step->entry;
        if (!__atomic_compare_exchange_n((uint32_t *)step->host, &seen, seen | (uint32_t)bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED))
            return false;
    }
    memory_wrote(memory, step->address, entry_size);
    return true;
}

static uint32_t access_bits(const struct x86_walk *walk)
{
    bool fetch_reported = ((walk->cr4 & X86_CR4_PAE) && (walk->efer & X86_EFER_NXE)) || (walk->cr4 & X86_CR4_SMEP);

    return (walk->write ? X86_PF_WRITE : 0) | (walk->user ? X86_PF_USER : 0) |
           (walk->fetch && fetch_reported ? X86_PF_FETCH : 0);
}

static uint32_t walk_once(struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct x86_translation *ret,
                          bool *ret_again)
{
    struct progress p = {.writable = true, .user = true};
    struct x86_translation t = {0};
    bool key_hit, allowed;
    uint32_t fault = (walk->cr4 & X86_CR4_PAE) ? walk_64bit_entries(memory, walk, linear, &p)
                                               : walk_32bit_entries(memory, walk, linear, &p);

    if (fault)
        return fault | access_bits(walk);
    rights_of(walk, &p, &t, &key_hit);
    allowed = walk->fetch ? t.executable : walk->write ? t.writable : t.readable;
    if (!allowed)
        return X86_WALK_FAULT | X86_PF_PRESENT | access_bits(walk) | (key_hit && !walk->fetch ? X86_PF_KEY : 0);
    for (unsigned i = 0; i < p.steps && !walk->looks_only; i++) {
        bool leaf = i == p.steps - 1;

        if (!set_bits(memory, &p.step[i], p.entry_size, leaf && walk->write ? PTE_A | PTE_D : PTE_A)) {
            *ret_again = true;
            return 0;
        }
    }
    t.physical = p.physical;
    t.page_shift = p.page_shift;
    t.global = (p.step[p.steps - 1].entry & PTE_G) && (walk->cr4 & X86_CR4_PGE);
    t.dirty = walk->write || (p.step[p.steps - 1].entry & PTE_D);
    *ret = t;
    return 0;
}

/* The common case of the walk below, in long mode, with nothing left to set or to refuse: false otherwise, nothing done. */
static bool walk_quickly(const struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct x86_translation *ret)
{
    const struct memory_region *region = &memory->region[0];
    uint64_t reserved = reserved_address_bits(walk), table = walk->cr3 & PTE_ADDRESS, all = PTE_W | PTE_U, any = 0, entry;
    struct x86_translation t;
    bool keys = (walk->cr4 & (X86_CR4_PKE | X86_CR4_PKS)) != 0, smap, allowed;
    unsigned shift;

    if (!(walk->efer & X86_EFER_LMA) || (keys && ((walk->pkru | walk->pkrs) & 3))) /* what key 0 forbids */
        return false;
    for (shift = 39;; shift -= 9) {
        uint64_t at = table + (linear >> shift & 511) * 8 - region->address;

        if (at >= region->size) {
            region = memory_find(memory, at + region->address);
            if (region == NULL)
                return false;
            at = table + (linear >> shift & 511) * 8 - region->address;
        }
        entry = __atomic_load_n((const uint64_t *)(const void *)(region->host + at), __ATOMIC_RELAXED);
        if ((entry & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || (entry & reserved))
            return false;
        all &= entry;
        any |= entry;
        if (shift == 12)
            break;
        table = entry & PTE_ADDRESS;
        if (entry & PTE_PS) {
            if (shift == 39 || (shift == 30 && !walk->gigabyte_pages) || (table & (BIT(shift) - 1)))
                return false;
            break;
        }
    }
    if (region->readonly || (walk->write && !(entry & PTE_D)) || (keys && bit_range(entry, 62, 59) != 0))
        return false;
    smap = (all & PTE_U) && (walk->cr4 & X86_CR4_SMAP) && !walk->smap_off;
    t = (struct x86_translation){
        .page_shift = shift,
        .physical = (entry & PTE_ADDRESS) | (linear & (BIT(shift) - 1) & ~UINT64_C(0xfff)),
        .readable = walk->user ? (all & PTE_U) != 0 : !smap,
        .writable = walk->user ? (all & (PTE_U | PTE_W)) == (PTE_U | PTE_W)
                               : !smap && ((all & PTE_W) || !(walk->cr0 & X86_CR0_WP)),
        .executable = !(any & PTE_NX) && (walk->user ? (all & PTE_U) != 0 : !((all & PTE_U) && (walk->cr4 & X86_CR4_SMEP))),
        .global = (entry & PTE_G) && (walk->cr4 & X86_CR4_PGE),
        .dirty = (entry & PTE_D) != 0,
    };
    allowed = walk->fetch ? t.executable : walk->write ? t.writable : t.readable;
    if (allowed)
        *ret = t;
    return allowed;
}

uint32_t x86_walk(struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct x86_translation *ret)
{
    if (!(walk->cr0 & X86_CR0_PG)) {
        *ret = (struct x86_translation){.physical = align_down(linear, 4096), .page_shift = 12, .writable = true, .readable = true,
                                        .executable = true, .dirty = true};
        return 0;
    }
    if (walk_quickly(memory, walk, linear, ret))
        return 0;
    for (;;) {
        bool again = false;
        uint32_t result = walk_once(memory, walk, linear, ret, &again);

        if (!again)
            return result;
    }
}
