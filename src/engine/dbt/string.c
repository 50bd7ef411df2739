/* SPDX-License-Identifier: GPL-2.0-or-later */
/* String instructions with their repeat prefixes, and port I/O: MOVS STOS LODS SCAS CMPS INS OUTS IN OUT.
 *
 * A repeated one keeps its registers up to date after each element, so a fault or an interrupt between two elements finds
 * the architectural state; it then starts again at the same instruction. */
#include "engine/dbt/alu.h"
#include "engine/dbt/tlb.h"

#define REPEAT_BUDGET 4096u /* elements (or bulk pieces) before interrupts are looked at again */

static uint64_t address_register(const struct dbt_vcpu *v, const struct op *op, unsigned number)
{
    uint64_t value = v->gpr[number];

    return (op->flags & OP_ADDRESS16) ? (uint16_t)value : (op->flags & OP_ADDRESS32) ? (uint32_t)value : value;
}

static void set_address_register(struct dbt_vcpu *v, const struct op *op, unsigned number, uint64_t value)
{
    if (op->flags & OP_ADDRESS16)
        *gpr16(v, number) = (uint16_t)value;
    else if (op->flags & OP_ADDRESS32)
        gpr32_set(v, number, (uint32_t)value);
    else
        v->gpr[number] = value;
}

static void advance(struct dbt_vcpu *v, const struct op *op, unsigned number, uint64_t bytes)
{
    uint64_t value = v->gpr[number];

    set_address_register(v, op, number, (v->rflags & X86_DF) ? value - bytes : value + bytes);
}

static uint64_t source(struct dbt_vcpu *v, const struct op *op)
{
    return dbt_segment_address(v, op->segment, address_register(v, op, X86_RSI), op->size, ACCESS_READ);
}

static uint64_t destination(struct dbt_vcpu *v, const struct op *op, unsigned access)
{
    return dbt_segment_address(v, X86_ES, address_register(v, op, X86_RDI), op->size, access);
}

static void set_accumulator(struct dbt_vcpu *v, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: *gpr8(v, 0) = (uint8_t)value; break;
    case 2: *gpr16(v, X86_RAX) = (uint16_t)value; break;
    case 4: gpr32_set(v, X86_RAX, (uint32_t)value); break;
    default: v->gpr[X86_RAX] = value; break;
    }
}

static void compare(struct dbt_vcpu *v, unsigned size, uint64_t a, uint64_t b)
{
    unsigned shift = 64 - size * 8; /* at the top of a 64-bit register CF ZF SF OF come out right; AF and PF need the byte */
    uint32_t ax, low;

    __asm__("cmp %[b], %[a]" ASM_FLAGS_OUT : "=&a"(ax) : [a] "r"(a << shift), [b] "r"(b << shift) : "cc");
    __asm__("cmpb %[b], %[a]" ASM_FLAGS_OUT : "=&a"(low) : [a] "q"((uint8_t)a), [b] "q"((uint8_t)b) : "cc");
    ax = (ax & ~(uint32_t)((X86_AF | X86_PF) << 8)) | (low & ((X86_AF | X86_PF) << 8));
    dbt_flags_store(v, ax);
}

/* --- one element ---------------------------------------------------------------------------------------------------- */

static void movs(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = dbt_load(v, source(v, op), op->size);

    dbt_store(v, destination(v, op, ACCESS_WRITE), op->size, value);
    advance(v, op, X86_RSI, op->size);
    advance(v, op, X86_RDI, op->size);
}

static void stos(struct dbt_vcpu *v, const struct op *op)
{
    dbt_store(v, destination(v, op, ACCESS_WRITE), op->size, v->gpr[X86_RAX]);
    advance(v, op, X86_RDI, op->size);
}

static void lods(struct dbt_vcpu *v, const struct op *op)
{
    set_accumulator(v, op->size, dbt_load(v, source(v, op), op->size));
    advance(v, op, X86_RSI, op->size);
}

static void scas(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = dbt_load(v, destination(v, op, ACCESS_READ), op->size);

    compare(v, op->size, truncate_to(v->gpr[X86_RAX], op->size), value);
    advance(v, op, X86_RDI, op->size);
}

