/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry checks: the code that asks for them, and the look at each translation that is entered. See entry_check.h. */
#include "engine/dbt/entry_check.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translate.h"
#include "memory/memory.h"
#include "x86/walk.h"

#define FLUSH_SLOTS 4096u /* of linear pages, power of two */
#define ANNOUNCED_NS INT64_C(2000000000) /* by then whoever has changed code must have said so, however busy the host is */

struct entry_check {
    uint64_t flushes;                  /* a number for each, from 1 on */
    uint64_t flush_of_all, flush[FLUSH_SLOTS]; /* the latest of everything; of pages with this number */
    uint64_t count;
    bool failed;
    char message[200];
};

struct checked_entry { /* in the memory of translations */
    const struct translation *entry;
    const struct translation *whole; /* whose code it leads into */
    const uint8_t *bytes;            /* from the entry on */
    unsigned size;
    uint64_t seen;                   /* the latest flush when its page was last found mapped as it should */
};

int dbt_entry_check_new(struct dbt_vcpu *v)
{
    v->entry_check = calloc(1, sizeof(*v->entry_check));
    return v->entry_check != NULL ? 0 : -ENOMEM;
}

void dbt_entry_check_free(struct dbt_vcpu *v)
{
    free(v->entry_check);
    v->entry_check = NULL;
}

bool dbt_entry_check_failed(const struct dbt_vcpu *v, struct exit *ret_exit)
{
    if (v->entry_check == NULL || !v->entry_check->failed)
        return false;
    *ret_exit = (struct exit){.kind = EXIT_ERROR};
    memcpy(ret_exit->message, v->entry_check->message, sizeof(v->entry_check->message));
    return true;
}

uint64_t dbt_entry_check_count(const struct dbt_vcpu *v)
{
    return v->entry_check != NULL ? v->entry_check->count : 0;
}

/* --- flushes ----------------------------------------------------------------------------------------------------------------- */

static uint64_t *flush_of(struct entry_check *c, uint64_t linear)
{
    return &c->flush[linear >> 12 & (FLUSH_SLOTS - 1)];
}

void dbt_entry_check_flush(struct dbt_vcpu *v, uint64_t page)
{
    struct entry_check *c = v->entry_check;

    c->flushes++;
    if (page == NO_PAGE)
        c->flush_of_all = c->flushes;
    else
        *flush_of(c, page) = c->flushes;
}

static bool flushed_since(struct entry_check *c, uint64_t linear, uint64_t seen)
{
    return c->flush_of_all > seen || *flush_of(c, linear) > seen;
}

/* --- what is checked ---------------------------------------------------------------------------------------------------------- */

/* NULL: as it should be. */
static const char *mapping_fault(struct dbt_vcpu *v, const struct checked_entry *e, uint64_t linear, uint64_t physical_page)
{
    const struct tlb_translation *t = &v->space->tlb[v->tlb_mode].translation[TLB_INDEX(linear)];
    struct x86_translation walked;

    if (dbt_tlb_find(v, v->tlb_mode, linear, ACCESS_EXECUTE))
        return t->physical == physical_page ? NULL : "the TLB has another page there";
    if (v->space->tlb[v->tlb_mode].ready && t->page == TLB_PAGE(linear))
        return "the TLB forbids execution there";
    if (!flushed_since(v->entry_check, linear, e->seen))
        return NULL;
    if (dbt_tlb_look(v, v->tlb_mode, linear, ACCESS_EXECUTE, &walked))
        return "there is nothing to execute there";
    return walked.physical == physical_page ? NULL : "another page is mapped there";
}

static const char *mappings_fault(struct dbt_vcpu *v, struct checked_entry *e)
{
    uint64_t linear = e->entry->linear, second = TLB_PAGE(linear) + 4096;
    const char *fault = mapping_fault(v, e, linear, TLB_PAGE(e->entry->physical));

    if (fault == NULL && e->whole->second_page != NO_PAGE)
        fault = mapping_fault(v, e, dbt_code64(v) ? second : (uint32_t)second, e->whole->second_page);
    if (fault == NULL)
        e->seen = v->entry_check->flushes;
    return fault;
}

