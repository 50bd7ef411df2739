/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Builds thunks and keeps them: prologue, the guest's instruction, epilogue.
 *
 * In a thunk rdi is the vCPU and rsi the memory operand. rax, rcx and rdx stand for themselves, because instructions name them
 * implicitly; other guest registers are renamed to r8, r9, r10. Nothing is pushed and nothing but scratch registers is
 * touched, so that a thunk may be left by a plain return from anywhere (see fpu_trap.c). */
#include "engine/dbt/thunk.h"

#include <errno.h>

#include "engine/dbt/arena.h"

#define ARENA_SIZE MIB(16)
#define ARENA_RESERVE KIB(128) /* what the thunks of one block never exceed, each made twice (decoded.c) */
#define CACHE_SLOTS 32768u    /* power of two; with the arena's size never more than half full */
#define CODE_MAX 1024u

struct thunk_cache {
    struct code_arena *arena;
    unsigned count;
    struct {
        uint32_t hash, size;
        void *code;
    } slot[CACHE_SLOTS];
};

struct code {
    uint8_t byte[CODE_MAX];
    unsigned size;
};

struct registers { /* bit masks by register number */
    uint32_t gpr_used, gpr_written; /* guest's numbers */
    uint32_t xmm_used, ymm_used, zmm_used, vector_written;
    uint32_t opmask_used, opmask_written;
    ZydisRegister high_byte; /* ZYDIS_REGISTER_NONE if none */
    bool flags;
    uint8_t host[16]; /* host register for each guest register */
};

enum { RAX = 0, RSI = 6, RDI = 7, FIRST_FREE = 8 };

#define GPR_OFFSET(n) ((uint32_t)(offsetof(struct dbt_vcpu, gpr) + 8u * (n)))
#define VECTOR_OFFSET(n) ((uint32_t)(offsetof(struct dbt_vcpu, vector) + 64u * (n)))
#define OPMASK_OFFSET(n) ((uint32_t)(offsetof(struct dbt_vcpu, opmask) + 8u * (n)))

static void put(struct code *c, const void *bytes, unsigned n)
{
    memcpy(c->byte + c->size, bytes, n);
    c->size += n;
}

#define PUT(c, ...) put(c, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* ModRM for [rdi + offset]. */
static void put_vcpu_operand(struct code *c, unsigned reg, uint32_t offset)
{
    PUT(c, (uint8_t)(0x80 | (reg & 7) << 3 | RDI));
    put(c, &offset, 4);
}

static void put_gpr(struct code *c, uint8_t opcode, unsigned host, unsigned guest)
{
    PUT(c, (uint8_t)(0x48 | host >> 3 << 2), opcode);
    put_vcpu_operand(c, host, GPR_OFFSET(guest));
}

/* MOVUPS with the opcode for load or store, in the encoding asked for by `bytes`; legacy only for 16. */
static void put_vector(struct code *c, uint8_t opcode, unsigned reg, unsigned bytes, bool legacy)
{
    uint8_t r = reg & 8 ? 0 : 0x80;

    if (legacy && reg >= 8)
        PUT(c, 0x44, 0x0f, opcode);
    else if (legacy)
        PUT(c, 0x0f, opcode);
    else if (bytes == 64 || reg >= 16)
        PUT(c, 0x62, (uint8_t)(r | 0x60 | (reg & 16 ? 0 : 0x10) | 1), 0x7c, 0x48, opcode);
    else
        PUT(c, 0xc5, (uint8_t)(r | 0x78 | (bytes == 32 ? 4 : 0)), opcode);
    put_vcpu_operand(c, reg, VECTOR_OFFSET(reg));
}

static void put_opmask(struct code *c, uint8_t opcode, unsigned reg)
{
    PUT(c, 0xc4, 0xe1, 0xf8, opcode);
    put_vcpu_operand(c, reg, OPMASK_OFFSET(reg));
}