static void cmps(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t a = dbt_load(v, source(v, op), op->size);
    uint64_t b = dbt_load(v, destination(v, op, ACCESS_READ), op->size);

    compare(v, op->size, a, b);
    advance(v, op, X86_RSI, op->size);
    advance(v, op, X86_RDI, op->size);
}

static void ins(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t port = (uint16_t)v->gpr[X86_RDX];
    uint64_t linear;

    dbt_check_port(v, port, op->size);
    linear = destination(v, op, ACCESS_WRITE);
    dbt_probe(v, linear, op->size, ACCESS_WRITE);
    dbt_store(v, linear, op->size, dbt_port_read(v, port, op->size));
    advance(v, op, X86_RDI, op->size);
}

static void outs(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t port = (uint16_t)v->gpr[X86_RDX];

    dbt_check_port(v, port, op->size);
    dbt_port_write(v, port, op->size, dbt_load(v, source(v, op), op->size));
    advance(v, op, X86_RSI, op->size);
}

/* --- many elements at once ------------------------------------------------------------------------------------------ */

static bool may_bulk(const struct dbt_vcpu *v, const struct op *op)
{
    return !(v->rflags & (X86_DF | X86_TF)) && !(op->flags & OP_ADDRESS16) && /* TF: a trap after each turn */
           (dbt_code64(v) || ((v->mode & MODE_FLAT) && op->segment < X86_FS));
}

/* Bytes from linear to the end of its page, at most count elements, whole elements only. */
static unsigned room(uint64_t linear, uint64_t count, unsigned size)
{
    unsigned bytes = 4096 - (unsigned)(linear & 0xfff);

    if (count < bytes / size)
        bytes = (unsigned)count * size;
    return bytes - bytes % size;
}

static void copy_elements(uint8_t *to, const uint8_t *from, unsigned bytes, unsigned size)
{
    if (to <= from || to >= from + bytes)
        memmove(to, from, bytes);
    else /* overlapping forwards repeats what was just written */
        for (unsigned i = 0; i < bytes; i += size) {
            uint64_t element = 0; /* an element may overlap itself */

            memcpy(&element, from + i, size);
            memcpy(to + i, &element, size);
        }
}

/* Bytes of one page, or NULL. Their TLB entry may make room for the other operand's: the bytes stay where they are. */
static uint8_t *bulk_operand(struct dbt_vcpu *v, uint64_t linear, unsigned bytes, unsigned access)
{
    uint8_t *p = access == ACCESS_WRITE ? dbt_write_fast(v, linear, bytes) : dbt_read_fast(v, linear, bytes);

    if (LIKELY(p != NULL) || v->tlb_mode == TLB_USER_ALIGNED)
        return p;
    dbt_tlb_translate(v, v->tlb_mode, linear, access);
    return access == ACCESS_WRITE ? dbt_write_fast(v, linear, bytes) : dbt_read_fast(v, linear, bytes);
}

static uint64_t movs_bulk(struct dbt_vcpu *v, const struct op *op, uint64_t count)
{
    uint64_t from_linear = source(v, op), to_linear = destination(v, op, ACCESS_WRITE);
    unsigned bytes = room(from_linear, count, op->size), to_bytes = room(to_linear, count, op->size);
    uint8_t *from, *to;

    bytes = bytes < to_bytes ? bytes : to_bytes;
    if (bytes == 0)
        return 0;
    from = bulk_operand(v, from_linear, bytes, ACCESS_READ);
    to = bulk_operand(v, to_linear, bytes, ACCESS_WRITE);
    if (from == NULL || to == NULL)
        return 0;
    copy_elements(to, from, bytes, op->size);
    advance(v, op, X86_RSI, bytes);
    advance(v, op, X86_RDI, bytes);
    return bytes / op->size;
}

static uint64_t stos_bulk(struct dbt_vcpu *v, const struct op *op, uint64_t count)
{
    uint64_t linear = destination(v, op, ACCESS_WRITE), value = v->gpr[X86_RAX];
    unsigned bytes = room(linear, count, op->size);
    uint8_t *to = bytes > 0 ? bulk_operand(v, linear, bytes, ACCESS_WRITE) : NULL;

    if (to == NULL)
        return 0;
    if (op->size == 1)
        memset(to, (int)(value & 0xff), bytes);
    else
        for (unsigned i = 0; i < bytes; i += op->size)
            memcpy(to + i, &value, op->size);
    advance(v, op, X86_RDI, bytes);
    return bytes / op->size;
}