static bool bytes_equal(const struct dbt_vcpu *v, const struct checked_entry *e)
{
    unsigned offset = (unsigned)(e->entry->physical & 0xfff), size = offset + e->size > 4096 ? 4096 - offset : e->size;
    const uint8_t *first = memory_pointer(v->memory, e->entry->physical, size);
    const uint8_t *second = size < e->size ? memory_pointer(v->memory, e->whole->second_page, e->size - size) : NULL;

    return (first == NULL || memcmp(first, e->bytes, size) == 0) &&
           (second == NULL || memcmp(second, e->bytes + size, e->size - size) == 0);
}

/* A device's store is there before its letter; one of another CPU behind it. */
static bool is_announced(const struct dbt_vcpu *v)
{
    int64_t end = host_monotonic_ns() + ANNOUNCED_NS;

    do {
        if (atomic_load(&v->mail_sent) != atomic_load(&v->mail_done))
            return true;
        sched_yield();
    } while (host_monotonic_ns() < end);
    return false;
}

static const char *fault_of(struct dbt_vcpu *v, struct checked_entry *e)
{
    const char *fault;

    if (!e->entry->valid)
        return "it is no longer valid";
    if (e->entry->mode != dbt_translation_mode(v))
        return "it was made for another mode";
    fault = mappings_fault(v, e);
    if (fault != NULL)
        return fault;
    return bytes_equal(v, e) || is_announced(v) ? NULL : "the code there has changed";
}

static uint64_t fail(struct dbt_vcpu *v, const struct checked_entry *e, const char *fault)
{
    struct entry_check *c = v->entry_check;

    c->failed = true;
    text_format(c->message, sizeof(c->message), "entry check: CPU %u, CPL %u, mode %x came to the translation of %llx at physical %llx "
                "for mode %x: %s", v->id, v->cpl, dbt_translation_mode(v), (unsigned long long)e->entry->linear,
                (unsigned long long)e->entry->physical, e->entry->mode, fault);
    if (v->hooks->notice != NULL)
        v->hooks->notice(v->hooks->ctx, c->message);
    v->gpr[GPR_RIP] = e->entry->linear;
    v->last_indirect = 0;
    dbt_set_attention(v, ATTENTION_INTERRUPT); /* the run loop looks at once */
    return CALL_LEAVE;
}

uint64_t dbt_translated_entered(struct dbt_vcpu *v, const void *data)
{
    struct checked_entry *e;
    const char *fault;

    memcpy(&e, data, sizeof(e));
    v->resume = (uint64_t)(uintptr_t)data + sizeof(e);
    if (v->trying) /* alone, found anew, and on copies */
        return CALL_NEXT;
    v->entry_check->count++;
    fault = fault_of(v, e);
    return fault == NULL ? CALL_NEXT : fail(v, e, fault);
}

/* --- the call ------------------------------------------------------------------------------------------------------------------ */

void dbt_emit_entry_check(struct translator *t, const struct translation *entry)
{
    const struct guest_instruction *last = &t->instruction[t->count - 1];
    struct checked_entry *e;
    unsigned offset;

    if (LIKELY(t->v->entry_check == NULL))
        return;
    offset = (uint32_t)(entry->linear - t->out->linear);
    e = dbt_translations_allocate(t->v, sizeof(*e));
    *e = (struct checked_entry){.entry = entry, .whole = t->out, .bytes = t->out->bytes + offset,
                                .size = (uint32_t)(last->next_rip - entry->linear), .seen = t->v->entry_check->flushes};
    dbt_emit_call_c(t, dbt_translations_trampolines(t->v)->entered);
    emit_bytes(&t->e, &e, sizeof(e));
}
