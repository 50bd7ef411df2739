/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The software TLB: address spaces by PCID, page walks, flushes. */
#include "engine/dbt/tlb.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/dbt/block.h"
#include "engine/dbt/entry_check.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/lockstep.h"
#include "engine/dbt/mirror.h"
#include "engine/dbt/translation.h"
#include "memory/memory.h"
#include "x86/walk.h"

/* Whatever takes a right away, or chooses another TLB, closes the window. */
static void close_stack_window(struct dbt_vcpu *v)
{
    v->stack_limit[0] = v->stack_limit[1] = v->other_stack_limit = 0;
}

static void clear_tags(struct tlb_entry *entry, unsigned index)
{
    uint64_t none = TLB_NO_TAG(index);

    *entry = (struct tlb_entry){none, none, none, NULL};
}

static void clear_entry(struct tlb *tlb, unsigned index)
{
    clear_tags(&tlb->entry[index], index);
    tlb->translation[index].page = TLB_NO_PAGE;
}

/* Everybody who goes through a TLB's entries: those in use, which are listed, or all. */
#define FOR_FILLED(tlb, i)                                                                                        \
    for (unsigned n_ = 0, all_ = (tlb)->filled_count > TLB_FILLED_MAX, i = 0;                                      \
         n_ < (all_ ? TLB_ENTRIES : (tlb)->filled_count) && ((i = all_ ? n_ : (tlb)->filled[n_]), true); n_++)

static void clear_tlb(struct tlb *tlb)
{
    if (!tlb->ready) {
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            clear_entry(tlb, i);
        tlb->ready = true;
    } else {
        FOR_FILLED(tlb, i)
            clear_entry(tlb, i);
    }
    tlb->filled_count = 0;
    tlb->large_first = UINT64_MAX;
    tlb->large_last = 0;
}

/* Once more than the list holds: all of them are looked at until it is emptied. */
static void note_filled(struct tlb *tlb, unsigned index)
{
    if (tlb->filled_count < TLB_FILLED_MAX)
        tlb->filled[tlb->filled_count] = (uint16_t)index;
    if (tlb->filled_count <= TLB_FILLED_MAX)
        tlb->filled_count++;
}

/* --- victims --------------------------------------------------------------------------------------------------------------- */

static void forget_victims(struct dbt_vcpu *v)
{
    for (unsigned i = 0; i < TLB_VICTIMS && v->victims; i++)
        v->victim[i].tlb = NULL;
    v->victims = false;
}

/* Whoever takes entries away, or rights from them, calls this. */
static void rights_taken(struct dbt_vcpu *v)
{
    close_stack_window(v);
    forget_victims(v);
    v->rights_epoch++;
}

static void keep_victim(struct dbt_vcpu *v, struct tlb *tlb, unsigned index)
{
    v->victim[v->next_victim++ % TLB_VICTIMS] =
        (struct tlb_victim){.tlb = tlb, .entry = tlb->entry[index], .translation = tlb->translation[index]};
    v->victims = true;
}

/* Brings the page's entry back, in exchange for the one that is in its place. */
static bool take_victim(struct dbt_vcpu *v, struct tlb *tlb, uint64_t linear)
{
    unsigned index = TLB_INDEX(linear);

    for (unsigned i = 0; i < TLB_VICTIMS && v->victims; i++) {
        struct tlb_victim *place = &v->victim[i], victim = *place;

        if (victim.tlb != tlb || victim.translation.page != TLB_PAGE(linear))
            continue;
        *place = (struct tlb_victim){.tlb = tlb, .entry = tlb->entry[index], .translation = tlb->translation[index]};
        tlb->entry[index] = victim.entry;
        tlb->translation[index] = victim.translation;
        return true;
    }
    return false;
}

/* --- address spaces -------------------------------------------------------------------------------------------------------- */

static void clear_space(struct dbt_vcpu *v, struct address_space *space)
{
    rights_taken(v);
    dbt_mirror_forget(v, space, true);
    dbt_links_forget(v, space);
    space->ticks = 0;
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        if (space->tlb[mode].ready)
            clear_tlb(&space->tlb[mode]);
    space->generation = ++v->next_generation;
    v->statistics[STATISTIC_TLB_FLUSHES]++;
    if (space == v->space) {
        dbt_entry_check_flushed(v, NO_PAGE);
        dbt_jump_tables_forget(v, true);
    }
}

