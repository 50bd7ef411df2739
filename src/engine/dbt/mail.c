/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between the vCPUs of a VM. See mail.h. */
#include "engine/dbt/mail.h"

#include <sched.h>

#include "engine/dbt/block.h"
#include "engine/dbt/tlb.h"

static void add_page(uint64_t *list, unsigned *count, bool *all, uint64_t page)
{
    for (unsigned i = 0; i < *count; i++)
        if (list[i] == page)
            return;
    if (page == UINT64_MAX || *count == MAIL_PAGES_MAX)
        *all = true;
    else
        list[(*count)++] = page;
}

static uint64_t post(struct dbt_vcpu *v, uint64_t page, bool written)
{
    struct dbt_mail *mail = v->mail;
    uint64_t number;

    pthread_mutex_lock(&v->lock);
    if (written)
        add_page(mail->written, &mail->written_count, &mail->all_written, page);
    else
        add_page(mail->protect, &mail->protect_count, &mail->all_protect, page);
    number = atomic_fetch_add(&v->mail_sent, 1) + 1;
    dbt_set_attention(v, ATTENTION_MAIL);
    pthread_mutex_unlock(&v->lock);
    return number;
}

void dbt_mail_code_written(struct dbt_vm *vm, const struct dbt_vcpu *except, uint64_t page)
{
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL && vm->vcpu[i] != except)
            post(vm->vcpu[i], page, true);
}

void dbt_mail_protect(struct dbt_vm *vm, const struct dbt_vcpu *except, uint64_t page)
{
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL && vm->vcpu[i] != except)
            post(vm->vcpu[i], page, false);
}

static void wait_for(const struct dbt_vcpu *v, uint64_t number)
{
    for (unsigned spins = 0; atomic_load(&v->in_guest) && atomic_load(&v->mail_done) < number; spins++)
        if (spins > 100)
            sched_yield();
}

void dbt_mail_protect_all(struct dbt_vm *vm)
{
    uint64_t number[ENGINE_CPUS_MAX];

    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL)
            number[i] = post(vm->vcpu[i], UINT64_MAX, false);
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL)
            wait_for(vm->vcpu[i], number[i]);
}

void dbt_mail_take(struct dbt_vcpu *v)
{
    struct dbt_mail mail;
    uint64_t number;

    pthread_mutex_lock(&v->lock);
    mail = *v->mail;
    *v->mail = (struct dbt_mail){0};
    number = atomic_load(&v->mail_sent);
    atomic_fetch_and(&v->attention, ~(uint32_t)ATTENTION_MAIL);
    pthread_mutex_unlock(&v->lock);

    if (mail.all_protect)
        dbt_tlb_protect_all(v);
    for (unsigned i = 0; i < mail.protect_count && !mail.all_protect; i++)
        dbt_tlb_protect_page(v, mail.protect[i]);
    if (mail.all_written)
        dbt_blocks_clear(v);
    for (unsigned i = 0; i < mail.written_count && !mail.all_written; i++)
        dbt_blocks_invalidate_page(v, mail.written[i]);
    atomic_store(&v->mail_done, number);
}

void dbt_leave_guest(struct dbt_vcpu *v)
{
    atomic_store(&v->in_guest, false);
}

/* Either we see that somebody is exclusive, or he sees that we are in guest code and waits. */
void dbt_exclusive_let_pass(struct dbt_vcpu *v)
{
    const struct dbt_vcpu *owner = atomic_load(&v->vm->exclusive);

    while (UNLIKELY(owner != NULL && owner != v)) {
        dbt_leave_guest(v);
        pthread_mutex_lock(&v->vm->exclusive_lock);
        pthread_mutex_unlock(&v->vm->exclusive_lock);
        atomic_store(&v->in_guest, true);
        owner = atomic_load(&v->vm->exclusive);
    }
}

void dbt_exclusive_begin(struct dbt_vcpu *v)
{
    struct dbt_vm *vm = v->vm;

    dbt_leave_guest(v); /* whoever is exclusive now, or waits for our answer, need not wait for us */
    pthread_mutex_lock(&vm->exclusive_lock);
    atomic_store(&vm->exclusive, v);
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct dbt_vcpu *other = vm->vcpu[i];

        if (other == NULL || other == v)
            continue;
        dbt_set_attention(other, ATTENTION_MAIL);
        while (atomic_load(&other->in_guest))
            sched_yield();
    }
    dbt_enter_guest(v);
}

void dbt_exclusive_end(struct dbt_vcpu *v)
{
    atomic_store(&v->vm->exclusive, NULL);
    pthread_mutex_unlock(&v->vm->exclusive_lock);
}

void dbt_enter_guest(struct dbt_vcpu *v)
{
    atomic_store(&v->in_guest, true);
    dbt_exclusive_let_pass(v);
    if (LIKELY(atomic_load(&v->attention) == 0))
        return;
    if (atomic_load(&v->attention) & ATTENTION_MAIL)
        dbt_mail_take(v);
    if (v->op != NULL)
        dbt_end_block(v); /* a kick from inside a hook takes effect before another instruction */
}
