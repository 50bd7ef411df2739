/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator engine behind the seam: making VMs and vCPUs, signals to them, the dirty log. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "engine/dbt/block.h"
#include "engine/dbt/clock.h"
#include "engine/dbt/cpuid.h"
#include "engine/dbt/decoded.h"
#include "engine/dbt/dbt.h"
#include "engine/dbt/doorbell.h"
#include "engine/dbt/entry_check.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/lockstep.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/mirror.h"
#include "engine/dbt/run.h"
#include "engine/dbt/state.h"
#include "engine/dbt/thunk.h"
#include "engine/dbt/options.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translation.h"
#include "engine/dbt/tsc.h"
#include "memory/memory.h"

#define BLOCK_ARENA_SIZE MIB(64) /* a vCPU's; touched only as far as it is filled */

static struct dbt_vm *vm_of(struct engine_vm *vm)
{
    return (struct dbt_vm *)vm;
}

static struct dbt_vcpu *vcpu_of(struct engine_vcpu *vcpu)
{
    return (struct dbt_vcpu *)vcpu;
}

/* --- the VM ---------------------------------------------------------------------------------------------------------- */

static void dbt_probe_host(struct engine_probe *ret_probe)
{
    *ret_probe = (struct engine_probe){.usable = true, .native = false, .instruction_ns_x1000 = 8000,
                                       .reason = "guest code is interpreted, which works on every host"};
}

/* A device wrote to a page with cached code. */
static void code_written(void *ctx, uint64_t address)
{
    dbt_mail_code_written(ctx, NULL, TLB_PAGE(address));
}

static void dbt_vm_free(struct engine_vm *engine_vm)
{
    struct dbt_vm *vm = vm_of(engine_vm);

    if (vm == NULL)
        return;
    vm->memory->code_written = NULL;
    fd_close(&vm->perf_map);
    dbt_doorbells_free(vm->doorbells);
    pthread_mutex_destroy(&vm->exclusive_lock);
    pthread_mutex_destroy(&vm->clock_lock);
    free(vm);
}

/* -errno. The name is one that others could guess: a link there is not followed. */
static int open_perf_map(void)
{
    char path[32];
    int fd;

    text_format(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : -errno;
}

static int dbt_vm_new(const struct engine_config *config, struct engine_vm **ret_vm, struct err *err)
{
    struct dbt_options options;
    struct dbt_vm *vm;
    int perf_map = -1;

    if (dbt_parse_options(config->options, &options, err) < 0)
        return -EINVAL;
    if (config->cpus == 0 || config->cpus > ENGINE_CPUS_MAX)
        return err_set(err, -EINVAL, "%u CPUs are not possible: 1 to %u are", config->cpus, ENGINE_CPUS_MAX);
    if (options.perf_map) {
        perf_map = open_perf_map();
        if (perf_map < 0)
            return err_set(err, perf_map, "engine dbt: /tmp/perf-%d.map can't be written: %s", (int)getpid(), strerror(-perf_map));
    }
    vm = calloc(1, sizeof(*vm));
    if (vm == NULL || dbt_doorbells_new(&vm->doorbells) < 0) {
        fd_close(&perf_map);
        free(vm);
        return err_set(err, -ENOMEM, "not enough memory for the VM");
    }
    vm->base.type = &dbt_engine_type;
    vm->memory = config->memory;
    vm->hooks = config->hooks;
    vm->cpus = config->cpus;
    vm->translate = options.translate;
    vm->exact_flags = options.exact_flags;
    vm->lockstep = options.lockstep;
    vm->entry_checks = options.entry_checks;
    vm->code_size = options.code_size;
    vm->mirror = options.lockstep != 0 ? MIRROR_OFF : options.mirror; /* trials go by the TLB, which leads to copies */
    vm->perf_map = perf_map;
    dbt_tsc_init(vm, config->tsc_khz);
    pthread_mutex_init(&vm->exclusive_lock, NULL);
    pthread_mutex_init(&vm->clock_lock, NULL);
    dbt_clock_set(vm, 0);
    vm->memory->code_written_ctx = vm;
    vm->memory->code_written = code_written;
    *ret_vm = &vm->base;
    return 0;
}

static unsigned dbt_capabilities(const struct engine_vm *vm)
{
    return ENGINE_IOEVENTFD | ENGINE_DIRTY_LOG | ENGINE_SINGLE_STEP;
}

/* --- vCPUs ------------------------------------------------------------------------------------------------------------- */

/* Translated code has no stack and RSP points to the vCPU: a signal that comes then puts its frame below it. */
#define SIGNAL_ROOM KIB(64)

static struct dbt_vcpu *allocate_vcpu(void)
{
    uint8_t *memory = aligned_alloc(64, SIGNAL_ROOM + align_up(sizeof(struct dbt_vcpu), 64));

    if (memory == NULL)
        return NULL;
    memset(memory + SIGNAL_ROOM, 0, sizeof(struct dbt_vcpu));
    return (struct dbt_vcpu *)(void *)(memory + SIGNAL_ROOM);
}

static void free_vcpu(struct dbt_vcpu *v)
{
    if (v != NULL)
        free((uint8_t *)v - SIGNAL_ROOM);
}

static void dbt_vcpu_free(struct engine_vcpu *vcpu)
{
    struct dbt_vcpu *v = vcpu_of(vcpu);

    if (v == NULL)
        return;
    v->vm->vcpu[v->id] = NULL;
    dbt_blocks_free(v);
    dbt_translations_free(v);
    dbt_lockstep_free(v);
    dbt_entry_check_free(v);
    dbt_mirror_free(v);
    dbt_thunks_free(v);
    dbt_decoded_free(v);
    dbt_tlb_free(v);
    free(v->mail);
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->wake);
    free_vcpu(v);
}

