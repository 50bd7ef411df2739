/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-virtual memory access: a software TLB, its slow path, MMIO, and accesses that cross pages.
 *
 * All of these raise #PF, #GP or #SS by longjmp when the guest may not do what it asks; nothing is changed then. They take
 * linear addresses; dbt_address() makes one from an op's memory operand with all segment checks. */
#ifndef FERRY_ENGINE_DBT_SOFTMMU_H
#define FERRY_ENGINE_DBT_SOFTMMU_H

#include "engine/dbt/op.h"

enum memory_access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_EXECUTE = 4 };

/* Linear address of an operand that needs more than base + index * scale + displacement + segment base. */
uint64_t dbt_address_slow(struct dbt_vcpu *v, const struct op *op, unsigned size, unsigned access);

/* The offset part alone, truncated to the address size: LEA. */
uint64_t dbt_offset(const struct dbt_vcpu *v, const struct op *op);

/* Linear address of op's memory operand, of `size` bytes, segment checks done (limits, types; a non-canonical address is found out by
 * the access itself, as #SS or #GP). */
static inline uint64_t dbt_address(struct dbt_vcpu *v, const struct op *op, unsigned size, unsigned access)
{
    if (UNLIKELY(op->flags & OP_ADDRESS_SLOW))
        return dbt_address_slow(v, op, size, access);
    return v->gpr[op->base] + (v->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->displacement +
           v->segment_base[op->address_segment];
}

/* Linear address of segment:offset for implicit operands (stack, strings, far transfers), with limit, type and canonical
 * checks. offset is already truncated to its address size. Raises #SS for SS, else #GP. */
uint64_t dbt_segment_address(struct dbt_vcpu *v, unsigned segment, uint64_t offset, unsigned size, unsigned access);

#define TLB_INDEX(linear) (((linear) >> 12) & (TLB_ENTRIES - 1))
#define TLB_PAGE(linear) ((linear) & ~UINT64_C(0xfff))

/* A tag matches only if the first and the last byte lie in the same page: the entry is chosen by the first. */
static inline void *dbt_read_fast(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    const struct tlb_entry *e = &v->tlb[TLB_INDEX(linear)];
    return LIKELY(e->read == TLB_PAGE(linear + size - 1)) ? e->host + (linear & 0xfff) : NULL;
}

static inline void *dbt_write_fast(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    const struct tlb_entry *e = &v->tlb[TLB_INDEX(linear)];
    return LIKELY(e->write == TLB_PAGE(linear + size - 1)) ? e->host + (linear & 0xfff) : NULL;
}

uint64_t dbt_load_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size);
void dbt_store_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, uint64_t value);

/* Guest operands lie at any address. */
typedef uint8_t uint8_t_unaligned;
typedef uint16_t uint16_t_unaligned __attribute__((aligned(1), may_alias));
typedef uint32_t uint32_t_unaligned __attribute__((aligned(1), may_alias));
typedef uint64_t uint64_t_unaligned __attribute__((aligned(1), may_alias));

#define DBT_DEFINE_ACCESS(bits)                                                              \
    static inline uint##bits##_t dbt_load##bits(struct dbt_vcpu *v, uint64_t linear)         \
    {                                                                                        \
        const volatile uint##bits##_t_unaligned *p = dbt_read_fast(v, linear, (bits) / 8);             \
        return LIKELY(p != NULL) ? *p : (uint##bits##_t)dbt_load_slow(v, linear, (bits) / 8); \
    }                                                                                        \
    static inline void dbt_store##bits(struct dbt_vcpu *v, uint64_t linear, uint##bits##_t value) \
    {                                                                                        \
        volatile uint##bits##_t_unaligned *p = dbt_write_fast(v, linear, (bits) / 8);                  \
        if (LIKELY(p != NULL))                                                               \
            *p = value;                                                                      \
        else                                                                                 \
            dbt_store_slow(v, linear, (bits) / 8, value);                                    \
    }
DBT_DEFINE_ACCESS(8)
DBT_DEFINE_ACCESS(16)
DBT_DEFINE_ACCESS(32)
DBT_DEFINE_ACCESS(64)
#undef DBT_DEFINE_ACCESS

/* The same for an operand whose size (1, 2, 4 or 8 bytes) is known only now. */
static inline uint64_t dbt_load(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    switch (size) {
    case 1: return dbt_load8(v, linear);
    case 2: return dbt_load16(v, linear);
    case 4: return dbt_load32(v, linear);
    default: return dbt_load64(v, linear);
    }
}

static inline void dbt_store(struct dbt_vcpu *v, uint64_t linear, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: dbt_store8(v, linear, (uint8_t)value); break;
    case 2: dbt_store16(v, linear, (uint16_t)value); break;
    case 4: dbt_store32(v, linear, (uint32_t)value); break;
    default: dbt_store64(v, linear, value); break;
    }
}

