/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One virtual CPU of the translator engine, while guest code runs on it. Private to the engine.
 *
 * Where guest state lives: general registers, RIP, flags, segments and vector registers here in memory; the x87/MMX
 * registers and the MXCSR in the host's own units as long as the vCPU's thread is inside dbt_run() (see fpu.h). Nothing in
 * the engine may use floating point, so nothing disturbs them.
 *
 * The invariant of every instruction handler: until the last thing that can fault has been done, no guest state changes.
 * A fault leaves by longjmp (exception.h); `rip` then still points behind the instruction and is taken back there. */
#ifndef FERRY_ENGINE_DBT_VCPU_H
#define FERRY_ENGINE_DBT_VCPU_H

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "x86/cpuid_xsave.h"
#include "x86/state.h"

struct block;
struct block_cache;
struct dbt_vm;
struct decoded_cache;
struct entry_check;
struct lockstep;
struct memory;
struct mirror;
struct op;
struct thunk_cache;
struct translated_op;
struct translation_cache;
struct translator;

/* Two slots behind the 16 registers make address arithmetic uniform: a missing base or index reads as slot ZERO. */
#define GPR_ZERO 16
#define GPR_RIP 17 /* address of the next instruction while one executes */
#define GPR_SLOTS 18

#define SEGMENT_NONE X86_SEGMENT_COUNT /* index into segment_base whose value stays 0 */

/* Softmmu. A tag is the page's linear address. A tag that is to match nothing is the address of a page that has another entry, and is
 * not the page behind one that has this entry either. */
#define TLB_ENTRIES 1024u
#define TLB_FILLED_MAX 512u
#define TLB_ENTRY_SHIFT 5 /* log2 of the size of an entry */
#define TLB_NO_TAG(index) ((uint64_t)((index) ^ 2u) << 12)
#define TLB_NO_PAGE UINT64_C(1) /* tlb_translation.page of an empty entry */
#define TLB_SLOTS 7u /* address spaces (PCIDs) kept at the same time */
enum tlb_mode {
    TLB_SUPERVISOR,
    TLB_USER,
    TLB_SUPERVISOR_AC, /* SMAP suspended by EFLAGS.AC */
    TLB_USER_ALIGNED,  /* CR0.AM and EFLAGS.AC: data accesses all take the slow path, which checks their alignment */
    TLB_MODES,
};

struct tlb_entry {
    uint64_t read, write, execute; /* tags: access at once allowed */
    uint8_t *host;                 /* of the page */
};

struct tlb_translation { /* the slow twin of each entry: what the page walk found */
    uint64_t page;     /* tag */
    uint64_t physical; /* of the page */
    bool writable, executable, readable, global, dirty;
};

struct tlb {
    struct tlb_entry entry[TLB_ENTRIES];
    struct tlb_translation translation[TLB_ENTRIES];
    bool ready; /* entries have been made empty: memory as it comes would match */
    unsigned filled_count;               /* entries that are not empty stand in filled[], as long as they find room */
    uint16_t filled[TLB_FILLED_MAX];
    uint64_t large_first, large_last; /* range of linear addresses that large pages of this TLB cover; first > last: none */
};

/* What others have pushed out of a TLB of late: two pages of one index that are used in turns need no page walks. */
#define TLB_VICTIMS 8u
struct tlb_victim {
    struct tlb *tlb; /* NULL: none */
    struct tlb_entry entry;
    struct tlb_translation translation;
};

struct address_space { /* one PCID's translations */
    bool used;
    uint16_t pcid;
    uint64_t cr3_page;
    uint64_t last_use;
    unsigned ticks;      /* interrupts that met it at work (mirror.h) */
    uint64_t generation; /* part of the jump cache's tag; a new number empties the cache for this space */
    struct tlb tlb[TLB_MODES];
};

