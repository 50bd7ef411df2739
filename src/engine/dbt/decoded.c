/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of decoded instructions: how long an instruction is and where its numbers are, look-up, and what may be kept. */
#include "engine/dbt/decoded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/dbt/block.h"

#define DECODED_MAX 24576u
#define ARENA_SIZE MIB(16)  /* of what Zydis said */
#define SLOTS 65536u        /* power of two */
#define PREFETCH 8u         /* instructions that are looked for ahead */
#define LENGTH_MAX 15u
#define LARGEST (sizeof(struct zydis) + ZYDIS_MAX_OPERAND_COUNT * sizeof(ZydisDecodedOperand))
#define RESERVE (BLOCK_OPS_MAX + 2u)

struct decoded_cache {
    struct decoded *decoded; /* DECODED_MAX of them, and behind them the arena */
    unsigned count, most;
    uint8_t *arena;
    size_t used, most_used;
    struct {
        uint16_t hash;       /* what of it is not in the slot's number */
        uint16_t number;     /* in decoded[], from 1 on; 0: free */
    } slot[SLOTS];
};

/* --- where an instruction's numbers are (SDM vol. 2 appendix A) -------------------------------------------------------------- */

enum { /* what follows an opcode */
    HAS_MODRM = 1 << 0,
    HAS_BYTE = 1 << 1,  /* an immediate byte; it is compared: a shift by zero is something else */
    HAS_WORD = 1 << 2,  /* an immediate of the operand size, at most 4 bytes */
    HAS_SHORT = 1 << 3, /* the distance of a jump: a byte */
    HAS_NEAR = 1 << 4,  /* and 4 bytes */
    HAS_TEST = 1 << 5,  /* group 3: an immediate, if it is TEST */
    HAS_FULL = 1 << 6,  /* an immediate of the full operand size */
    HAS_SMALL = 1 << 7, /* an immediate byte that is but a number */
    ODD = 1 << 8,       /* left to Zydis */
};

#define ALU_ROW HAS_MODRM, HAS_MODRM, HAS_MODRM, HAS_MODRM, HAS_SMALL, HAS_WORD, 0, 0
static const uint16_t one_byte[256] = {
    ALU_ROW, ALU_ROW, ALU_ROW, ALU_ROW, ALU_ROW, ALU_ROW, ALU_ROW, ALU_ROW,
    [0x62] = ODD, [0x63] = HAS_MODRM, [0x68] = HAS_WORD, [0x69] = HAS_MODRM | HAS_WORD, [0x6a] = HAS_SMALL,
    [0x6b] = HAS_MODRM | HAS_SMALL, [0x70 ... 0x7f] = HAS_SHORT, [0x80] = HAS_MODRM | HAS_SMALL, [0x81] = HAS_MODRM | HAS_WORD,
    [0x82 ... 0x83] = HAS_MODRM | HAS_SMALL, [0x84 ... 0x8e] = HAS_MODRM, [0x8f] = ODD, [0x9a] = ODD, [0xa0 ... 0xa3] = ODD,
    [0xa8] = HAS_SMALL, [0xa9] = HAS_WORD, [0xb0 ... 0xb7] = HAS_SMALL, [0xb8 ... 0xbf] = HAS_FULL, [0xc0 ... 0xc1] = HAS_MODRM | HAS_BYTE,
    [0xc2] = ODD, [0xc4 ... 0xc5] = ODD, [0xc6] = HAS_MODRM | HAS_SMALL, [0xc7] = HAS_MODRM | HAS_WORD, [0xc8] = ODD, [0xca] = ODD,
    [0xcd] = HAS_BYTE, [0xd0 ... 0xd3] = HAS_MODRM, [0xd4 ... 0xd5] = HAS_BYTE, [0xd6] = ODD, [0xd8 ... 0xdf] = HAS_MODRM,
    [0xe0 ... 0xe3] = HAS_SHORT, [0xe4 ... 0xe7] = HAS_BYTE, [0xe8 ... 0xe9] = HAS_NEAR, [0xea] = ODD, [0xeb] = HAS_SHORT,
    [0xf6] = HAS_MODRM | HAS_TEST | HAS_BYTE, [0xf7] = HAS_MODRM | HAS_TEST | HAS_WORD, [0xfe ... 0xff] = HAS_MODRM,
};