/* What stays is listed anew. */
static void clear_but_global(struct tlb *tlb)
{
    unsigned kept = 0;
    bool listed = tlb->filled_count <= TLB_FILLED_MAX;

    FOR_FILLED(tlb, i) {
        if (!tlb->translation[i].global)
            clear_entry(tlb, i);
        else if (listed)
            tlb->filled[kept++] = (uint16_t)i;
    }
    if (listed)
        tlb->filled_count = kept;
}

static void clear_space_but_global(struct dbt_vcpu *v, struct address_space *space)
{
    rights_taken(v);
    dbt_mirror_forget(v, space, !(v->cr4 & X86_CR4_PCIDE));
    dbt_links_forget(v, space);
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        if (space->tlb[mode].ready)
            clear_but_global(&space->tlb[mode]);
    space->generation = ++v->next_generation;
    v->statistics[STATISTIC_TLB_FLUSHES]++;
    if (space == v->space) {
        dbt_entry_check_flushed(v, NO_PAGE);
        dbt_jump_tables_forget(v, false);
    }
}

int dbt_tlb_new(struct dbt_vcpu *v)
{
    void *memory = mmap(NULL, TLB_SLOTS * sizeof(*v->spaces), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    v->spaces = memory; /* zeros, and resident only where they are used */
    v->space = &v->spaces[0];
    v->space->used = true;
    clear_space(v, v->space);
    dbt_tlb_choose(v);
    return 0;
}

void dbt_tlb_free(struct dbt_vcpu *v)
{
    if (v->spaces != NULL)
        munmap(v->spaces, TLB_SLOTS * sizeof(*v->spaces));
    v->spaces = NULL;
}

static bool breakpoint_on_page(const struct dbt_vcpu *v, uint64_t page)
{
    for (unsigned i = 0; i < 4 && v->data_breakpoints; i++) {
        unsigned type = (unsigned)bit_range(v->dr7, 17 + 4 * i, 16 + 4 * i);

        if (bit_range(v->dr7, 2 * i + 1, 2 * i) != 0 && type != 0 && TLB_PAGE(v->dr[i]) == page)
            return true;
    }
    return false;
}

static bool may_write_fast(const struct dbt_vcpu *v, const struct memory_region *region, uint64_t physical)
{
    const struct memory *memory = v->memory;
    uint64_t number = memory_page_number(region, physical);

    if (UNLIKELY(v->lockstep != NULL) && dbt_lockstep_find_copy(v, physical) == NULL)
        return false;
    if (region->readonly || atomic_load(&memory->code_pages[number]) != 0 || dbt_has_own_code(v, number))
        return false;
    return !atomic_load(&memory->dirty_logging) || (atomic_load(&memory->dirty[number / 64]) & BIT(number % 64));
}

static void set_tags(struct dbt_vcpu *v, enum tlb_mode mode, struct tlb *tlb, unsigned index)
{
    const struct tlb_translation *t = &tlb->translation[index];
    const struct memory_region *region = memory_find(v->memory, t->physical);
    struct tlb_entry *e = &tlb->entry[index];

    if (t->page == v->stack_base || t->page == v->other_stack_base)
        close_stack_window(v);
    clear_tags(e, index);
    if (region == NULL)
        return;
    e->host = dbt_lockstep_find_copy(v, t->physical);
    if (LIKELY(e->host == NULL))
        e->host = region->host + (t->physical - region->address);
    if (t->executable)
        e->execute = t->page;
    if (mode == TLB_USER_ALIGNED || breakpoint_on_page(v, t->page))
        return;
    if (t->readable)
        e->read = t->page;
    if (t->writable && t->readable && t->dirty && may_write_fast(v, region, t->physical))
        e->write = t->page;
}

void dbt_tlb_retag(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear)
{
    struct tlb *tlb = &v->space->tlb[mode];

    forget_victims(v);
    if (tlb->ready && tlb->translation[TLB_INDEX(linear)].page == TLB_PAGE(linear))
        set_tags(v, mode, tlb, TLB_INDEX(linear));
}

void dbt_tlb_retag_page(struct dbt_vcpu *v, uint64_t physical_page)
{
    rights_taken(v);
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        FOR_FILLED(&v->space->tlb[mode], i)
            if (v->space->tlb[mode].translation[i].page != TLB_NO_PAGE && v->space->tlb[mode].translation[i].physical == physical_page)
                set_tags(v, mode, &v->space->tlb[mode], i);
}

static _Noreturn void raise_not_canonical(struct dbt_vcpu *v)
{
    bool stack = v->op != NULL && (v->op->flags & OP_MEMORY) && v->op->segment == X86_SS;

    dbt_raise_error(v, stack ? X86_SS_FAULT : X86_GP, 0);
}

static struct x86_walk walk_for(const struct dbt_vcpu *v, enum tlb_mode mode, unsigned access)
{
    return (struct x86_walk){
        .cr0 = v->cr0, .cr3 = v->cr3, .cr4 = v->cr4, .efer = v->msr.efer, .pkru = v->pkru, .pkrs = (uint32_t)v->msr.pkrs,
        .physical_bits = v->physical_bits, .gigabyte_pages = v->gigabyte_pages,
        .write = (access & ACCESS_WRITE) != 0, .fetch = (access & ACCESS_EXECUTE) != 0,
        .user = mode == TLB_USER || mode == TLB_USER_ALIGNED,
        .smap_off = mode == TLB_SUPERVISOR_AC};
}

/* What a later flush of one page must know. */
static void note_translation(struct dbt_vcpu *v, struct tlb *tlb, uint64_t linear, const struct x86_translation *t)
{
    v->keyed_pages = v->keyed_pages || t->keyed;
    if (t->page_shift > 12) {
        uint64_t first = align_down(linear, BIT(t->page_shift)), last = first + BIT(t->page_shift) - 1;

        tlb->large_first = first < tlb->large_first ? first : tlb->large_first;
        tlb->large_last = last > tlb->large_last ? last : tlb->large_last;
    }
}

unsigned dbt_tlb_peek(struct dbt_vcpu *v, uint64_t page, uint64_t *ret_physical)
{
    struct x86_walk walk = walk_for(v, TLB_USER, ACCESS_READ);
    const struct memory_region *region;
    struct x86_translation t;

    if (v->data_breakpoints || x86_walk(v->memory, &walk, page, &t) || !t.readable)
        return 0;
    note_translation(v, &v->space->tlb[TLB_USER], page, &t);
    region = memory_find(v->memory, t.physical);
    if (region == NULL)
        return 0;
    *ret_physical = t.physical;
    return ACCESS_READ | (t.writable && t.dirty && may_write_fast(v, region, t.physical) ? ACCESS_WRITE : 0);
}

uint32_t dbt_tlb_look(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access, struct x86_translation *ret)
{
    struct x86_walk walk = walk_for(v, mode, access);

    walk.looks_only = true;
    return x86_walk(v->memory, &walk, linear, ret);
}

static void walk_and_fill(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access)
{
    struct tlb *tlb = &v->space->tlb[mode];
    unsigned index = TLB_INDEX(linear);
    struct x86_walk walk = walk_for(v, mode, access);
    struct x86_translation t;
    uint32_t fault;

    v->statistics[STATISTIC_TLB_MISS]++;
    if (access & ACCESS_WRITE)
        v->statistics[STATISTIC_TLB_MISS_WRITE]++;
    if (access & ACCESS_EXECUTE)
        v->statistics[STATISTIC_TLB_MISS_FETCH]++;
    if (!tlb->ready)
        clear_tlb(tlb);
    fault = x86_walk(v->memory, &walk, linear, &t);
    if (fault)
        dbt_raise_page_fault(v, linear, fault & ~X86_WALK_FAULT);
    if (tlb->translation[index].page == TLB_NO_PAGE)
        note_filled(tlb, index);
    else if (tlb->translation[index].page != TLB_PAGE(linear))
        keep_victim(v, tlb, index);
    tlb->translation[index] = (struct tlb_translation){
        .page = TLB_PAGE(linear), .physical = t.physical, .writable = t.writable, .readable = t.readable,
        .executable = t.executable, .global = t.global, .dirty = t.dirty};
    note_translation(v, tlb, linear, &t);
    set_tags(v, mode, tlb, index);
}

static bool allows(const struct tlb_translation *t, unsigned access)
{
    return !((access & ACCESS_WRITE) && !(t->writable && t->dirty)) && !((access & ACCESS_READ) && !t->readable) &&
           !((access & ACCESS_EXECUTE) && !t->executable);
}

bool dbt_tlb_find(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access)
{
    struct tlb *tlb = &v->space->tlb[mode];
    const struct tlb_translation *t = &tlb->translation[TLB_INDEX(linear)];

    return tlb->ready && (t->page == TLB_PAGE(linear) || take_victim(v, tlb, linear)) && allows(t, access);
}

const struct tlb_translation *dbt_tlb_translate(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access)
{
    const struct tlb_translation *t = &v->space->tlb[mode].translation[TLB_INDEX(linear)];

    if (!dbt_tlb_find(v, mode, linear, access)) {
        if (dbt_long_mode(v) && !dbt_canonical(linear))
            raise_not_canonical(v);
        /* A write that also reads asks for the write: one fault, as the hardware has it. */
        walk_and_fill(v, mode, linear, access);
    }
    return t;
}

void dbt_tlb_protect_page(struct dbt_vcpu *v, uint64_t physical_page)
{
    rights_taken(v);
    dbt_mirror_protect_page(v, physical_page);
    for (unsigned s = 0; s < TLB_SLOTS; s++)
        for (unsigned mode = 0; mode < TLB_MODES && v->spaces[s].used; mode++)
            FOR_FILLED(&v->spaces[s].tlb[mode], i)
                if (v->spaces[s].tlb[mode].translation[i].physical == physical_page)
                    v->spaces[s].tlb[mode].entry[i].write = TLB_NO_TAG(i);
}

void dbt_tlb_protect_all(struct dbt_vcpu *v)
{
    rights_taken(v);
    dbt_mirror_forget_all(v);
    for (unsigned s = 0; s < TLB_SLOTS; s++)
        for (unsigned mode = 0; mode < TLB_MODES && v->spaces[s].used; mode++)
            FOR_FILLED(&v->spaces[s].tlb[mode], i)
                v->spaces[s].tlb[mode].entry[i].write = TLB_NO_TAG(i);
}

static struct tlb_entry *ready_tlb(struct dbt_vcpu *v, enum tlb_mode mode)
{
    struct tlb *tlb = &v->space->tlb[mode];

    if (UNLIKELY(!tlb->ready))
        clear_tlb(tlb);
    return tlb->entry;
}

void dbt_tlb_choose(struct dbt_vcpu *v)
{
    enum tlb_mode with_ac = v->cr4 & X86_CR4_SMAP ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;

    close_stack_window(v);
    dbt_mirror_choose(v);
    v->tlb = ready_tlb(v, v->tlb_mode);
    v->user_tlb = v->space->tlb[TLB_USER].ready ? v->space->tlb[TLB_USER].entry : NULL;
    v->supervisor_tlb[0] = NULL;
    if (v->cpl == 3 && !(v->space->tlb[TLB_SUPERVISOR].ready && v->space->tlb[with_ac].ready))
        return;
    v->supervisor_tlb[0] = ready_tlb(v, TLB_SUPERVISOR);
    v->supervisor_tlb[1] = ready_tlb(v, with_ac);
    v->supervisor_tlb_mode[0] = TLB_SUPERVISOR;
    v->supervisor_tlb_mode[1] = with_ac;
}

static void use_space(struct dbt_vcpu *v, struct address_space *space)
{
    space->last_use = ++v->clock_of_use;
    if (space != v->space) {
        dbt_entry_check_flushed(v, NO_PAGE);
        dbt_jump_tables_forget(v, false);
    }
    v->space = space;
    dbt_tlb_choose(v);
}

static struct address_space *find_space(struct dbt_vcpu *v, uint16_t pcid)
{
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        if (v->spaces[i].used && v->spaces[i].pcid == pcid)
            return &v->spaces[i];
    return NULL;
}

static struct address_space *claim_space(struct dbt_vcpu *v, uint16_t pcid)
{
    struct address_space *oldest = &v->spaces[0];

    for (unsigned i = 0; i < TLB_SLOTS; i++) {
        if (!v->spaces[i].used) {
            oldest = &v->spaces[i];
            break;
        }
        if (v->spaces[i].last_use < oldest->last_use)
            oldest = &v->spaces[i];
    }
    oldest->used = true;
    oldest->pcid = pcid;
    clear_space(v, oldest);
    return oldest;
}

void dbt_tlb_set_cr3(struct dbt_vcpu *v, uint64_t value)
{
    bool keep = (value & BIT(63)) != 0;
    uint16_t pcid = (uint16_t)(value & 0xfff);
    struct address_space *space;

    if (!(v->cr4 & X86_CR4_PCIDE)) {
        v->cr3 = value;
        clear_space_but_global(v, v->space);
        return;
    }
    v->cr3 = value & ~BIT(63);
    space = find_space(v, pcid);
    if (space == NULL)
        space = claim_space(v, pcid);
    else if (!keep)
        clear_space_but_global(v, space);
    use_space(v, space);
}

void dbt_tlb_flush_all(struct dbt_vcpu *v)
{
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        if (&v->spaces[i] != v->space)
            v->spaces[i].used = false;
    v->space->pcid = (v->cr4 & X86_CR4_PCIDE) ? (uint16_t)(v->cr3 & 0xfff) : 0;
    clear_space(v, v->space);
}

void dbt_tlb_set_pkru(struct dbt_vcpu *v, uint32_t value)
{
    uint32_t changed = v->pkru ^ value;

    v->pkru = value;
    if (!(changed & 3) && (changed == 0 || !v->keyed_pages)) /* key 0 is every page's */
        return;
    dbt_tlb_flush_all(v);
    v->keyed_pages = false;
}

static void flush_page_of(struct tlb *tlb, uint64_t linear, bool keep_global)
{
    bool maybe_large = linear >= tlb->large_first && linear <= tlb->large_last;
    unsigned first = maybe_large ? 0 : TLB_INDEX(linear), last = maybe_large ? TLB_ENTRIES - 1 : TLB_INDEX(linear);
    uint64_t mask = maybe_large ? ~(GIB(1) - 1) : ~UINT64_C(0xfff);

    for (unsigned i = first; i <= last && tlb->ready; i++) {
        const struct tlb_translation *t = &tlb->translation[i];

        if (t->page != TLB_NO_PAGE && (t->page & mask) == (linear & mask) && !(keep_global && t->global))
            clear_entry(tlb, i);
    }
}

static bool maybe_large_page(const struct address_space *space, uint64_t linear)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        if (space->tlb[mode].ready && linear >= space->tlb[mode].large_first && linear <= space->tlb[mode].large_last)
            return true;
    return false;
}