/* How code is decoded: the part of the CPU's mode that is baked into a block. */
enum {
    MODE_CODE16 = 0, MODE_CODE32 = 1, MODE_CODE64 = 2, MODE_CODE_MASK = 3,
    MODE_STACK32 = 1 << 2,   /* SS.B; unused in 64-bit code */
    MODE_FLAT = 1 << 3,      /* 16/32-bit code: CS, SS, DS, ES have base 0 and limit 4 GiB, readable and writable */
    MODE_EM = 1 << 4,        /* CR0.EM */
    MODE_TS = 1 << 5,        /* CR0.TS */
    MODE_MP = 1 << 6,        /* CR0.MP */
    MODE_SSE = 1 << 7,       /* CR4.OSFXSR */
    MODE_XSAVE = 1 << 8,     /* CR4.OSXSAVE */
    MODE_AVX = 1 << 9,       /* OSXSAVE and XCR0 has SSE and AVX, protected mode */
    MODE_AVX512 = 1 << 10,   /* and opmask, ZMM_Hi256, Hi16_ZMM */
    MODE_PROTECTED = 1 << 11, /* CR0.PE and not VM86 */
    MODE_X87_UNMASKED = 1 << 12, /* x87 exceptions may be pending: dbt_fpu_note_x87_masks() */
    MODE_BITS = 13,
};

/* Reasons to leave the fast loop, set by anybody, taken by the vCPU's thread between blocks. */
enum {
    ATTENTION_KICK = 1 << 0,
    ATTENTION_INTERRUPT = 1 << 1, /* the INTR line or IF changed: look at both */
    ATTENTION_NMI = 1 << 2,
    ATTENTION_INIT = 1 << 3,
    ATTENTION_SIPI = 1 << 4,
    ATTENTION_MAIL = 1 << 5,      /* invalidations from other threads */
    ATTENTION_STEP = 1 << 6,      /* TF, interrupt shadow, pending #DB, instruction breakpoints: one instruction at a time */
};

enum {
    VECTORS_IN_MEMORY = 1 << 0,
    VECTORS_UNMASKED = 1 << 1, /* the guest has SIMD exceptions unmasked: translated code leaves its vector instructions alone */
};

#define SHARED_SLOTS 8u
#define MIRROR_WINDOWS 3u
/* Numbers of the upper two, of address bits from this one on: programs at random addresses; libraries, mappings and the stack. */
#define MIRROR_WINDOW_SHIFT 42
#define MIRROR_PROGRAMS 0x15u
#define MIRROR_LIBRARIES 0x1fu
enum mirror_use { MIRROR_AUTO, MIRROR_ALWAYS, MIRROR_OFF };
struct mirror_window { /* mirror.h */
    uint64_t base, limit; /* linear; offsets in it are below */
    uint8_t *host;
};

#define JUMP_SLOTS 32768u
#define JUMP_RESERVE_SLOTS 65536u
#define JUMP_RESERVE_SHIFT 16 /* its slot is that of the address, folded by so many bits */

struct jump_reserve { /* what the jump tables had no room for, of both, found by the way out of translated code */
    uint64_t linear;
    uint32_t code;        /* offset in the executable view */
    uint32_t generation;
};

struct dbt_fpu { /* what of the x87 and SSE control state the host's units do not hold for the guest (fpu.h) */
    uint32_t mxcsr_masks;     /* the guest's MXCSR bits 12:7; in the host's MXCSR they are all set */
    uint32_t host_mxcsr;      /* the thread's own, while the guest's is loaded */
    uint16_t host_fcw;
    uint16_t opcode;          /* FOP, 11 bits */
    uint32_t control;         /* scratch of translated code: a control word */
    uint32_t x87_mode;        /* MODE_X87_UNMASKED or 0 */
    uint64_t ip, dp;          /* FIP, FDP */
};

enum { /* counters; names in engine.c */
    STATISTIC_BLOCKS_RUN, STATISTIC_BLOCKS_DECODED, STATISTIC_OPS_DECODED, STATISTIC_CACHE_DROPS, STATISTIC_CODE_INVALIDATIONS,
    STATISTIC_JUMP_CACHE_MISS, STATISTIC_TLB_MISS, STATISTIC_TLB_MISS_WRITE, STATISTIC_TLB_MISS_FETCH,
    STATISTIC_TLB_FLUSHES, STATISTIC_MMIO, STATISTIC_PORT, STATISTIC_INTERRUPTS, STATISTIC_EXCEPTIONS,
    STATISTIC_HALTS, STATISTIC_TRANSLATIONS, STATISTIC_INSTRUCTIONS_TRANSLATED, STATISTIC_TRANSLATIONS_ENTERED, STATISTIC_LINKS,
    STATISTIC_HELPERS, STATISTIC_ACCESS_HELPERS, STATISTIC_MIRRORS, STATISTIC_MIRROR_PAGES, STATISTIC_MIRROR_FAULTS, STATISTIC_COUNT,
};