static const uint16_t two_byte[256] = {
    [0x00 ... 0x03] = HAS_MODRM, [0x04] = ODD, [0x0a] = ODD, [0x0c] = ODD, [0x0d] = HAS_MODRM, [0x0f] = ODD, [0x10 ... 0x1f] = HAS_MODRM,
    [0x20 ... 0x27] = ODD, [0x28 ... 0x2f] = HAS_MODRM, [0x36] = ODD, [0x38 ... 0x3f] = ODD, [0x40 ... 0x6f] = HAS_MODRM,
    [0x70 ... 0x73] = HAS_MODRM | HAS_BYTE, [0x74 ... 0x76] = HAS_MODRM, [0x78 ... 0x79] = ODD, [0x7a ... 0x7f] = HAS_MODRM,
    [0x80 ... 0x8f] = HAS_NEAR, [0x90 ... 0x9f] = HAS_MODRM, [0xa3] = HAS_MODRM, [0xa4] = HAS_MODRM | HAS_BYTE, [0xa5] = HAS_MODRM,
    [0xa6 ... 0xa7] = ODD, [0xab] = HAS_MODRM, [0xac] = HAS_MODRM | HAS_BYTE, [0xad ... 0xb9] = HAS_MODRM,
    [0xba] = HAS_MODRM | HAS_BYTE, [0xbb ... 0xc1] = HAS_MODRM, [0xc2] = HAS_MODRM | HAS_BYTE, [0xc3] = HAS_MODRM,
    [0xc4 ... 0xc6] = HAS_MODRM | HAS_BYTE, [0xc7] = HAS_MODRM, [0xd0 ... 0xff] = HAS_MODRM,
};

struct shape {
    uint8_t length; /* without the numbers that are left out: of the key */
    uint8_t total;
    uint8_t displacement_at, displacement_size, immediate_at, immediate_size;
    uint8_t key[16];
};

struct prefixes {
    bool operand16, wide;
};

static bool take(struct shape *s, const uint8_t *bytes, unsigned n)
{
    if (s->total + n > LENGTH_MAX)
        return false;
    for (; n > 0; n--)
        s->key[s->length++] = bytes[s->total++];
    return true;
}

/* Legacy prefixes, then REX. */
static bool take_prefixes(struct shape *s, const uint8_t *bytes, bool code64, struct prefixes *ret)
{
    for (unsigned i = 0; i < 4; i++) {
        switch (bytes[s->total]) {
        case 0x66:
            ret->operand16 = true;
            break;
        case 0xf0: case 0xf2: case 0xf3: case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
            break;
        default:
            if (code64 && (bytes[s->total] & 0xf0) == 0x40) {
                ret->wide = bytes[s->total] & 8;
                take(s, bytes, 1);
            }
            return true;
        }
        take(s, bytes, 1);
    }
    return false;
}

/* VEX and EVEX: what follows the opcode goes by the map alone. */
static int take_vex(struct shape *s, const uint8_t *bytes)
{
    const uint8_t *at = bytes + s->total;
    unsigned payload = at[0] == 0xc5 ? 1 : at[0] == 0xc4 ? 2 : 3, map = at[0] == 0xc5 ? 1 : at[1] & (at[0] == 0xc4 ? 31 : 7);
    uint8_t opcode = at[1 + payload];

    take(s, bytes, payload + 2);
    switch (map) {
    case 1: return opcode == 0x77 ? ODD : two_byte[opcode];
    case 2: return HAS_MODRM;
    case 3: return HAS_MODRM | HAS_BYTE;
    default: return ODD;
    }
}