static void read_limits(struct dbt_vcpu *v)
{
    uint32_t sizes[4];

    cpuid_query(&v->cpuid, 0x80000008, 0, sizes);
    v->physical_bits = sizes[0] & 0xff;
    if (v->physical_bits < 32 || v->physical_bits > 52)
        v->physical_bits = 40;
    v->gigabyte_pages = dbt_cpuid_bit(v, 0x80000001, 0, CPUID_EDX, 26);
    dbt_xsave_take_layout(v);
}

static int dbt_vcpu_new(struct engine_vm *engine_vm, unsigned id, const struct cpuid_table *cpuid,
                        struct engine_vcpu **ret_vcpu, struct err *err)
{
    struct dbt_vm *vm = vm_of(engine_vm);
    struct dbt_vcpu *v = allocate_vcpu();
    struct x86_state *state = calloc(1, sizeof(*state));
    int r = -ENOMEM;

    if (v == NULL || state == NULL)
        goto fail;
    v->vectors_away = VECTORS_IN_MEMORY;
    v->base.type = &dbt_engine_type;
    v->vm = vm;
    v->id = id;
    v->memory = vm->memory;
    v->hooks = &vm->hooks;
    v->cpuid = *cpuid;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    read_limits(v);
    v->mail = calloc(1, sizeof(*v->mail));
    if (v->mail == NULL || dbt_tlb_new(v) < 0 || dbt_decoded_new(v) < 0 ||
        dbt_blocks_new(v, BLOCK_ARENA_SIZE) < 0)
        goto fail_built;
    r = dbt_thunks_new(v);
    if (r == 0 && vm->translate)
        r = dbt_translations_new(v, vm->code_size);
    if (r == 0 && vm->lockstep != 0)
        r = dbt_lockstep_new(v, vm->lockstep);
    if (r == 0 && vm->entry_checks)
        r = dbt_entry_check_new(v);
    if (r < 0)
        goto fail_built;
    dbt_fpu_trap_prepare();
    dbt_mirror_prepare();
    dbt_fpu_reset(v);
    x86_state_reset(state, id == 0);
    r = dbt_set_state(v, state, err);
    if (r < 0)
        goto fail_built;
    free(state);
    vm->vcpu[id] = v;
    *ret_vcpu = &v->base;
    return 0;
fail_built:
    dbt_vcpu_free(&v->base);
    v = NULL;
fail:
    free(state);
    free_vcpu(v);
    return err_set(err, r, "cannot make CPU %u: %s", id, strerror(-r));
}