/* --- repetition ----------------------------------------------------------------------------------------------------- */

typedef uint64_t bulk_fn(struct dbt_vcpu *v, const struct op *op, uint64_t count);

static void start_again(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[GPR_RIP] -= op->length;
    dbt_end_block(v);
}

static bool interrupted(struct dbt_vcpu *v, unsigned rounds)
{
    return rounds >= REPEAT_BUDGET || atomic_load_explicit(&v->attention, memory_order_relaxed) != 0 || (v->rflags & X86_TF);
}

static void repeat(struct dbt_vcpu *v, const struct op *op, op_fn *one, bulk_fn *bulk)
{
    uint64_t count = address_register(v, op, X86_RCX);

    for (unsigned rounds = 1; count > 0; rounds++) {
        uint64_t done = bulk != NULL && may_bulk(v, op) ? bulk(v, op, count) : 0;

        if (done == 0) {
            one(v, op);
            done = 1;
        }
        count -= done;
        set_address_register(v, op, X86_RCX, count);
        if (count > 0 && interrupted(v, rounds)) {
            start_again(v, op);
            return;
        }
    }
}

/* SCAS and CMPS stop when ZF is not what the prefix asks for. */
static void repeat_compare(struct dbt_vcpu *v, const struct op *op, op_fn *one)
{
    uint64_t count = address_register(v, op, X86_RCX);
    bool while_equal = (op->flags & OP_REP) != 0;

    for (unsigned rounds = 1; count > 0; rounds++) {
        one(v, op);
        set_address_register(v, op, X86_RCX, --count);
        if (((v->flags & X86_ZF) != 0) != while_equal)
            return;
        if (count > 0 && interrupted(v, rounds)) {
            start_again(v, op);
            return;
        }
    }
}

static void rep_movs(struct dbt_vcpu *v, const struct op *op)
{
    repeat(v, op, movs, movs_bulk);
}

static void rep_stos(struct dbt_vcpu *v, const struct op *op)
{
    repeat(v, op, stos, stos_bulk);
}

static void rep_lods(struct dbt_vcpu *v, const struct op *op)
{
    repeat(v, op, lods, NULL);
}

static void rep_ins(struct dbt_vcpu *v, const struct op *op)
{
    repeat(v, op, ins, NULL);
}

static void rep_outs(struct dbt_vcpu *v, const struct op *op)
{
    repeat(v, op, outs, NULL);
}

static void rep_scas(struct dbt_vcpu *v, const struct op *op)
{
    repeat_compare(v, op, scas);
}

static void rep_cmps(struct dbt_vcpu *v, const struct op *op)
{
    repeat_compare(v, op, cmps);
}

/* --- IN and OUT ------------------------------------------------------------------------------------------------------ */

static uint16_t port_of(const struct dbt_vcpu *v, const struct op *op)
{
    return op->argument ? (uint16_t)v->gpr[X86_RDX] : (uint8_t)op->immediate;
}

static void in(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t port = port_of(v, op);

    dbt_check_port(v, port, op->size);
    set_accumulator(v, op->size, dbt_port_read(v, port, op->size));
}

static void out(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t port = port_of(v, op);

    dbt_check_port(v, port, op->size);
    dbt_port_write(v, port, op->size, truncate_to(v->gpr[X86_RAX], op->size));
}

/* The source's segment: DS unless overridden. */
static unsigned source_segment(const struct decode *d)
{
    static const struct {
        ZydisInstructionAttributes attribute;
        unsigned segment;
    } overrides[] = {{ZYDIS_ATTRIB_HAS_SEGMENT_ES, X86_ES}, {ZYDIS_ATTRIB_HAS_SEGMENT_CS, X86_CS},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_SS, X86_SS}, {ZYDIS_ATTRIB_HAS_SEGMENT_FS, X86_FS},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_GS, X86_GS}};

    for (unsigned i = 0; i < ARRAY_SIZE(overrides); i++)
        if (d->instruction->attributes & overrides[i].attribute)
            return overrides[i].segment;
    return X86_DS;
}