static int take_opcode(struct shape *s, const uint8_t *bytes, bool code64)
{
    uint8_t opcode = bytes[s->total];

    if (code64 && (opcode == 0xc4 || opcode == 0xc5 || opcode == 0x62))
        return take_vex(s, bytes);
    take(s, bytes, 1);
    if (opcode != 0x0f)
        return (opcode & 0xe7) == 0x26 || opcode == 0x64 || opcode == 0x65 || opcode == 0x66 || opcode == 0x67 ||
               opcode == 0xf0 || opcode == 0xf2 || opcode == 0xf3 || (code64 && (opcode & 0xf0) == 0x40) ? ODD : one_byte[opcode];
    opcode = bytes[s->total];
    take(s, bytes, 1);
    if (opcode != 0x38 && opcode != 0x3a)
        return two_byte[opcode];
    take(s, bytes, 1);
    return HAS_MODRM | (opcode == 0x3a ? HAS_BYTE : 0);
}

/* ModRM and SIB are taken, the displacement left out. */
static bool take_modrm(struct shape *s, const uint8_t *bytes)
{
    uint8_t modrm = bytes[s->total], mod = modrm >> 6, rm = modrm & 7;

    if (!take(s, bytes, 1))
        return false;
    if (mod == 3)
        return true;
    if (rm == 4) {
        if (mod == 0 && (bytes[s->total] & 7) == 5)
            rm = 5;
        if (!take(s, bytes, 1))
            return false;
    }
    s->displacement_size = mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0;
    s->displacement_at = s->total;
    s->total = (uint8_t)(s->total + s->displacement_size);
    return s->total <= LENGTH_MAX;
}

static unsigned immediate_size(unsigned what, const struct prefixes *p)
{
    if (what & (HAS_SHORT | HAS_SMALL))
        return 1;
    if (what & HAS_NEAR)
        return 4;
    if (what & (HAS_WORD | HAS_FULL))
        return p->wide ? (what & HAS_FULL ? 8 : 4) : p->operand16 ? 2 : 4;
    return 0;
}

/* False: nothing for this cache. Reads at most 32 bytes. */
static bool find_shape(const uint8_t *bytes, uint32_t mode, struct shape *s)
{
    bool code64 = (mode & MODE_CODE_MASK) == MODE_CODE64;
    struct prefixes p = {0};
    int what;

    *s = (struct shape){0};
    if ((mode & MODE_CODE_MASK) == MODE_CODE16 || !take_prefixes(s, bytes, code64, &p))
        return false;
    what = take_opcode(s, bytes, code64);
    if ((what & ODD) || ((what & (HAS_SHORT | HAS_NEAR)) && p.operand16))
        return false;
    if ((what & HAS_TEST) && (bytes[s->total] >> 3 & 7) > 1)
        what &= ~(HAS_BYTE | HAS_WORD);
    if ((what & HAS_MODRM) && !take_modrm(s, bytes))
        return false;
    if (what & HAS_BYTE)
        return take(s, bytes, 1);
    s->immediate_size = (uint8_t)immediate_size((unsigned)what, &p);
    s->immediate_at = s->total;
    s->total = (uint8_t)(s->total + s->immediate_size);
    return s->total <= LENGTH_MAX;
}

/* --- the numbers --------------------------------------------------------------------------------------------------------- */

static uint64_t read_number(const uint8_t *bytes, unsigned size, bool is_signed)
{
    unsigned shift = 64 - 8 * size;
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return is_signed ? (uint64_t)((int64_t)(value << shift) >> shift) : value;
}

static void put_numbers(const struct decoded *d, const uint8_t *bytes, struct op *op)
{
    if (d->displacement_size != 0)
        op->displacement = (int32_t)read_number(bytes + d->displacement_at, d->displacement_size, true);
    if (d->immediate_size != 0)
        op->immediate = read_number(bytes + d->immediate_at, d->immediate_size, d->immediate_signed);
}