static void dbt_vcpu_run(struct engine_vcpu *vcpu, struct exit *ret_exit)
{
    dbt_run(vcpu_of(vcpu), ret_exit);
}

static void signal_vcpu(struct dbt_vcpu *v, uint32_t attention)
{
    pthread_mutex_lock(&v->lock);
    dbt_set_attention(v, attention);
    pthread_cond_signal(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

static void dbt_vcpu_kick(struct engine_vcpu *vcpu)
{
    signal_vcpu(vcpu_of(vcpu), ATTENTION_KICK);
}

static int dbt_vcpu_get_state(struct engine_vcpu *vcpu, struct x86_state *ret_state, struct err *err)
{
    dbt_get_state(vcpu_of(vcpu), ret_state);
    return 0;
}

static int dbt_vcpu_set_state(struct engine_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    struct dbt_vcpu *v = vcpu_of(vcpu);
    int r = dbt_set_state(v, state, err);

    if (r < 0)
        return r;
    dbt_tlb_flush_all(v);
    dbt_debug_changed(v);
    return 0;
}

static uint64_t dbt_vcpu_tsc(struct engine_vcpu *vcpu)
{
    return dbt_tsc(vcpu_of(vcpu));
}

static void dbt_vcpu_set_interrupt(struct engine_vcpu *vcpu, bool level)
{
    struct dbt_vcpu *v = vcpu_of(vcpu);

    atomic_store(&v->interrupt_line, level);
    if (level)
        signal_vcpu(v, ATTENTION_INTERRUPT);
}

static void dbt_vcpu_init(struct engine_vcpu *vcpu)
{
    signal_vcpu(vcpu_of(vcpu), ATTENTION_INIT);
}

static void dbt_vcpu_sipi(struct engine_vcpu *vcpu, uint8_t vector)
{
    struct dbt_vcpu *v = vcpu_of(vcpu);

    pthread_mutex_lock(&v->lock);
    v->sipi_vector = vector;
    pthread_mutex_unlock(&v->lock);
    signal_vcpu(v, ATTENTION_SIPI);
}

static void dbt_vcpu_nmi(struct engine_vcpu *vcpu)
{
    struct dbt_vcpu *v = vcpu_of(vcpu);

    pthread_mutex_lock(&v->lock);
    if (atomic_load(&v->nmi_sent) < 2)
        atomic_fetch_add(&v->nmi_sent, 1);
    pthread_mutex_unlock(&v->lock);
    signal_vcpu(v, ATTENTION_NMI);
}

/* --- doorbells, dirty log, clock, counters -------------------------------------------------------------------------------- */

static int add_doorbell(struct engine_vm *vm, const struct engine_doorbell *doorbell)
{
    return dbt_doorbell_add(vm_of(vm)->doorbells, doorbell);
}

static int remove_doorbell(struct engine_vm *vm, const struct engine_doorbell *doorbell)
{
    return dbt_doorbell_remove(vm_of(vm)->doorbells, doorbell);
}

static int dbt_dirty_start(struct engine_vm *engine_vm, struct err *err)
{
    struct dbt_vm *vm = vm_of(engine_vm);

    memory_dirty_start(vm->memory);
    dbt_mail_protect_all(vm);
    return 0;
}

/* The bits are taken first, then every CPU gives its write tags up: a store in between is still seen by whoever reads the
 * page after this returns, and each later one sets its bit again. */
static int dbt_dirty_fetch(struct engine_vm *engine_vm, uint64_t *ret_bitmap, uint64_t *ret_pages, struct err *err)
{
    struct dbt_vm *vm = vm_of(engine_vm);

    *ret_pages = memory_dirty_fetch(vm->memory, ret_bitmap);
    dbt_mail_protect_all(vm);
    return 0;
}

static void dbt_dirty_stop(struct engine_vm *engine_vm)
{
    memory_dirty_stop(vm_of(engine_vm)->memory);
}

static int dbt_clock_get_ns(struct engine_vm *vm, uint64_t *ret_ns)
{
    *ret_ns = dbt_clock_get(vm_of(vm));
    return 0;
}

static int dbt_clock_set_ns(struct engine_vm *engine_vm, uint64_t ns)
{
    struct dbt_vm *vm = vm_of(engine_vm);

    dbt_clock_set(vm, ns);
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL)
            dbt_clock_update(vm->vcpu[i]);
    return 0;
}

static void dbt_print_statistics(struct engine_vm *engine_vm, char *out, size_t size)
{
    static const char *const names[STATISTIC_COUNT] = {
        "blocks-run", "blocks-decoded", "instructions-decoded", "cache-drops", "code-invalidations", "jump-misses",
        "tlb-misses", "tlb-misses-by-writes", "tlb-misses-by-fetches", "tlb-flushes", "mmio-accesses",
        "port-accesses", "interrupts", "exceptions", "halts",
        "translations", "instructions-translated", "translations-entered", "links-made", "instructions-interpreted-in-translations",
        "accesses-by-helper", "spaces-mirrored", "pages-mirrored", "mirror-faults"};
    const struct dbt_vm *vm = vm_of(engine_vm);
    size_t used = strnlen(out, size), code = 0, private = 0;

    for (unsigned i = 0; i < vm->cpus; i++) {
        const struct dbt_vcpu *v = vm->vcpu[i];

        code += v != NULL ? dbt_translations_code_used(v) : 0;
        private += v != NULL ? dbt_blocks_used(v) + dbt_thunks_used(v) : 0;
        private += v != NULL ? dbt_decoded_used(v) + dbt_translations_memory_used(v) : 0;
    }
    text_format(out + used, size - used, "code-cache-bytes %zu\ncode-cache-private-bytes %zu\n", code + private, private);
    used += strnlen(out + used, size - used);
    for (unsigned n = 0; n < STATISTIC_COUNT; n++) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < vm->cpus; i++)
            sum += vm->vcpu[i] != NULL ? vm->vcpu[i]->statistics[n] : 0;
        text_format(out + used, size - used, "%s %llu\n", names[n], (unsigned long long)sum);
        used += strnlen(out + used, size - used);
    }
}