static op_fn *bind_string(const struct decode *d, struct op *op, unsigned size, op_fn *one, op_fn *repeated)
{
    op->size = (uint8_t)size;
    op->flags &= (uint8_t)~OP_MEMORY;
    op->segment = (uint8_t)source_segment(d);
    if (d->instruction->address_width == 32)
        op->flags |= OP_ADDRESS32;
    else if (d->instruction->address_width == 16)
        op->flags |= OP_ADDRESS16;
    return (op->flags & (OP_REP | OP_REPNE)) ? repeated : one;
}

static op_fn *bind_port(const struct decode *d, struct op *op, op_fn *handler, unsigned port_operand)
{
    op->argument = dbt_is_register(d, port_operand);
    op->flags |= OP_END; /* the hook may have stopped the machine */
    return handler;
}

op_fn *dbt_bind_string(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB: return bind_string(d, op, 1, movs, rep_movs);
    case ZYDIS_MNEMONIC_MOVSW: return bind_string(d, op, 2, movs, rep_movs);
    case ZYDIS_MNEMONIC_MOVSD: /* also an SSE2 mnemonic */
        return d->instruction->meta.isa_set == ZYDIS_ISA_SET_SSE2 ? NULL : bind_string(d, op, 4, movs, rep_movs);
    case ZYDIS_MNEMONIC_MOVSQ: return bind_string(d, op, 8, movs, rep_movs);
    case ZYDIS_MNEMONIC_STOSB: return bind_string(d, op, 1, stos, rep_stos);
    case ZYDIS_MNEMONIC_STOSW: return bind_string(d, op, 2, stos, rep_stos);
    case ZYDIS_MNEMONIC_STOSD: return bind_string(d, op, 4, stos, rep_stos);
    case ZYDIS_MNEMONIC_STOSQ: return bind_string(d, op, 8, stos, rep_stos);
    case ZYDIS_MNEMONIC_LODSB: return bind_string(d, op, 1, lods, rep_lods);
    case ZYDIS_MNEMONIC_LODSW: return bind_string(d, op, 2, lods, rep_lods);
    case ZYDIS_MNEMONIC_LODSD: return bind_string(d, op, 4, lods, rep_lods);
    case ZYDIS_MNEMONIC_LODSQ: return bind_string(d, op, 8, lods, rep_lods);
    case ZYDIS_MNEMONIC_SCASB: return bind_string(d, op, 1, scas, rep_scas);
    case ZYDIS_MNEMONIC_SCASW: return bind_string(d, op, 2, scas, rep_scas);
    case ZYDIS_MNEMONIC_SCASD: return bind_string(d, op, 4, scas, rep_scas);
    case ZYDIS_MNEMONIC_SCASQ: return bind_string(d, op, 8, scas, rep_scas);
    case ZYDIS_MNEMONIC_CMPSB: return bind_string(d, op, 1, cmps, rep_cmps);
    case ZYDIS_MNEMONIC_CMPSW: return bind_string(d, op, 2, cmps, rep_cmps);
    case ZYDIS_MNEMONIC_CMPSD:
        return d->instruction->meta.isa_set == ZYDIS_ISA_SET_SSE2 ? NULL : bind_string(d, op, 4, cmps, rep_cmps);
    case ZYDIS_MNEMONIC_CMPSQ: return bind_string(d, op, 8, cmps, rep_cmps);
    case ZYDIS_MNEMONIC_INSB: return bind_string(d, op, 1, ins, rep_ins);
    case ZYDIS_MNEMONIC_INSW: return bind_string(d, op, 2, ins, rep_ins);
    case ZYDIS_MNEMONIC_INSD: return bind_string(d, op, 4, ins, rep_ins);
    case ZYDIS_MNEMONIC_OUTSB: return bind_string(d, op, 1, outs, rep_outs);
    case ZYDIS_MNEMONIC_OUTSW: return bind_string(d, op, 2, outs, rep_outs);
    case ZYDIS_MNEMONIC_OUTSD: return bind_string(d, op, 4, outs, rep_outs);
    case ZYDIS_MNEMONIC_IN: return bind_port(d, op, in, 1);
    case ZYDIS_MNEMONIC_OUT: return bind_port(d, op, out, 0);
    default: return NULL;
    }
}