/* Whether an instruction with all of these numbers' bits turned over would become the same op, but for them. */
static bool numbers_do_not_matter(struct dbt_vcpu *v, const struct decoded *d)
{
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    struct op op, expected = d->op;
    uint8_t bytes[16];

    put_numbers(d, d->zydis->bytes, &expected);
    if (memcmp(&expected, &d->op, sizeof(op)) != 0)
        return false;
    memcpy(bytes, d->zydis->bytes, sizeof(bytes));
    for (unsigned i = 0; i < d->displacement_size; i++)
        bytes[d->displacement_at + i] ^= 0xff;
    for (unsigned i = 0; i < d->immediate_size; i++)
        bytes[d->immediate_at + i] ^= 0xff;
    dbt_decode_all(v, bytes, LENGTH_MAX, d->mode, &op, &instruction, operands);
    put_numbers(d, bytes, &expected);
    return memcmp(&expected, &op, sizeof(op)) == 0;
}

/* --- the cache ----------------------------------------------------------------------------------------------------------- */

#define MAPPING_SIZE (DECODED_MAX * sizeof(struct decoded) + ARENA_SIZE)

int dbt_decoded_new(struct dbt_vcpu *v)
{
    struct decoded_cache *cache = calloc(1, sizeof(*cache));
    void *mapping;

    if (cache == NULL)
        return -ENOMEM;
    mapping = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        free(cache);
        return -ENOMEM;
    }
    cache->decoded = mapping;
    cache->arena = (uint8_t *)(cache->decoded + DECODED_MAX);
    v->decoded = cache;
    return 0;
}

void dbt_decoded_free(struct dbt_vcpu *v)
{
    if (v->decoded == NULL)
        return;
    munmap(v->decoded->decoded, MAPPING_SIZE);
    free(v->decoded);
    v->decoded = NULL;
}

bool dbt_decoded_full(const struct dbt_vcpu *v)
{
    return v->decoded->count + RESERVE > DECODED_MAX || v->decoded->used + RESERVE * LARGEST > ARENA_SIZE;
}

void dbt_decoded_make_room(struct dbt_vcpu *v)
{
    if (dbt_decoded_full(v))
        dbt_decoded_clear(v);
}

void dbt_decoded_clear(struct dbt_vcpu *v)
{
    struct decoded_cache *cache = v->decoded;

    cache->most = cache->count > cache->most ? cache->count : cache->most;
    cache->most_used = cache->used > cache->most_used ? cache->used : cache->most_used;
    cache->count = 0;
    cache->used = 0;
    memset(cache->slot, 0, sizeof(cache->slot));
}

size_t dbt_decoded_used(const struct dbt_vcpu *v)
{
    const struct decoded_cache *cache = v->decoded;
    unsigned count = cache->count > cache->most ? cache->count : cache->most;

    size_t slots = count < sizeof(cache->slot) / 4096 ? count * 4096 : sizeof(cache->slot);

    return slots + count * sizeof(struct decoded) + (cache->used > cache->most_used ? cache->used : cache->most_used);
}

