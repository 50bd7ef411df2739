/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory access off the fast path: page-crossing, MMIO, watched pages, segment checks, ports. See softmmu.h. */
#include "engine/dbt/softmmu.h"

#include "engine/dbt/block.h"
#include "engine/dbt/doorbell.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/lockstep.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/tlb.h"
#include "memory/memory.h"

/* --- segments --------------------------------------------------------------------------------------------------- */

static _Noreturn void raise_segment(struct dbt_vcpu *v, unsigned segment)
{
    dbt_raise_error(v, segment == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

/* Limit and type checks of protected mode; real mode has limits only (SDM vol. 3 section 5.3, 5.5). */
static void check_segment(struct dbt_vcpu *v, unsigned segment, uint64_t offset, unsigned size, unsigned access)
{
    const struct x86_segment *s = &v->segment[segment];
    bool code = (s->type & 8) != 0;
    uint64_t last = offset + (size > 0 ? size - 1 : 0);

    if (dbt_protected_mode(v)) {
        if (!s->present)
            raise_segment(v, segment);
        if ((access & ACCESS_WRITE) && (code || !(s->type & 2)))
            raise_segment(v, segment);
        if ((access & ACCESS_READ) && code && !(s->type & 2))
            raise_segment(v, segment);
    }
    if (!code && (s->type & 4)) { /* expand-down: valid are the offsets above the limit */
        uint64_t top = s->db ? UINT32_MAX : UINT16_MAX;

        if (offset <= s->limit || last > top)
            raise_segment(v, segment);
    } else if (last > s->limit) {
        raise_segment(v, segment);
    }
}

uint64_t dbt_segment_address(struct dbt_vcpu *v, unsigned segment, uint64_t offset, unsigned size, unsigned access)
{
    uint64_t linear = offset + v->segment_base[segment];

    if (dbt_code64(v)) {
        if (!dbt_canonical(linear) || !dbt_canonical(linear + (size > 0 ? size - 1 : 0)))
            raise_segment(v, segment);
        return linear;
    }
    /* Flat: what is left to check is a write through CS and an operand that runs over 4 GiB. */
    if (!(v->mode & MODE_FLAT) || segment >= X86_FS || segment == X86_CS || offset + size > BIT(32))
        check_segment(v, segment, offset, size, access);
    return (uint32_t)linear;
}

uint64_t dbt_offset(const struct dbt_vcpu *v, const struct op *op)
{
    uint64_t offset = v->gpr[op->base] + (v->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->displacement;

    if (op->flags & OP_ADDRESS32)
        return (uint32_t)offset;
    return (op->flags & OP_ADDRESS16) ? (uint16_t)offset : offset;
}

uint64_t dbt_address_slow(struct dbt_vcpu *v, const struct op *op, unsigned size, unsigned access)
{
    return dbt_segment_address(v, op->segment, dbt_offset(v, op), size, access);
}

/* --- data breakpoints ---------------------------------------------------------------------------------------------- */

/* A hit is a trap behind the instruction (SDM vol. 3 section 18.2). */
static void match_breakpoints(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};

    for (unsigned i = 0; i < 4; i++) {
        unsigned type = (unsigned)bit_range(v->dr7, 17 + 4 * i, 16 + 4 * i);
        unsigned length = lengths[bit_range(v->dr7, 19 + 4 * i, 18 + 4 * i)];
        uint64_t start = align_down(v->dr[i], length);
        bool watches = type == 1 ? (access & ACCESS_WRITE) != 0 : type == 3;

        if (bit_range(v->dr7, 2 * i + 1, 2 * i) == 0 || !watches || linear + size <= start || start + length <= linear)
            continue;
        v->debug_pending |= BIT(i);
        dbt_set_attention(v, ATTENTION_STEP);
        if (v->op != NULL)
            dbt_end_block(v);
    }
}

/* --- one page ------------------------------------------------------------------------------------------------------ */

static uint64_t mmio_read(struct dbt_vcpu *v, uint64_t physical, unsigned size)
{
    uint64_t value;

    dbt_lockstep_before_device(v);
    v->statistics[STATISTIC_MMIO]++;
    dbt_leave_guest(v);
    value = v->hooks->mmio_read(v->hooks->ctx, v->id, physical, size);
    dbt_enter_guest(v);
    return truncate_to(value, size);
}

static void mmio_write(struct dbt_vcpu *v, uint64_t physical, unsigned size, uint64_t value)
{
    dbt_lockstep_before_device(v);
    v->statistics[STATISTIC_MMIO]++;
    if (dbt_doorbell_ring(v->vm->doorbells, false, physical, size, value))
        return;
    dbt_leave_guest(v);
    v->hooks->mmio_write(v->hooks->ctx, v->id, physical, size, value);
    dbt_enter_guest(v);
}

static bool is_access_size(unsigned size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static void mmio_copy(struct dbt_vcpu *v, uint64_t physical, uint8_t *data, unsigned size, bool write)
{
    while (size > 0) {
        unsigned step = size >= 8 ? 8 : is_access_size(size) ? size : size > 4 ? 4 : size > 2 ? 2 : 1;
        uint64_t value = 0;

        if (write) {
            memcpy(&value, data, step);
            mmio_write(v, physical, step, value);
        } else {
            value = mmio_read(v, physical, step);
            memcpy(data, &value, step);
        }
        physical += step;
        data += step;
        size -= step;
    }
}

/* What a store must see to before it lands in RAM: cached code there, the dirty log. */
static void prepare_store(struct dbt_vcpu *v, const struct memory_region *region, uint64_t physical)
{
    uint64_t number = memory_page_number(region, physical), page = TLB_PAGE(physical);

    if (UNLIKELY(v->trying)) {
        if (v->op != NULL && (atomic_load(&v->memory->code_pages[number]) != 0 || dbt_has_own_code(v, number)))
            dbt_end_block(v);
        return;
    }
    /* First the flag, then the mail: whoever decodes the page again meanwhile sets the flag, and waits for us to finish this
     * instruction (watch_page). */
    if (atomic_exchange(&v->memory->code_pages[number], 0) != 0) {
        dbt_blocks_invalidate_page(v, page);
        dbt_mail_code_written(v->vm, v, page);
    } else if (dbt_has_own_code(v, number)) { /* another vCPU was quicker, and its letter is on the way */
        dbt_blocks_invalidate_page(v, page);
    }
    memory_mark_dirty(v->memory, number);
}

/* Where the bytes of a page in RAM are: a trial reads and writes copies of those that it writes. */
static uint8_t *page_in_host(struct dbt_vcpu *v, const struct memory_region *region, uint64_t page, bool write)
{
    uint8_t *real = region->host + (page - region->address), *copy;

    if (LIKELY(!v->trying))
        return real;
    copy = write ? dbt_lockstep_copy(v, page, real) : dbt_lockstep_find_copy(v, page);
    return copy != NULL ? copy : real;
}

/* size bytes at linear, all in one page whose translation is known to allow it. */
static void copy_in_page(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, uint8_t *data, unsigned size, unsigned access)
{
    const struct tlb_translation *t = dbt_tlb_translate(v, mode, linear, access);
    uint64_t physical = t->physical | (linear & 0xfff);
    const struct memory_region *region = memory_find(v->memory, physical);
    bool write = (access & ACCESS_WRITE) != 0;
    uint8_t *host;

    if (region == NULL) {
        mmio_copy(v, physical, data, size, write);
        return;
    }
    host = page_in_host(v, region, TLB_PAGE(physical), write && !region->readonly) + (physical & 0xfff);
    if (!write) {
        memcpy(data, host, size);
        return;
    }
    if (region->readonly)
        return;
    prepare_store(v, region, physical);
    if (size == 8 && (physical & 7) == 0)
        __atomic_store_n((uint64_t *)(void *)host, load_le64(data), __ATOMIC_RELAXED);
    else if (size == 4 && (physical & 3) == 0)
        __atomic_store_n((uint32_t *)(void *)host, load_le32(data), __ATOMIC_RELAXED);
    else if (size == 2 && (physical & 1) == 0)
        __atomic_store_n((uint16_t *)(void *)host, load_le16(data), __ATOMIC_RELAXED);
    else
        memcpy(host, data, size);
    dbt_tlb_retag(v, mode, linear);
}

static uint64_t next_page(const struct dbt_vcpu *v, uint64_t linear)
{
    uint64_t next = TLB_PAGE(linear) + 4096;

    return dbt_long_mode(v) ? next : next & UINT32_MAX;
}

static unsigned first_part(uint64_t linear, unsigned size)
{
    unsigned room = 4096 - (unsigned)(linear & 0xfff);

    return size < room ? size : room;
}

static void probe_as(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned size, unsigned access)
{
    unsigned checked = (access & ACCESS_WRITE) ? ACCESS_WRITE : ACCESS_READ; /* a read-modify-write faults as a write */

    if (UNLIKELY(mode == TLB_USER_ALIGNED) && is_access_size(size) && (linear & (size - 1)))
        dbt_raise_error(v, X86_AC_FAULT, 0);
    dbt_tlb_translate(v, mode, linear, checked);
    if (first_part(linear, size) < size)
        dbt_tlb_translate(v, mode, next_page(v, linear), checked);
}

static void copy_as(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, void *data, unsigned size, unsigned access)
{
    unsigned part = first_part(linear, size);

    probe_as(v, mode, linear, size, access);
    if (v->data_breakpoints)
        match_breakpoints(v, linear, size, access);
    copy_in_page(v, mode, linear, data, part, access);
    if (part < size)
        copy_in_page(v, mode, next_page(v, linear), (uint8_t *)data + part, size - part, access);
}

/* --- the public face --------------------------------------------------------------------------------------------------- */

uint64_t dbt_load_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    uint64_t value = 0;

    copy_as(v, v->tlb_mode, linear, &value, size, ACCESS_READ);
    return value;
}

void dbt_store_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, uint64_t value)
{
    copy_as(v, v->tlb_mode, linear, &value, size, ACCESS_WRITE);
}

void dbt_probe(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access)
{
    probe_as(v, v->tlb_mode, linear, size, access);
}

/* A locked operand that is no single piece of RAM can't be atomic on the host: everybody else stops for it. */
static bool is_locked(const struct dbt_vcpu *v, unsigned access)
{
    return access == (ACCESS_READ | ACCESS_WRITE) && v->op != NULL && (v->op->flags & OP_LOCK) && !v->trying;
}

void *dbt_access_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, void *bounce)
{
    const struct tlb_translation *t;
    const struct memory_region *region;

    probe_as(v, v->tlb_mode, linear, size, access);
    if (v->data_breakpoints)
        match_breakpoints(v, linear, size, access);
    if (first_part(linear, size) == size) {
        t = dbt_tlb_translate(v, v->tlb_mode, linear, (access & ACCESS_WRITE) ? ACCESS_WRITE : ACCESS_READ);
        region = memory_find(v->memory, t->physical);
        if (region != NULL && !((access & ACCESS_WRITE) && region->readonly)) {
            uint64_t physical = t->physical;
            uint8_t *host = page_in_host(v, region, physical, (access & ACCESS_WRITE) != 0) + (linear & 0xfff);

            if (access & ACCESS_WRITE) {
                prepare_store(v, region, physical);
                dbt_tlb_retag(v, v->tlb_mode, linear);
            }
            return host;
        }
    }
    if (is_locked(v, access))
        dbt_exclusive_begin(v);
    if (access & ACCESS_READ) {
        bool breakpoints = v->data_breakpoints;

        v->data_breakpoints = false; /* matched above, once for the whole access */
        copy_as(v, v->tlb_mode, linear, bounce, size, ACCESS_READ);
        v->data_breakpoints = breakpoints;
    }
    return bounce;
}