struct dbt_fast_call { /* CS and SS behind SYSCALL and 64-bit SYSRET, as `star` has them: dbt_prepare_fast_call() */
    uint64_t star;
    struct x86_segment syscall[2], sysret[2];
};

struct dbt_exception {
    uint8_t vector;
    bool has_error;
    uint32_t error;
};

struct dbt_vcpu {
    struct engine_vcpu base; /* first */
    /* What translated code touches most. RSP points behind it there (VCPU_BIAS), so that a byte is enough for the distance. */
    struct tlb_entry *tlb;        /* of the present address space and tlb_mode */
    /* The stack window: a page that the present TLB lets the guest read and write, kept at hand for accesses by RSP and RBP. */
    uint64_t stack_base;          /* linear */
    uint64_t stack_limit[2];      /* offsets in it must be below: for operands of at most 8, and 32 bytes; 0: the window is closed */
    uint8_t *stack_host;
    uint64_t other_stack_base, other_stack_limit; /* the window before it, for a frame that reaches over two pages; any size */
    uint8_t *other_stack_host;
    uint64_t resume, jump_target; /* scratch */
    _Atomic uint32_t attention;
    uint32_t vectors_away;        /* 0: the host's registers hold the guest's vector registers; else VECTORS_* */
    uint32_t last_indirect;       /* which translated jump set RIP, in case it is not canonical; 0: none (dbt_translated_op_at) */
    uint8_t overflow; /* OF: 0 or 1; this and the next are written at once, as AL and AH after LAHF and SETO */
    uint8_t flags;    /* SF ZF AF PF CF where LAHF has them, bit 1 set */
    uint8_t cpl;
    uint64_t pushed;              /* the host's CALL and RET use it as their stack */

    uint64_t gpr[GPR_SLOTS];
    uint32_t mode;    /* MODE_*; dbt_update_mode() */
    const struct op *op;       /* executing; NULL between instructions */
    const struct op *block_end; /* where the running block stops; pulled in to op + 1 to stop after this instruction */
    uint64_t segment_base[X86_SEGMENT_COUNT + 1]; /* as address arithmetic uses them: 0 for ES CS SS DS in 64-bit code */

    /* More of translated code (translate.h). */
    uint32_t vectors_were_away;   /* while it calls C */
    void *host_stack;             /* RSP of C */
    uint64_t string_scratch;
    struct tlb_entry *supervisor_tlb[2]; /* of the present space without and with EFLAGS.AC, and their tlb_mode */
    uint32_t supervisor_tlb_mode[2];
    struct tlb_entry *user_tlb;   /* of the present space; NULL, and while at CPL 3 supervisor_tlb[0]: not ready yet */
    struct dbt_fast_call fast_call;
    uint64_t saved_rax;           /* of a trampoline */
    int32_t other_stack_runs;     /* how many more times it serves before the windows change places */
    int32_t pauses_left;          /* before PAUSE lets other threads run */
    uint8_t *shared_host[SHARED_SLOTS]; /* host addresses that instructions of one translation share */
    struct mirror_window mirror_window[MIRROR_WINDOWS];
    bool mirrored;                /* user code runs in the mirror */
    bool mirror_refused;
    bool mirror_direct;           /* the upper windows are at one distance from the host's addresses, which the GS base holds */
    bool mirror_low;              /* and the lower one is at the guest's own addresses */
    uint64_t rights_epoch;        /* counts what takes rights to pages away: such addresses are good within one epoch */
    const void *jump_table[2][JUMP_SLOTS];     /* for CPL 0..2, and 3: code to try for an indirect jump */
    uint32_t jump_page[2][JUMP_SLOTS];         /* numbers of the entries' linear pages, their low bits: a page too many may be forgotten */
    uint32_t jump_table_mode[2];               /* in which mode */
    struct jump_reserve *jump_reserve;         /* JUMP_RESERVE_SLOTS of them; whoever is in there is listed as one of the jump table's */
    uint32_t jump_generation[4];               /* by CPL: an entry of another one is none */