static uint32_t hash_of(const uint64_t key[2], uint32_t mode)
{
    uint64_t h = (key[0] ^ (key[1] + mode) * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(h >> 32 ^ h);
}

static bool is_same(const struct decoded *d, const uint64_t key[2], uint32_t mode, const uint8_t *bytes)
{
    return d->key[0] == key[0] && d->key[1] == key[1] && d->mode == mode &&
           (!d->whole || memcmp(d->zydis->bytes, bytes, d->op.length) == 0);
}

static struct decoded *find(const struct decoded_cache *cache, const uint64_t key[2], uint32_t mode, const uint8_t *bytes)
{
    uint32_t hash = hash_of(key, mode);

    for (unsigned i = hash & (SLOTS - 1); cache->slot[i].number != 0; i = (i + 1) & (SLOTS - 1))
        if (cache->slot[i].hash == hash >> 16 && is_same(&cache->decoded[cache->slot[i].number - 1], key, mode, bytes))
            return &cache->decoded[cache->slot[i].number - 1];
    return NULL;
}

static void enter(struct dbt_vcpu *v, struct decoded *d, const struct shape *s)
{
    struct decoded_cache *cache = v->decoded;
    uint32_t hash;
    unsigned i;

    memcpy(d->key, s->key, sizeof(d->key));
    d->displacement_at = s->displacement_at;
    d->displacement_size = s->displacement_size;
    d->immediate_at = s->immediate_at;
    d->immediate_size = s->immediate_size;
    d->immediate_signed = d->zydis->instruction.raw.imm[0].is_signed;
    if ((d->displacement_size | d->immediate_size) != 0 && !numbers_do_not_matter(v, d)) {
        d->whole = true;
        d->displacement_size = d->immediate_size = 0;
    }
    hash = hash_of(d->key, d->mode);
    for (i = hash & (SLOTS - 1); cache->slot[i].number != 0; i = (i + 1) & (SLOTS - 1))
        ;
    cache->slot[i].hash = (uint16_t)(hash >> 16);
    cache->slot[i].number = (uint16_t)(d - cache->decoded + 1);
}

static struct decoded *decode(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode, const struct shape *shape)
{
    struct decoded_cache *cache = v->decoded;
    struct decoded *d = &cache->decoded[cache->count];
    struct zydis *zydis = (struct zydis *)(void *)(cache->arena + cache->used);
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    size_t operands_size;

    *d = (struct decoded){.mode = (uint16_t)mode, .zydis = zydis};
    if (dbt_decode_all(v, bytes, avail, mode, &d->op, &zydis->instruction, operands) == 0)
        return NULL;
    memset(zydis->bytes, 0, sizeof(zydis->bytes));
    memcpy(zydis->bytes, bytes, avail);
    operands_size = zydis->instruction.operand_count * sizeof(operands[0]);
    memcpy(zydis->operand, operands, operands_size);
    cache->used += align_up(sizeof(*zydis) + operands_size, 16);
    cache->count++;
    if (shape != NULL && shape->total == zydis->instruction.length)
        enter(v, d, shape);
    return d;
}

/* Each look-up waits for a slot, and then for what that leads to: all of the former together, then all of the latter. */
unsigned dbt_decoded_prefetch(const struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode)
{
    const struct decoded_cache *cache = v->decoded;
    uint8_t copy[(PREFETCH + 3) * 16] = {0};
    unsigned slot[PREFETCH], count = 0, at = 0;

    avail = avail < PREFETCH * 16 ? avail : PREFETCH * 16;
    memcpy(copy, bytes, avail);
    while (count < PREFETCH && at < avail) {
        struct shape shape;
        uint64_t key[2];

        if (!find_shape(copy + at, mode, &shape))
            break;
        memcpy(key, shape.key, sizeof(key));
        slot[count] = hash_of(key, mode) & (SLOTS - 1);
        __builtin_prefetch(&cache->slot[slot[count++]]);
        at += shape.total;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct decoded *d = &cache->decoded[cache->slot[slot[i]].number];

        if (cache->slot[slot[i]].number == 0)
            continue;
        __builtin_prefetch(&d[-1].key);
        __builtin_prefetch(&d[-1].op);
    }
    return at;
}

struct decoded *dbt_decoded(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode, struct op *ret_op)
{
    uint8_t copy[32] = {0}; /* another CPU may be writing there: what is looked up and what is decoded must be the same bytes */
    struct decoded *d = NULL;
    struct shape shape;
    uint64_t key[2];
    bool kept;

    avail = avail < LENGTH_MAX ? avail : LENGTH_MAX;
    memcpy(copy, bytes, avail);
    kept = find_shape(copy, mode, &shape) && shape.total <= avail;
    if (kept) {
        memcpy(key, shape.key, sizeof(key));
        d = find(v->decoded, key, mode, copy);
    }
    if (d == NULL)
        d = decode(v, copy, avail, mode, kept ? &shape : NULL);
    if (d == NULL)
        return NULL;
    *ret_op = d->op;
    put_numbers(d, copy, ret_op);
    return d;
}