/* OF comes from an addition that overflows if the byte is 1, the rest through AH. */
static void put_flags_load(struct code *c)
{
    PUT(c, 0x0f, 0xb6); /* movzx eax, overflow */
    put_vcpu_operand(c, RAX, offsetof(struct dbt_vcpu, overflow));
    PUT(c, 0x04, 0x7f, 0x8a); /* add al, 0x7f; mov ah, flags */
    put_vcpu_operand(c, 4, offsetof(struct dbt_vcpu, flags));
    PUT(c, 0x9e); /* sahf */
}

static void put_flags_store(struct code *c)
{
    PUT(c, 0x9f, 0x88); /* lahf; mov flags, ah */
    put_vcpu_operand(c, 4, offsetof(struct dbt_vcpu, flags));
    PUT(c, 0x0f, 0x90); /* seto overflow */
    put_vcpu_operand(c, 0, offsetof(struct dbt_vcpu, overflow));
}

static void note_register(struct registers *r, ZydisRegister reg, bool written)
{
    unsigned id = (unsigned)ZydisRegisterGetId(reg) & 31;
    uint32_t *used = NULL;

    if (dbt_thunk_is_gpr(reg)) {
        if (dbt_thunk_is_high_byte(reg)) {
            r->high_byte = reg;
            return;
        }
        id = dbt_thunk_gpr_number(reg);
        r->gpr_used |= 1u << id;
        r->gpr_written |= (uint32_t)written << id;
        return;
    }
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_XMM:
        used = &r->xmm_used;
        break;
    case ZYDIS_REGCLASS_YMM:
        used = &r->ymm_used;
        break;
    case ZYDIS_REGCLASS_ZMM:
        used = &r->zmm_used;
        break;
    case ZYDIS_REGCLASS_MASK:
        r->opmask_used |= 1u << id;
        r->opmask_written |= (uint32_t)written << id;
        return;
    default:
        return;
    }
    *used |= 1u << id;
    r->vector_written |= (uint32_t)written << id;
}

static struct registers find_registers(const struct decode *d)
{
    const ZydisAccessedFlags *flags = d->instruction->cpu_flags;
    struct registers r = {.high_byte = ZYDIS_REGISTER_NONE};
    unsigned next = FIRST_FREE;