    uint64_t rflags;  /* all bits but CF PF AF ZF SF OF; bit 1 set */
    struct x86_segment segment[X86_SEGMENT_COUNT], ldtr, tr;
    struct x86_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t dr[4], dr6, dr7;
    uint64_t xcr0;
    struct x86_msrs msr;       /* .tsc is not kept here: see tsc_offset */
    uint64_t tsc_offset;       /* guest TSC = dbt_tsc_scale(host TSC) + tsc_offset */
    enum tlb_mode tlb_mode;

    /* Vector registers: XMM in bytes 0..15, YMM 0..31, ZMM 0..63. */
    uint8_t vector[32][64] __attribute__((aligned(64)));
    uint64_t opmask[8];
    uint32_t pkru;
    uint8_t fpu_image[512] __attribute__((aligned(16))); /* FXSAVE image of x87 and MXCSR while not inside dbt_run() */
    struct dbt_fpu fpu;

    /* Events. */
    sigjmp_buf fault_jump;
    struct dbt_exception raised;     /* what longjmp brings */
    bool delivering;                 /* an event is being delivered: a second fault makes a double fault */
    struct dbt_exception delivered;  /* which one */
    uint8_t interrupt_shadow;        /* 1: by STI, 2: by MOV/POP SS; for one instruction */
    uint64_t debug_pending;          /* DR6 bits of a trap to take after this instruction */
    bool step_trap;                  /* a single-step trap follows the instruction: RFLAGS.TF at its start; INT n, SYSCALL and
                                      * whatever else it doesn't hold for clear it */
    uint8_t nmi_pending;             /* how many wait: at most 1 while one is in service, else 2, of which the first is taken at once */
    bool nmi_masked;                 /* one is in service */
    _Atomic uint8_t nmi_sent;        /* sent and not yet counted above */
    bool interrupt_injected;         /* acknowledged at the controller, not yet delivered (restored state) */
    uint8_t injected_vector;
    bool exception_restored;         /* v->raised came with a restored state: for dbt_deliver_restored_exception() */
    bool shutdown;                   /* triple fault */
    enum x86_run_state run_state;
    uint8_t sipi_vector;

    _Atomic bool interrupt_line;     /* the INTR pin */

    /* Who we are. */
    struct dbt_vm *vm;
    unsigned id;
    struct memory *memory;
    const struct engine_hooks *hooks;
    struct cpuid_table cpuid;
    unsigned physical_bits;          /* from CPUID 0x80000008 */
    struct cpuid_xsave_layout xsave_layout; /* from CPUID 0xd; every component has a place */
    bool gigabyte_pages;
    bool instruction_breakpoints, data_breakpoints; /* what DR7 enables; dbt_debug_changed() */

    /* Caches. */
    struct address_space *space;     /* present one, in spaces[] */
    struct address_space *spaces;    /* TLB_SLOTS of them */
    uint64_t clock_of_use, next_generation;
    struct tlb_victim victim[TLB_VICTIMS];
    unsigned next_victim;            /* which one goes next */
    bool victims;                    /* there may be some */
    bool keyed_pages;                /* some TLB may hold a page with a protection key other than 0 */
    struct block_cache *blocks;
    uint64_t *own_code; /* a bit for each page of RAM: this vCPU may have blocks of it, whatever memory->code_pages says by now */
    struct mirror *mirror;     /* mirror.h; NULL: none yet */
    struct translation_cache *translations; /* NULL: the first tier does everything */
    struct translator *translator;
    struct thunk_cache *thunks;      /* thunk.h */
    struct decoded_cache *decoded;   /* decoded.h */
    struct lockstep *lockstep;       /* lockstep.h; NULL: off */
    struct entry_check *entry_check; /* entry_check.h; NULL: off */
    bool trying;                     /* nothing that runs now may have an effect: stores go to copies */

    /* Mail and sleep; the mutex guards the mail, the condition wakes a halted vCPU. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct dbt_mail *mail;           /* mail.h */
    _Atomic bool in_guest;           /* between blocks' boundaries: others wait for its answer to mail */
    _Atomic uint64_t mail_sent, mail_done;

