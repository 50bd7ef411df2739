/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mirrors of user space: which space has one, its pages, the faults of code that runs in it. See mirror.h. */
#include "engine/dbt/mirror.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <x86intrin.h>

#include "engine/dbt/tlb.h"
#include "engine/dbt/translation.h"
#include "memory/memory.h"

#define PAGES_MAX 6144u /* each may be two mappings, with what is behind it; Linux lets a process have 65530 */
#define PAGE_HASH 16384u
#define MIRRORED_CPUS 4u /* so many find room for their windows and mappings */
#define NO_PHYSICAL UINT64_MAX
#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif
#define DISTRUSTED_BITS 65536u /* power of two */
#define ASTRAYS_MAX 10u
#define DISTANCE_STEPS 5u /* windows are moved down by twice their size, or more, among what is free there */

/* Costs are in cycles of the TSC: a page's fault and its mapping, its end, a translation that is made once more; and what may be spent
 * at most: a share of the time, of which some may be saved up. A space that spends it on translations goes into debt, twice as deep each
 * time. */
#define FILL_COST 25000
#define UNMAP_COST 4000
#define TRANSLATION_COST 10000
#define DEBTS_MAX 6u
#define SPEND_SHARE 16
#define SAVED_MAX 50000000
#define RUN_MAX 64u       /* pages mapped at once, where they lie in guest RAM as they do in the space */
#define TICKS_NEEDED 6u  /* interrupts that met it at work one after the other, without new code between them */
#define NEW_CODE 8u      /* translations between two interrupts: more of them, and it runs code that is new, which would be made twice */

static const struct {
    uint64_t base, size;
} windows[MIRROR_WINDOWS] = {
    {0x10000, GIB(64) - 0x10000}, /* what is below is nobody's here either */
    {(uint64_t)MIRROR_PROGRAMS << MIRROR_WINDOW_SHIFT, UINT64_C(1) << MIRROR_WINDOW_SHIFT},
    {(uint64_t)MIRROR_LIBRARIES << MIRROR_WINDOW_SHIFT, UINT64_C(1) << MIRROR_WINDOW_SHIFT},
};

struct mirror_page {
    uint64_t linear, physical; /* NO_PHYSICAL: not mapped now */
    unsigned access;
};

struct area {
    uint8_t *start;
    size_t size;
};

struct mirror {
    struct area area[MIRROR_WINDOWS];     /* the windows, with what is kept free around it */
    unsigned areas;
    uint64_t distance;                    /* what the GS base is while guest code runs */
    const struct address_space *space; /* that is mirrored; NULL: none */
    bool paused;                       /* MIRROR_ALWAYS: between two interrupts of which every other pauses it */
    int64_t saved;
    uint64_t saved_at; /* TSC */
    bool resting;      /* all is spent: it is not used, but kept */
    unsigned debts;    /* of this space */
    uint64_t translations; /* made until the last interrupt */
    unsigned count;
    struct mirror_page page[PAGES_MAX];
    uint16_t hash[PAGE_HASH]; /* index of page[] + 1 */
    bool astray;              /* RSP led elsewhere: not used until some interrupts have passed, */
    unsigned astrays, astray_ticks; /* twice as many each time */
    unsigned distrusted_count;
    uint64_t distrusted[DISTRUSTED_BITS / 64]; /* instructions whose operands are not where the distance holds */
};

static _Thread_local struct dbt_vcpu *running;
static atomic_bool low_taken; /* the host has such addresses only once */
static struct sigaction previous;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* --- faults ---------------------------------------------------------------------------------------------------------------- */

static void on_sigsegv(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    const uint8_t *cold = running != NULL ? dbt_translations_fault(running, (uintptr_t)uc->uc_mcontext.gregs[REG_RIP]) : NULL;

    if (info->si_code <= 0 || cold == NULL) { /* not ours: let it happen again under whatever was there before */
        sigaction(SIGSEGV, &previous, NULL);
        if (info->si_code <= 0) /* somebody has sent it */
            raise(number);
        return;
    }
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)cold;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigsegv, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &action, &previous);
}

void dbt_mirror_prepare(void)
{
    pthread_once(&once, install);
}

/* C does not use GS. */
static void set_distance(const struct mirror *m)
{
    __asm__ volatile("wrgsbase %0" : : "r"(m->distance));
}

