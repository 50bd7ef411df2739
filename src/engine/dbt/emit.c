/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encodings of host instructions (SDM vol. 2 ch. 2). See emit.h. */
#include "engine/dbt/emit.h"

static void emit_prefixes(struct emitter *e, unsigned flags, unsigned reg, unsigned index, unsigned rm, bool rm_is_register)
{
    unsigned rex = (flags & EMIT_W ? 8u : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (rm >> 3 & 1);
    bool byte_register = (flags & EMIT_BYTE) && (reg >= 4 || (rm_is_register && rm >= 4));

    if (flags & EMIT_LOCK)
        emit8(e, 0xf0);
    if (flags & EMIT_66)
        emit8(e, 0x66);
    if (rex != 0 || byte_register)
        emit8(e, 0x40 | rex);
    if (flags & EMIT_0F)
        emit8(e, 0x0f);
}

void emit_registers(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, unsigned rm)
{
    emit_prefixes(e, flags, reg, 0, rm, true);
    emit8(e, opcode);
    emit8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_operand(struct emitter *e, unsigned reg, struct host_memory m)
{
    bool small = m.displacement >= -128 && m.displacement <= 127 && m.base != HOST_NONE;
    /* RBP and R13 as a base always take a displacement. */
    unsigned mod = m.base == HOST_NONE || (m.displacement == 0 && (m.base & 7) != HOST_RBP) ? 0 : small ? 1 : 2;
    bool sib = m.index != HOST_NONE || m.base == HOST_NONE || (m.base & 7) == HOST_RSP;
    unsigned base = m.base == HOST_NONE ? HOST_RBP : m.base & 7u;

    emit8(e, mod << 6 | (reg & 7) << 3 | (sib ? 4u : m.base & 7u));
    if (sib)
        emit8(e, (unsigned)m.scale << 6 | (m.index == HOST_NONE ? 4u : m.index & 7u) << 3 | base);
    if (mod == 1)
        emit8(e, (uint8_t)m.displacement);
    else if (mod == 2 || m.base == HOST_NONE)
        emit32(e, (uint32_t)m.displacement);
}

void emit_memory(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, struct host_memory m)
{
    if (m.gs)
        emit8(e, EMIT_GS_PREFIX);
    emit_prefixes(e, flags, reg, m.index == HOST_NONE ? 0 : m.index, m.base, false);
    emit8(e, opcode);
    emit_operand(e, reg, m);
}

void emit_move(struct emitter *e, unsigned to, unsigned from)
{
    if (to != from)
        emit_registers(e, EMIT_W, 0x8b, to, from);
}

void emit_load(struct emitter *e, unsigned to, struct host_memory m)
{
    emit_memory(e, EMIT_W, 0x8b, to, m);
}

void emit_store(struct emitter *e, struct host_memory m, unsigned from)
{
    emit_memory(e, EMIT_W, 0x89, from, m);
}

void emit_load32(struct emitter *e, unsigned to, struct host_memory m)
{
    emit_memory(e, 0, 0x8b, to, m);
}

void emit_constant(struct emitter *e, unsigned to, uint64_t value)
{
    if (value <= UINT32_MAX) {
        emit_prefixes(e, 0, 0, 0, to, true);
        emit8(e, 0xb8 | (to & 7));
        emit32(e, (uint32_t)value);
    } else if ((int64_t)value == (int32_t)value) {
        emit_registers(e, EMIT_W, 0xc7, 0, to);
        emit32(e, (uint32_t)value);
    } else {
        emit_prefixes(e, EMIT_W, 0, 0, to, true);
        emit8(e, 0xb8 | (to & 7));
        emit64(e, value);
    }
}

void emit_lea(struct emitter *e, bool wide, unsigned to, struct host_memory m)
{
    emit_memory(e, wide ? EMIT_W : 0, 0x8d, to, m);
}

static bool is_small(int32_t value)
{
    return value >= -128 && value <= 127;
}

static void emit_alu_value(struct emitter *e, unsigned flags, int32_t value)
{
    if (is_small(value) || (flags & EMIT_BYTE))
        emit8(e, (uint8_t)value);
    else
        emit32(e, (uint32_t)value);
}

static unsigned alu_constant_opcode(unsigned flags, int32_t value)
{
    return flags & EMIT_BYTE ? 0x80 : is_small(value) ? 0x83 : 0x81;
}

void emit_alu_constant(struct emitter *e, unsigned flags, unsigned alu, unsigned reg, int32_t value)
{
    emit_prefixes(e, flags, 0, 0, reg, true);
    emit8(e, alu_constant_opcode(flags, value));
    emit8(e, 0xc0 | alu << 3 | (reg & 7));
    emit_alu_value(e, flags, value);
}

void emit_alu_memory_constant(struct emitter *e, unsigned flags, unsigned alu, struct host_memory m, int32_t value)
{
    emit_memory(e, flags & ~(unsigned)EMIT_BYTE, alu_constant_opcode(flags, value), alu, m);
    emit_alu_value(e, flags, value);
}

void emit_rotate(struct emitter *e, bool wide, unsigned to, unsigned from, unsigned right)
{
    emit8(e, 0xc4);
    emit8(e, (to & 8 ? 0 : 0x80) | 0x40 | (from & 8 ? 0 : 0x20) | 3);
    emit8(e, wide ? 0xfb : 0x7b);
    emit8(e, 0xf0);
    emit8(e, 0xc0 | (to & 7) << 3 | (from & 7));
    emit8(e, right);
}

void emit_jump_register(struct emitter *e, unsigned reg)
{
    emit_registers(e, 0, 0xff, 4, reg);
}

static uint8_t *emit_distance(struct emitter *e)
{
    emit32(e, 0);
    return e->at - 4;
}

uint8_t *emit_jump(struct emitter *e)
{
    emit8(e, 0xe9);
    return emit_distance(e);
}

uint8_t *emit_jump_if(struct emitter *e, unsigned condition)
{
    emit8(e, 0x0f);
    emit8(e, 0x80 | condition);
    return emit_distance(e);
}

void emit_jump_to(struct emitter *e, const uint8_t *target)
{
    emit_patch(emit_jump(e), target);
}

uint8_t *emit_call_near(struct emitter *e)
{
    emit8(e, 0xe8);
    return emit_distance(e);
}

void emit_call_to(struct emitter *e, const uint8_t *target)
{
    emit_patch(emit_call_near(e), target);
}

uint8_t *emit_lea_rip(struct emitter *e, unsigned to)
{
    emit_prefixes(e, EMIT_W, to, 0, 0, false);
    emit8(e, 0x8d);
    emit8(e, (to & 7) << 3 | 5);
    return emit_distance(e);
}