    uint64_t statistics[STATISTIC_COUNT];
};

#define VCPU_BIAS offsetof(struct dbt_vcpu, gpr)
/* A signal's frame leaves 128 bytes below RSP alone; before the vCPU there is room for it (engine.c). */
_Static_assert(VCPU_BIAS <= 128 && offsetof(struct dbt_vcpu, pushed) == VCPU_BIAS - 8, "translated code's RSP");

struct dbt_vm {
    struct engine_vm base; /* first */
    struct memory *memory;
    struct engine_hooks hooks;
    struct dbt_vcpu *vcpu[ENGINE_CPUS_MAX];
    unsigned cpus;
    uint32_t tsc_khz;                /* what the guest is told */
    uint32_t host_khz;
    uint64_t tsc_multiplier;         /* guest ticks in a host tick, 16.48 fixed point; 0: one, exactly */
    pthread_mutex_t exclusive_lock;  /* held by the vCPU that runs alone, see mail.h */
    struct dbt_vcpu *_Atomic exclusive; /* that vCPU; NULL: none */
    pthread_mutex_t clock_lock;
    int64_t clock_offset;            /* kvmclock ns = host CLOCK_MONOTONIC (boot time base) + offset */
    uint64_t clock_base_tsc;         /* host TSC at which kvmclock was clock_base_ns; 0: not taken yet (clock.c) */
    uint64_t clock_base_ns;
    struct dbt_doorbells *doorbells;
    bool translate;                  /* the second tier is on */
    enum mirror_use mirror;          /* mirror.h */
    bool exact_flags;                /* translations keep flags that nobody can read, too */
    uint32_t lockstep;               /* how many executions of each translation are compared with the interpreter; 0: lock-step is off */
    bool entry_checks;               /* translations are checked when they are entered */
    int perf_map;                    /* file that names translations for perf(1); -1: none */
    size_t code_size;                /* of each vCPU's translations, bytes */
};

/* Recomputes cpl, mode, segment_base, tlb and tlb_mode. To be called after any change of CR0, CR4, EFER, XCR0, CS, SS, DS, ES, FS,
 * GS, RFLAGS.VM or RFLAGS.AC. The caller ends the block (dbt_end_block) when the mode may have changed. */
void dbt_update_mode(struct dbt_vcpu *v);

/* Whole RFLAGS. set keeps reserved bits right, sees to TF and IF (attention), and calls dbt_update_mode if VM or AC changed. */
uint64_t dbt_get_rflags(const struct dbt_vcpu *v);
void dbt_set_rflags(struct dbt_vcpu *v, uint64_t value);

static inline void dbt_set_attention(struct dbt_vcpu *v, uint32_t bits)
{
    atomic_fetch_or_explicit(&v->attention, bits, memory_order_seq_cst);
}

static inline bool dbt_code64(const struct dbt_vcpu *v)
{
    return (v->mode & MODE_CODE_MASK) == MODE_CODE64;
}

static inline bool dbt_long_mode(const struct dbt_vcpu *v)
{
    return (v->msr.efer & X86_EFER_LMA) != 0;
}

static inline bool dbt_protected_mode(const struct dbt_vcpu *v) /* CR0.PE and not virtual-8086 */
{
    return (v->mode & MODE_PROTECTED) != 0;
}

static inline bool dbt_canonical(uint64_t address) /* 48 bits */
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Whether the guest was offered a CPUID bit. */
bool dbt_cpuid_bit(const struct dbt_vcpu *v, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg, unsigned bit);

#define TSC_FRACTION_BITS 48

/* Host ticks as guest ticks, rounded down. */
static inline uint64_t dbt_tsc_scale(const struct dbt_vm *vm, uint64_t host)
{
    return vm->tsc_multiplier == 0 ? host : (uint64_t)((unsigned __int128)host * vm->tsc_multiplier >> TSC_FRACTION_BITS);
}

/* Guest TSC now. */
uint64_t dbt_tsc(const struct dbt_vcpu *v);

static inline void dbt_end_block_at(struct dbt_vcpu *v, const struct op *end)
{
    v->block_end = end;
}

#endif