static void flush_page_in(struct dbt_vcpu *v, struct address_space *space, uint64_t linear, bool keep_global)
{
    bool large = maybe_large_page(space, linear);

    rights_taken(v);
    if (space == v->space)
        dbt_entry_check_flushed(v, large ? NO_PAGE : TLB_PAGE(linear));
    if (large) {
        dbt_mirror_forget(v, space, false);
        dbt_links_forget(v, space);
    } else {
        dbt_mirror_forget_page(v, space, linear);
        dbt_links_forget_page(v, linear);
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        flush_page_of(&space->tlb[mode], linear, keep_global);
    if (space == v->space && !large)
        dbt_jump_cache_forget_page(v, linear);
    else
        space->generation = ++v->next_generation;
    if (space == v->space && large)
        dbt_jump_tables_forget(v, true);
}

static bool may_hold_global(const struct address_space *space, uint64_t linear)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++)
        if (space->tlb[mode].ready && space->tlb[mode].translation[TLB_INDEX(linear)].global)
            return true;
    return maybe_large_page(space, linear);
}

void dbt_tlb_flush_page(struct dbt_vcpu *v, uint64_t linear)
{
    flush_page_in(v, v->space, linear, false);
    dbt_links_forget_page(v, linear);
    /* A global page may be in any address space. */
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        if (v->spaces[i].used && &v->spaces[i] != v->space && may_hold_global(&v->spaces[i], linear))
            flush_page_in(v, &v->spaces[i], linear, false);
}