void dbt_access_end_slow(struct dbt_vcpu *v, uint64_t linear, unsigned size, unsigned access, const void *bounce)
{
    unsigned part = first_part(linear, size);

    copy_in_page(v, v->tlb_mode, linear, (uint8_t *)(uintptr_t)bounce, part, ACCESS_WRITE);
    if (part < size)
        copy_in_page(v, v->tlb_mode, next_page(v, linear), (uint8_t *)(uintptr_t)bounce + part, size - part, ACCESS_WRITE);
    if (is_locked(v, access))
        dbt_exclusive_end(v);
}

static enum tlb_mode mode_for(const struct dbt_vcpu *v, unsigned cpl)
{
    return cpl == 3 ? TLB_USER : TLB_SUPERVISOR;
}

uint64_t dbt_load_system(struct dbt_vcpu *v, uint64_t linear, unsigned size)
{
    uint64_t value = 0;

    copy_as(v, TLB_SUPERVISOR, linear, &value, size, ACCESS_READ);
    return value;
}

void dbt_store_system(struct dbt_vcpu *v, uint64_t linear, unsigned size, uint64_t value)
{
    copy_as(v, TLB_SUPERVISOR, linear, &value, size, ACCESS_WRITE);
}

uint64_t dbt_load_as(struct dbt_vcpu *v, unsigned cpl, uint64_t linear, unsigned size)
{
    uint64_t value = 0;

    copy_as(v, mode_for(v, cpl), linear, &value, size, ACCESS_READ);
    return value;
}

void dbt_store_as(struct dbt_vcpu *v, unsigned cpl, uint64_t linear, unsigned size, uint64_t value)
{
    copy_as(v, mode_for(v, cpl), linear, &value, size, ACCESS_WRITE);
}

uint64_t dbt_port_read(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
    uint64_t value;

    dbt_lockstep_before_device(v);
    v->statistics[STATISTIC_PORT]++;
    dbt_leave_guest(v);
    value = v->hooks->port_read(v->hooks->ctx, v->id, port, size);
    dbt_enter_guest(v);
    return truncate_to(value, size);
}

void dbt_port_write(struct dbt_vcpu *v, uint16_t port, unsigned size, uint64_t value)
{
    dbt_lockstep_before_device(v);
    v->statistics[STATISTIC_PORT]++;
    if (dbt_doorbell_ring(v->vm->doorbells, true, port, size, value))
        return;
    dbt_leave_guest(v);
    v->hooks->port_write(v->hooks->ctx, v->id, port, size, value);
    dbt_enter_guest(v);
}