void dbt_mirror_enter(struct dbt_vcpu *v)
{
    running = v;
    if (v->mirror_direct)
        set_distance(v->mirror);
    dbt_mirror_choose(v);
}

void dbt_mirror_leave(void)
{
    running = NULL;
}

/* --- windows --------------------------------------------------------------------------------------------------------------- */

int dbt_mirror_window(uint64_t linear)
{
    for (int i = 0; i < (int)MIRROR_WINDOWS; i++)
        if (linear - windows[i].base < windows[i].size - MIRROR_SLACK)
            return i;
    return -1;
}

const uint8_t *dbt_mirror_address(const struct dbt_vcpu *v, unsigned number, uint64_t linear)
{
    return v->mirror_window[number].host + (linear - windows[number].base);
}

/* Nothing, where nothing else may be. */
static bool reserve_at(struct mirror *m, uint64_t first, uint64_t size)
{
    void *want = (void *)(uintptr_t)first, *memory;

    memory = mmap(want, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (first != 0 ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (memory != MAP_FAILED && first != 0 && memory != want) { /* before Linux 4.17 */
        munmap(memory, size);
        memory = MAP_FAILED;
    }
    if (memory == MAP_FAILED)
        return false;
    m->area[m->areas++] = (struct area){memory, size};
    return true;
}

static void release(struct mirror *m, unsigned keep)
{
    while (m->areas > keep) {
        m->areas--;
        munmap(m->area[m->areas].start, m->area[m->areas].size);
    }
}

static void set_window(struct dbt_vcpu *v, unsigned number, uint64_t host)
{
    v->mirror_window[number] =
        (struct mirror_window){windows[number].base, windows[number].size - MIRROR_SLACK, (uint8_t *)(uintptr_t)host};
}

/* Both upper windows at one distance, with REACH of nothing around them. */
static bool reserve_direct(struct dbt_vcpu *v, struct mirror *m)
{
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
        return false;
    for (uint64_t step = 2; step < 2 * DISTANCE_STEPS; step++) {
        uint64_t distance = step << MIRROR_WINDOW_SHIFT;

        for (unsigned i = 1; i < MIRROR_WINDOWS; i++)
            if (!reserve_at(m, windows[i].base - distance - MIRROR_REACH, windows[i].size + 2 * MIRROR_REACH))
                break;
        if (m->areas == MIRROR_WINDOWS - 1) {
            m->distance = -distance;
            for (unsigned i = 1; i < MIRROR_WINDOWS; i++)
                set_window(v, i, windows[i].base - distance);
            v->mirror_direct = true;
            return true;
        }
        release(m, 0);
    }
    return false;
}

/* The lower one where the guest has it. */
static bool reserve_low(struct dbt_vcpu *v, struct mirror *m)
{
    if (!v->mirror_direct || atomic_exchange(&low_taken, true))
        return false;
    if (!reserve_at(m, windows[0].base, MIRROR_REACH)) {
        atomic_store(&low_taken, false);
        return false;
    }
    set_window(v, 0, windows[0].base);
    v->mirror_low = true;
    return true;
}

static bool reserve_anywhere(struct dbt_vcpu *v, struct mirror *m, unsigned number)
{
    if (!reserve_at(m, 0, windows[number].size))
        return false;
    set_window(v, number, (uint64_t)(uintptr_t)m->area[m->areas - 1].start);
    return true;
}

static bool reserve(struct dbt_vcpu *v, struct mirror *m)
{
    if (!reserve_direct(v, m))
        for (unsigned i = 1; i < MIRROR_WINDOWS; i++)
            if (!reserve_anywhere(v, m, i))
                return false;
    return reserve_low(v, m) || reserve_anywhere(v, m, 0);
}

/* NULL: there is none to be had. */
static struct mirror *mirror_of(struct dbt_vcpu *v)
{
    struct mirror *m = v->mirror;

    if (m != NULL || v->mirror_refused || v->translations == NULL)
        return m;
    v->mirror_refused = true; /* tried once */
    if (v->id >= MIRRORED_CPUS || v->vm->mirror == MIRROR_OFF)
        return NULL;
    m = calloc(1, sizeof(*m));
    if (m == NULL || !reserve(v, m)) {
        if (m != NULL)
            release(m, 0);
        free(m);
        v->mirror_direct = false;
        return NULL;
    }
    if (v->mirror_direct)
        set_distance(m);
    m->saved = SAVED_MAX;
    m->saved_at = __rdtsc();
    v->mirror = m;
    return m;
}

void dbt_mirror_free(struct dbt_vcpu *v)
{
    if (v->mirror != NULL)
        release(v->mirror, 0);
    if (v->mirror_low)
        atomic_store(&low_taken, false);
    free(v->mirror);
    v->mirror_direct = v->mirror_low = false;
    v->mirror = NULL;
}

/* --- pages ----------------------------------------------------------------------------------------------------------------- */

static void spend(struct mirror *m, int64_t cost)
{
    uint64_t now = __rdtsc();

    m->saved += (int64_t)((now - m->saved_at) / SPEND_SHARE);
    m->saved = m->saved < SAVED_MAX ? m->saved : SAVED_MAX;
    m->saved -= cost;
    m->saved_at = now;
}

static bool unmap(uint8_t *at, size_t size)
{
    return mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void unmap_all(struct mirror *m)
{
    if (m->count == 0)
        return;
    for (unsigned i = 0; i < m->areas; i++)
        if (!unmap(m->area[i].start, m->area[i].size)) /* which frees mappings and needs none */
            abort();                                   /* the guest would keep what it has no right to */
    spend(m, (int64_t)m->count * UNMAP_COST);
    m->count = 0;
    memset(m->hash, 0, sizeof(m->hash));
}

static uint16_t *find_slot(struct mirror *m, uint64_t page)
{
    unsigned at = (unsigned)((page >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (PAGE_HASH - 1);

    while (m->hash[at] != 0 && m->page[m->hash[at] - 1].linear != page)
        at = (at + 1) & (PAGE_HASH - 1);
    return &m->hash[at];
}

static uint8_t *address_in(const struct dbt_vcpu *v, uint64_t linear)
{
    return (uint8_t *)(uintptr_t)dbt_mirror_address(v, (unsigned)dbt_mirror_window(linear), linear);
}

static void unmap_page(struct dbt_vcpu *v, struct mirror_page *page)
{
    page->physical = NO_PHYSICAL;
    if (!unmap(address_in(v, page->linear), 4096))
        unmap_all(v->mirror);
}

/* Translations made for the mirror are left, and others entered. */
static void set_mirrored(struct dbt_vcpu *v, bool on)
{
    if (v->mirrored == on)
        return;
    v->mirrored = on;
    v->rights_epoch++;
    dbt_jump_tables_forget(v, false);
}

static void end(struct dbt_vcpu *v, struct mirror *m)
{
    unmap_all(m);
    m->space = NULL;
    set_mirrored(v, false);
}

/* Pages that are next to one another in the space and in guest RAM alike, with the same rights. */
struct run {
    uint64_t page, physical;
    unsigned count, access;
};

static bool is_mapped(struct mirror *m, uint64_t page, unsigned access)
{
    unsigned slot = *find_slot(m, page);

    return slot != 0 && m->page[slot - 1].physical != NO_PHYSICAL && (m->page[slot - 1].access & access) == access;
}

static bool continues(struct dbt_vcpu *v, const struct run *run, uint64_t page)
{
    uint64_t physical;

    return dbt_mirror_window(page) == dbt_mirror_window(run->page) && !is_mapped(v->mirror, page, run->access) &&
           dbt_tlb_peek(v, page, &physical) == run->access && physical - run->physical == page - run->page &&
           memory_find(v->memory, physical) == memory_find(v->memory, run->physical);
}

static void extend(struct dbt_vcpu *v, struct run *run)
{
    while (run->count < RUN_MAX && continues(v, run, run->page + run->count * UINT64_C(4096)))
        run->count++;
    while (run->count < RUN_MAX && continues(v, run, run->page - 4096)) {
        run->page -= 4096;
        run->physical -= 4096;
        run->count++;
    }
}

static void note_page(struct mirror *m, uint64_t page, uint64_t physical, unsigned access)
{
    uint16_t *slot = find_slot(m, page);

    if (*slot == 0)
        *slot = (uint16_t)++m->count;
    m->page[*slot - 1] = (struct mirror_page){page, physical, access};
}

static bool map_run(struct dbt_vcpu *v, const struct run *run)
{
    const struct memory_region *region = memory_find(v->memory, run->physical);
    uint64_t offset = run->physical - region->address;
    int rights = PROT_READ | (run->access & ACCESS_WRITE ? PROT_WRITE : 0);

    for (unsigned i = 0; i < run->count; i++) /* what is still to come from elsewhere (post-copy) comes by this address only */
        (void)*(const volatile uint8_t *)(region->host + offset + i * 4096u);
    if (mmap(address_in(v, run->page), run->count * 4096u, rights, MAP_SHARED | MAP_FIXED | MAP_POPULATE, v->memory->fd,
             (off_t)(region->offset + offset)) == MAP_FAILED)
        return false;
    for (unsigned i = 0; i < run->count; i++)
        note_page(v->mirror, run->page + i * UINT64_C(4096), run->physical + i * UINT64_C(4096), run->access);
    v->statistics[STATISTIC_MIRROR_PAGES] += run->count;
    v->statistics[STATISTIC_MIRROR_FAULTS]++;
    return true;
}

/* The user TLB has the page. false: it can't be mapped. */
static bool map_page(struct dbt_vcpu *v, uint64_t page)
{
    struct mirror *m = v->mirror;
    const struct tlb_entry *entry = &v->space->tlb[TLB_USER].entry[TLB_INDEX(page)];
    struct run run = {.page = page, .physical = v->space->tlb[TLB_USER].translation[TLB_INDEX(page)].physical, .count = 1};

    run.access = ACCESS_READ | (entry->write == page ? ACCESS_WRITE : 0);
    if (entry->read != page || is_mapped(m, page, run.access))
        return true;
    if (m->count + RUN_MAX > PAGES_MAX)
        unmap_all(m);
    extend(v, &run);
    spend(m, FILL_COST);
    return map_run(v, &run);
}

static bool may_spend(const struct dbt_vcpu *v)
{
    return v->mirror->saved > 0 || v->vm->mirror == MIRROR_ALWAYS;
}

static bool is_mirrored(const struct dbt_vcpu *v)
{
    return v->mirror->space == v->space && v->tlb_mode != TLB_USER_ALIGNED && !v->mirror->resting && !v->mirror->astray;
}

void dbt_mirror_fill(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    uint64_t last = TLB_PAGE(linear + size - 1);

    for (uint64_t page = TLB_PAGE(linear); page <= last; page += 4096) {
        if (!v->mirrored || v->cpl != 3 || v->mirror->space != v->space || dbt_mirror_window(page) < 0)
            return;
        if (!map_page(v, page))
            end(v, v->mirror);
        else if (!may_spend(v))
            v->mirror->resting = true;
        set_mirrored(v, is_mirrored(v));
    }
}

void dbt_mirror_forget(struct dbt_vcpu *v, const struct address_space *space, bool over)
{
    struct mirror *m = v->mirror;

    if (m == NULL || m->space != space)
        return;
    if (over)
        end(v, m);
    else
        unmap_all(m);
}

void dbt_mirror_forget_page(struct dbt_vcpu *v, const struct address_space *space, uint64_t linear)
{
    struct mirror *m = v->mirror;
    unsigned slot;

    if (m == NULL || m->space != space || m->count == 0)
        return;
    slot = *find_slot(m, TLB_PAGE(linear));
    if (slot != 0 && m->page[slot - 1].physical != NO_PHYSICAL)
        unmap_page(v, &m->page[slot - 1]);
}

void dbt_mirror_protect_page(struct dbt_vcpu *v, uint64_t physical)
{
    struct mirror *m = v->mirror;

    for (unsigned i = 0; m != NULL && i < m->count; i++)
        if (m->page[i].physical == physical)
            unmap_page(v, &m->page[i]);
}

void dbt_mirror_forget_all(struct dbt_vcpu *v)
{
    if (v->mirror != NULL)
        unmap_all(v->mirror);
}

/* --- instructions whose operands lie elsewhere ------------------------------------------------------------------------------ */

static uint64_t *distrusted_bit(struct mirror *m, uint64_t linear, uint64_t *ret_mask)
{
    uint64_t bit = linear * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (DISTRUSTED_BITS - 1);

    *ret_mask = BIT(bit % 64);
    return &m->distrusted[bit / 64];
}

bool dbt_mirror_distrusts(const struct dbt_vcpu *v, uint64_t linear)
{
    uint64_t mask;

    return v->mirror != NULL && (*distrusted_bit(v->mirror, linear, &mask) & mask) != 0;
}

void dbt_mirror_distrust(struct dbt_vcpu *v, uint64_t linear)
{
    struct mirror *m = v->mirror;
    uint64_t mask, *bits = distrusted_bit(m, linear, &mask);

    if (m->distrusted_count == DISTRUSTED_BITS / 8) {
        memset(m->distrusted, 0, sizeof(m->distrusted));
        m->distrusted_count = 0;
    }
    m->distrusted_count += !(*bits & mask);
    *bits |= mask;
}

/* --- which space ----------------------------------------------------------------------------------------------------------- */

static void begin(struct dbt_vcpu *v, struct mirror *m)
{
    end(v, m);
    m->space = v->space;
    m->astray = false;
    m->astrays = 0;
    m->debts = 0;
    v->statistics[STATISTIC_MIRRORS]++;
    set_mirrored(v, true);
}

void dbt_mirror_choose(struct dbt_vcpu *v)
{
    struct mirror *m = v->mirror;

    if (v->vm->mirror == MIRROR_ALWAYS && v->cpl == 3 && v->tlb_mode == TLB_USER && mirror_of(v) != NULL &&
        v->mirror->space != v->space && !v->mirror->paused)
        begin(v, v->mirror);
    else if (m != NULL)
        set_mirrored(v, is_mirrored(v));
}

/* Translations since the last interrupt. */
static uint64_t new_code(struct dbt_vcpu *v, struct mirror *m)
{
    uint64_t made = v->statistics[STATISTIC_TRANSLATIONS] - m->translations;

    m->translations += made;
    return made;
}

static void pay_for_code(struct dbt_vcpu *v, struct mirror *m, uint64_t made)
{
    spend(m, (int64_t)made * TRANSLATION_COST);
    if (m->saved > 0)
        return;
    m->saved = -((int64_t)SAVED_MAX << m->debts);
    m->debts += m->debts < DEBTS_MAX;
    m->resting = true;
    set_mirrored(v, false);
}

static void toggle(struct dbt_vcpu *v, struct mirror *m)
{
    m->paused = !m->paused;
    if (m->paused)
        end(v, m);
}

/* In turns it would cost more than it brings. */
void dbt_mirror_astray(struct dbt_vcpu *v)
{
    struct mirror *m = v->mirror;

    if (v->vm->mirror == MIRROR_ALWAYS)
        return;
    m->astray = true;
    m->astray_ticks = 1u << m->astrays;
    m->astrays += m->astrays < ASTRAYS_MAX;
    set_mirrored(v, false);
}

static void pass_astray(struct dbt_vcpu *v, struct mirror *m)
{
    if (!m->astray || m->space != v->space || --m->astray_ticks > 0)
        return;
    m->astray = false;
    set_mirrored(v, is_mirrored(v));
}

void dbt_mirror_tick(struct dbt_vcpu *v)
{
    struct mirror *m;
    uint64_t made;

    if (v->cpl != 3 || v->tlb_mode != TLB_USER)
        return;
    m = mirror_of(v);
    if (m == NULL)
        return;
    if (v->vm->mirror == MIRROR_ALWAYS) {
        toggle(v, m);
        return;
    }
    pass_astray(v, m);
    made = new_code(v, m);
    if (v->mirrored)
        pay_for_code(v, m, made);
    if (made > NEW_CODE) /* much of what it runs is run for the first time */
        v->space->ticks = 0;
    else if (!v->mirrored)
        v->space->ticks++;
    if (v->mirrored || m->astray || !dbt_mirror_suits(v) || !(v->cr4 & X86_CR4_PCIDE) || v->space->ticks < TICKS_NEEDED)
        return;
    spend(m, 0);
    if (m->saved < SAVED_MAX / 2)
        return;
    m->resting = false;
    v->space->ticks = 0;
    if (m->space == v->space)
        set_mirrored(v, is_mirrored(v));
    else
        begin(v, m);
}