void dbt_tlb_flush_pcid(struct dbt_vcpu *v, uint16_t pcid)
{
    struct address_space *space = find_space(v, pcid);

    if (space != NULL)
        clear_space_but_global(v, space);
}

void dbt_tlb_flush_pcid_page(struct dbt_vcpu *v, uint16_t pcid, uint64_t linear)
{
    struct address_space *space = find_space(v, pcid);

    if (space != NULL)
        flush_page_in(v, space, linear, true);
}

void dbt_tlb_flush_all_but_global(struct dbt_vcpu *v)
{
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        if (v->spaces[i].used)
            clear_space_but_global(v, &v->spaces[i]);
}

void dbt_debug_changed(struct dbt_vcpu *v)
{
    rights_taken(v);
    dbt_mirror_forget_all(v);
    v->instruction_breakpoints = v->data_breakpoints = false;
    for (unsigned i = 0; i < 4; i++) {
        if (bit_range(v->dr7, 2 * i + 1, 2 * i) == 0)
            continue;
        if (bit_range(v->dr7, 17 + 4 * i, 16 + 4 * i) == 0)
            v->instruction_breakpoints = true;
        else
            v->data_breakpoints = true;
    }
    for (unsigned s = 0; s < TLB_SLOTS; s++)
        for (unsigned mode = 0; mode < TLB_MODES && v->spaces[s].used; mode++)
            FOR_FILLED(&v->spaces[s].tlb[mode], i)
                if (v->spaces[s].tlb[mode].translation[i].page != TLB_NO_PAGE)
                    set_tags(v, mode, &v->spaces[s].tlb[mode], i);
    if (v->instruction_breakpoints)
        dbt_set_attention(v, ATTENTION_STEP);
}