/* Operands wider than 8 bytes, read-modify-write, and thunks: a host pointer to the bytes, either guest RAM itself or the bounce
 * buffer (of `size` bytes, at most BOUNCE_MAX) when they cross a page or lie in MMIO. begin checks everything that can fault; end writes a
 * bounce buffer back. Between the two nothing may fault.
 *
 *     uint8_t bounce[BOUNCE_MAX];
 *     void *p = dbt_access_begin(v, linear, 16, ACCESS_READ | ACCESS_WRITE, bounce);
 *     ... work on *p ...
 *     dbt_access_end(v, linear, 16, ACCESS_READ | ACCESS_WRITE, p, bounce);
 */
#define BOUNCE_MAX 4096
void *dbt_access_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, void *bounce);
void dbt_access_end_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, const void *bounce);

static inline void *dbt_access_begin(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, void *bounce)
{
    void *p = (access & ACCESS_WRITE) ? dbt_write_fast(v, linear, size) : dbt_read_fast(v, linear, size);
    if (LIKELY(p != NULL) && (access != (ACCESS_READ | ACCESS_WRITE) || dbt_read_fast(v, linear, size) != NULL))
        return p;
    return dbt_access_slow(v, linear, size, access, bounce);
}

static inline void dbt_access_end(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, const void *p,
                                  const void *bounce)
{
    if (UNLIKELY(p == bounce) && (access & ACCESS_WRITE))
        dbt_access_end_slow(v, linear, size, access, bounce);
}

/* Raises the fault that the access would, without doing it. */
void dbt_probe(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access);

/* Accesses by the CPU itself to GDT, LDT, IDT and TSS: with supervisor rights whatever the CPL. */
uint64_t dbt_load_system(struct dbt_vcpu *v, uint64_t linear, unsigned size);
void dbt_store_system(struct dbt_vcpu *v, uint64_t linear, unsigned size, uint64_t value);

/* The same with the rights of an explicit privilege level (stack switches): cpl 3 = user, else supervisor. */
void dbt_store_as(struct dbt_vcpu *v, unsigned cpl, uint64_t linear, unsigned size, uint64_t value);
uint64_t dbt_load_as(struct dbt_vcpu *v, unsigned cpl, uint64_t linear, unsigned size);

/* TLB upkeep. set_cr3 is what MOV CR3 does once the value is checked (PCID and bit 63 included); flush_all drops global pages too. */
void dbt_tlb_set_cr3(struct dbt_vcpu *v, uint64_t value);
void dbt_tlb_flush_all(struct dbt_vcpu *v);
void dbt_tlb_flush_page(struct dbt_vcpu *v, uint64_t linear);                      /* INVLPG */
void dbt_tlb_flush_pcid(struct dbt_vcpu *v, uint16_t pcid);                        /* INVPCID type 1 */
void dbt_tlb_flush_pcid_page(struct dbt_vcpu *v, uint16_t pcid, uint64_t linear);  /* INVPCID type 0 */
void dbt_tlb_set_pkru(struct dbt_vcpu *v, uint32_t value);                         /* WRPKRU, XRSTOR: rights are kept in the TLB */
void dbt_tlb_flush_all_but_global(struct dbt_vcpu *v);                             /* INVPCID type 3 */

/* Port access through the hooks; the caller has checked IOPL and the permission bitmap. */
uint64_t dbt_port_read(struct dbt_vcpu *v, uint16_t port, unsigned size);
void dbt_port_write(struct dbt_vcpu *v, uint16_t port, unsigned size, uint64_t value);
/* That check: raises #GP(0) when the guest may not (SDM vol. 1 ch. 19). In system.c. */
void dbt_check_port(struct dbt_vcpu *v, uint16_t port, unsigned size);

#endif