static int supported_cpuid(struct cpuid_table *ret_table, struct err *err)
{
    struct cpuid_table host;

    cpuid_host(&host);
    dbt_cpuid_offered(&host, ret_table);
    return 0;
}

const struct engine_type dbt_engine_type = {
    .name = "dbt",
    .probe = dbt_probe_host,
    .supported_cpuid = supported_cpuid,
    .vm_new = dbt_vm_new,
    .vm_free = dbt_vm_free,
    .capabilities = dbt_capabilities,
    .host_tsc = dbt_host_tsc,
    .tsc_khz = dbt_tsc_khz,
    .tsc_set_khz = dbt_tsc_set_khz,
    .tsc_get = dbt_tsc_get,
    .tsc_set = dbt_tsc_set,
    .xsave_set_layout = dbt_xsave_set_layout,
    .vcpu_new = dbt_vcpu_new,
    .vcpu_free = dbt_vcpu_free,
    .vcpu_run = dbt_vcpu_run,
    .vcpu_kick = dbt_vcpu_kick,
    .vcpu_get_state = dbt_vcpu_get_state,
    .vcpu_set_state = dbt_vcpu_set_state,
    .vcpu_tsc = dbt_vcpu_tsc,
    .vcpu_set_interrupt = dbt_vcpu_set_interrupt,
    .vcpu_init = dbt_vcpu_init,
    .vcpu_sipi = dbt_vcpu_sipi,
    .vcpu_nmi = dbt_vcpu_nmi,
    .doorbell_add = add_doorbell,
    .doorbell_remove = remove_doorbell,
    .dirty_start = dbt_dirty_start,
    .dirty_fetch = dbt_dirty_fetch,
    .dirty_stop = dbt_dirty_stop,
    .clock_get = dbt_clock_get_ns,
    .clock_set = dbt_clock_set_ns,
    .print_statistics = dbt_print_statistics,
};