    for (unsigned i = 0; i < d->instruction->operand_count; i++) {
        const ZydisDecodedOperand *o = &d->operand[i];

        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
            note_register(&r, o->reg.value, o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
    }
    r.flags = flags != NULL && (flags->tested | flags->modified | flags->set_0 | flags->set_1 | flags->undefined) != 0;
    for (unsigned i = 0; i < 16; i++) {
        if (i <= 2)
            r.host[i] = (uint8_t)i;
        else if (r.gpr_used & 1u << i)
            r.host[i] = (uint8_t)next++;
    }
    return r;
}

static unsigned vector_bytes(const struct registers *r, unsigned reg)
{
    if (r->zmm_used & 1u << reg)
        return 64;
    return r->ymm_used & 1u << reg ? 32 : 16;
}

static void put_prologue(struct code *c, const struct registers *r, bool legacy)
{
    uint32_t vectors = r->xmm_used | r->ymm_used | r->zmm_used;

    if (r->flags)
        put_flags_load(c);
    for (unsigned i = 0; i < 16; i++) {
        if (r->gpr_used & 1u << i)
            put_gpr(c, 0x8b, r->host[i], i);
    }
    if (r->high_byte != ZYDIS_REGISTER_NONE) {
        PUT(c, 0x44, 0x0f, 0xb6); /* movzx r11d, byte */
        put_vcpu_operand(c, THUNK_HIGH_BYTE, GPR_OFFSET(dbt_thunk_gpr_number(r->high_byte)) + 1);
    }
    for (unsigned i = 0; i < 32; i++) {
        if (vectors & 1u << i)
            put_vector(c, 0x10, i, vector_bytes(r, i), legacy);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (r->opmask_used & 1u << i)
            put_opmask(c, 0x90, i);
    }
}

/* Moves and the vector stores leave the flags as they are, so those can come last. */
static void put_epilogue(struct code *c, const struct registers *r, bool legacy, unsigned full_bytes)
{
    for (unsigned i = 0; i < 16; i++) {
        if (r->gpr_written & 1u << i)
            put_gpr(c, 0x89, r->host[i], i);
    }
    for (unsigned i = 0; i < 32; i++) {
        if (r->vector_written & 1u << i)
            put_vector(c, 0x11, i, legacy ? 16 : full_bytes, legacy);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (r->opmask_written & 1u << i)
            put_opmask(c, 0x91, i);
    }
    if (r->flags)
        put_flags_store(c);
    if (r->ymm_used | r->zmm_used)
        PUT(c, 0xc5, 0xf8, 0x77); /* vzeroupper */
    PUT(c, 0xc3);
}

static void build(const struct decode *d, unsigned flags, struct code *c)
{
    struct registers r = find_registers(d);
    bool legacy = d->instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    bool avx512 = dbt_cpuid_bit(d->v, 7, 0, CPUID_EBX, 16);

    c->size = 0;
    put_prologue(c, &r, legacy);
    c->size += dbt_thunk_encode(d, r.host, at_base(RSI, 0), flags, c->byte + c->size);
    put_epilogue(c, &r, legacy, avx512 ? 64 : 32);
}

static uint32_t hash_code(const struct code *c)
{
    uint32_t hash = 2166136261u;

    for (unsigned i = 0; i < c->size; i++)
        hash = (hash ^ c->byte[i]) * 16777619u;
    return hash;
}

static thunk_fn *find_or_add(struct thunk_cache *cache, const struct code *c)
{
    uint32_t hash = hash_code(c);
    unsigned i = hash & (CACHE_SLOTS - 1);
    void *code;

    for (; cache->slot[i].code != NULL; i = (i + 1) & (CACHE_SLOTS - 1)) {
        if (cache->slot[i].hash == hash && cache->slot[i].size == c->size &&
            memcmp(cache->slot[i].code, c->byte, c->size) == 0)
            return (thunk_fn *)cache->slot[i].code;
    }
    if (cache->count >= CACHE_SLOTS / 2)
        return NULL;
    code = code_arena_add(cache->arena, c->byte, c->size);
    if (code == NULL)
        return NULL;
    cache->slot[i].hash = hash;
    cache->slot[i].size = c->size;
    cache->slot[i].code = code;
    cache->count++;
    return (thunk_fn *)code;
}

thunk_fn *dbt_thunk(const struct decode *d, unsigned flags)
{
    struct code c;

    build(d, flags, &c);
    return find_or_add(d->v->thunks, &c);
}

int dbt_thunks_new(struct dbt_vcpu *v)
{
    struct thunk_cache *cache = calloc(1, sizeof(*cache));
    int r;

    if (cache == NULL)
        return -ENOMEM;
    r = code_arena_new(ARENA_SIZE, &cache->arena);
    if (r < 0) {
        free(cache);
        return r;
    }
    v->thunks = cache;
    return 0;
}

void dbt_thunks_free(struct dbt_vcpu *v)
{
    if (v->thunks == NULL)
        return;
    code_arena_free(v->thunks->arena);
    free(v->thunks);
    v->thunks = NULL;
}

bool dbt_thunks_full(const struct dbt_vcpu *v)
{
    const struct code_arena *arena = v->thunks->arena;

    return arena->size - arena->used < ARENA_RESERVE || v->thunks->count >= CACHE_SLOTS / 2 - 1024;
}

void dbt_thunks_clear(struct dbt_vcpu *v)
{
    code_arena_clear(v->thunks->arena);
    v->thunks->count = 0;
    memset(v->thunks->slot, 0, sizeof(v->thunks->slot));
}

size_t dbt_thunks_used(const struct dbt_vcpu *v)
{
    size_t touched = (size_t)v->thunks->count * 4096;

    return touched < sizeof(v->thunks->slot) ? touched : sizeof(v->thunks->slot);
}
