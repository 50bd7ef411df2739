/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU threads: in and out of the engine, parked while the machine stands. */
#include "vmm/machine_cpu.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "boot/boot.h"
#include "event/loop.h"
#include "sandbox/sandbox.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "x86/cpuid.h"
#include "x86/cpuid_tsc.h"
#include "x86/cpuid_xsave.h"
#include "x86/state.h"

/* Describes a crash once: the first one counts. */
static void report_crash(struct machine_cpu *cpu, const char *what)
{
    struct machine *machine = cpu->machine;
    struct x86_state state;
    char registers[3000] = "";

    if (machine->crash_message[0] != 0)
        return;
    if (machine->engine_type->vcpu_get_state(cpu->vcpu, &state, NULL) == 0)
        x86_state_print(&state, registers, sizeof(registers));
    text_format(machine->crash_message, sizeof(machine->crash_message), "the guest crashed: CPU %u %s\n%s", cpu->id, what,
                registers);
}

static void handle_exit(struct machine_cpu *cpu, const struct exit *exit)
{
    char what[300];

    switch (exit->kind) {
    case EXIT_KICKED:
        return;
    case EXIT_HALT:
        cpu->halted = true;
        return;
    case EXIT_SHUTDOWN:
        report_crash(cpu, "had a triple fault");
        break;
    case EXIT_ERROR:
        text_format(what, sizeof(what), "can't go on: %s", exit->message);
        report_crash(cpu, what);
        break;
    }
    machine_request(cpu->machine, MACHINE_CRASH, true);
}

/* Waits until this CPU is to run; false: the thread is to end. */
static bool wait_to_run(struct machine_cpu *cpu)
{
    struct machine *machine = cpu->machine;

    while (!machine->ending && (machine->status != MACHINE_RUNNING || cpu->halted)) {
        if (!cpu->parked) {
            cpu->parked = true;
            pthread_cond_broadcast(&machine->parked);
        }
        pthread_cond_wait(&machine->changed, &machine->lock);
    }
    cpu->parked = false;
    return !machine->ending;
}

/* Before the first guest instruction. */
static void confine(struct machine_cpu *cpu)
{
    struct machine *machine = cpu->machine;
    struct err err = ERR_INIT;

    if (machine->config->no_sandbox || !sandbox_supported() || sandbox_enter(SANDBOX_CPU, &err) == 0)
        return;
    text_format(machine->crash_message, sizeof(machine->crash_message), "%s", err.message);
    machine_request(machine, MACHINE_CRASH, false);
}

bool machine_in_long_mode(struct machine *machine)
{
    bool running = machine->status == MACHINE_RUNNING, found = false;
    struct x86_state state;

    if (running) {
        machine->status = MACHINE_PAUSED;
        machine_cpus_park(machine);
    }
    for (unsigned i = 0; i < machine->cpu_count; i++)
        found |= machine->engine_type->vcpu_get_state(machine->cpu[i].vcpu, &state, NULL) < 0 || (state.msr.efer & X86_EFER_LME) != 0;
    if (running && machine->requests == 0) { /* what was asked for meanwhile finds it stopped */
        machine->status = MACHINE_RUNNING;
        pthread_cond_broadcast(&machine->changed);
    }
    return found;
}

/* A CPU runs for a slice, then rests for what its share of time leaves over. */
#define THROTTLE_SLICE_NS 10000000

static void rest(struct machine_cpu *cpu)
{
    struct machine *machine = cpu->machine;
    int64_t until = host_monotonic_ns() + THROTTLE_SLICE_NS * (int64_t)machine->throttle / (100 - machine->throttle);
    const struct timespec deadline = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};

    while (machine->throttle > 0 && machine->status == MACHINE_RUNNING && !machine->ending && host_monotonic_ns() < until)
        pthread_cond_clockwait(&machine->changed, &machine->lock, CLOCK_MONOTONIC, &deadline);
    cpu->rest_ns = host_monotonic_ns() + THROTTLE_SLICE_NS;
}

static void kick_tired(void *ctx)
{
    struct machine *machine = ctx;
    int64_t now = host_monotonic_ns();

    for (unsigned i = 0; i < machine->cpu_count; i++)
        if (!machine->cpu[i].parked && now >= machine->cpu[i].rest_ns)
            machine->engine_type->vcpu_kick(machine->cpu[i].vcpu);
    timer_set(&machine->throttle_timer, now + THROTTLE_SLICE_NS);
}

void machine_throttle(struct machine *machine, unsigned percent)
{
    machine->throttle = percent < 99 ? percent : 99;
    pthread_cond_broadcast(&machine->changed);
    if (percent == 0) {
        timer_cancel(&machine->throttle_timer);
    } else if (!machine->throttle_timer.armed) {
        timer_init(&machine->throttle_timer, loop_timers(machine->loop), kick_tired, machine);
        timer_set(&machine->throttle_timer, host_monotonic_ns());
    }
}

static void *cpu_thread(void *ctx)
{
    struct machine_cpu *cpu = ctx;
    struct machine *machine = cpu->machine;
    struct exit exit;
    char name[16];

    snprintf(name, sizeof(name), "cpu%u", cpu->id);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&machine->lock);
    cpu->thread_id = syscall(SYS_gettid);
    confine(cpu);
    while (wait_to_run(cpu)) {
        if (machine->run_ns == 0)
            machine->run_ns = host_monotonic_ns();
        pthread_mutex_unlock(&machine->lock);
        machine->engine_type->vcpu_run(cpu->vcpu, &exit);
        pthread_mutex_lock(&machine->lock);
        handle_exit(cpu, &exit);
        if (machine->throttle > 0 && exit.kind == EXIT_KICKED)
            rest(cpu);
    }
    cpu->parked = true;
    pthread_cond_broadcast(&machine->parked);
    pthread_mutex_unlock(&machine->lock);
    return NULL;
}

static int build_cpuid(struct machine *machine, struct cpuid_table *ret_table, struct err *err)
{
    struct cpuid_table supported;
    struct cpuid_request request = {
        .model = machine->config->cpu != NULL ? machine->config->cpu : "max",
        .supported = &supported,
        .cpus = machine->config->cpus,
        .tsc_khz = machine->engine_type->tsc_khz(machine->vm),
    };
    int r = machine->engine_type->supported_cpuid(&supported, err);

    return r < 0 ? r : cpuid_build(&request, ret_table, err);
}

int machine_cpus_new(struct machine *machine, struct err *err)
{
    int r = build_cpuid(machine, &machine->cpuid, err);

    for (unsigned i = 0; r == 0 && i < machine->config->cpus; i++) {
        struct machine_cpu *cpu = &machine->cpu[i];
        struct cpuid_table own = machine->cpuid;

        cpuid_for_cpu(&own, i);
        *cpu = (struct machine_cpu){.machine = machine, .id = i, .parked = true};
        r = machine->engine_type->vcpu_new(machine->vm, i, &own, &cpu->vcpu, err);
        if (r == 0)
            machine->cpu_count++;
    }
    return r;
}

int machine_cpus_start(struct machine *machine, struct err *err)
{
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        int r = -pthread_create(&machine->cpu[i].thread, NULL, cpu_thread, &machine->cpu[i]);

        if (r < 0)
            return err_set(err, r, "cannot start a thread for CPU %u: %s", i, strerror(-r));
        machine->cpu[i].started = true;
    }
    return 0;
}

#define PARK_LONG_NS NANOSECONDS_PER_SECOND /* a stop that takes longer is worth a line */

static void await_parked(struct machine_cpu *cpu, int64_t kicked_ns)
{
    struct machine *machine = cpu->machine;
    int64_t took_ns;

    if (!cpu->started || cpu->parked)
        return;
    while (!cpu->parked)
        pthread_cond_wait(&machine->parked, &machine->lock);
    took_ns = host_monotonic_ns() - kicked_ns;
    if (took_ns > PARK_LONG_NS)
        log_warning("CPU %u took %lld ms to stop: the host is overloaded, or it was in the middle of something long", cpu->id,
                    (long long)took_ns / 1000000);
}

void machine_cpus_park(struct machine *machine)
{
    int64_t now = host_monotonic_ns();

    pthread_cond_broadcast(&machine->changed);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        machine->engine_type->vcpu_kick(machine->cpu[i].vcpu);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        await_parked(&machine->cpu[i], now);
}

void machine_cpus_stop(struct machine *machine)
{
    pthread_mutex_lock(&machine->lock);
    machine->ending = true;
    machine_cpus_park(machine);
    pthread_mutex_unlock(&machine->lock);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (machine->cpu[i].started)
            pthread_join(machine->cpu[i].thread, NULL);
        machine->cpu[i].started = false;
    }
}

void machine_cpus_free(struct machine *machine)
{
    for (unsigned i = 0; i < machine->cpu_count; i++)
        machine->engine_type->vcpu_free(machine->cpu[i].vcpu);
    machine->cpu_count = 0;
}

void machine_cpus_stop_time(struct machine *machine)
{
    const struct engine_type *type = machine->engine_type;

    if (type->clock_get != NULL)
        type->clock_get(machine->vm, &machine->guest_clock_ns);
    type->tsc_get(machine->vm, machine->tsc);
}

void machine_cpus_start_time(struct machine *machine)
{
    const struct engine_type *type = machine->engine_type;

    if (type->clock_set != NULL)
        type->clock_set(machine->vm, machine->guest_clock_ns);
    type->tsc_set(machine->vm, machine->tsc);
}

/* Asked for by the command line; what two sides have measured of one frequency is no contradiction. */
static bool contradicts(uint32_t asked, uint32_t khz)
{
    return asked != 0 && !cpuid_tsc_is_within(khz, asked, CPUID_TSC_TOLERANCE_PPM);
}

int machine_cpus_set_tsc_khz(struct machine *machine, uint32_t khz, struct err *err)
{
    uint32_t asked = 0;
    int r;

    if (khz == machine->engine_type->tsc_khz(machine->vm))
        return 0;
    if (khz < CPUID_TSC_KHZ_MIN || khz > CPUID_TSC_KHZ_MAX)
        return err_set(err, -EBADMSG, "its time stamp counter runs at %u kHz, which none does", khz);
    if (machine->config->cpu != NULL)
        cpuid_model_tsc_khz(machine->config->cpu, &asked, NULL);
    if (contradicts(asked, khz))
        return err_set(err, -EINVAL,
                       "the VM's time stamp counter runs at %u kHz, and this side was started with tsc-frequency=%llu: leave that out, "
                       "or give tsc-frequency=%llu",
                       khz, asked * 1000ull, khz * 1000ull);
    r = machine->engine_type->tsc_set_khz(machine->vm, khz, err);
    if (r < 0)
        return r;
    cpuid_set_tsc_khz(&machine->cpuid, khz);
    board_set_tsc_khz(machine->board, khz);
    return 0;
}

int machine_cpus_set_xsave_layout(struct machine *machine, const struct cpuid_xsave_layout *layout, struct err *err)
{
    struct cpuid_table table = machine->cpuid;
    struct cpuid_xsave_layout own;
    int r = cpuid_set_xsave_layout(&table, layout, err);

    cpuid_get_xsave_layout(&machine->cpuid, &own);
    for (unsigned i = 2; r == 0 && i < X86_XSTATE_COMPONENTS; i++) {
        if (layout->offset[i] == 0 || own.offset[i] == 0 || layout->offset[i] == own.offset[i])
            continue;
        if (machine->engine_type->xsave_set_layout != NULL) {
            machine->engine_type->xsave_set_layout(machine->vm, layout);
            machine->cpuid = table;
            return 0;
        }
        return err_set(err, -ENOTSUP,
                       "the VM has XSAVE component %u at byte %u, and this host's processor has it at byte %u: use --engine dbt here", i,
                       layout->offset[i], own.offset[i]);
    }
    return r;
}

int machine_cpus_reset(struct machine *machine, const struct x86_state *bsp, struct err *err)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++) {
        struct x86_state state = {0};

        x86_state_reset(&state, false);
        boot_prepare_cpu(&state);
        machine->cpu[i].halted = false;
        r = machine->engine_type->vcpu_set_state(machine->cpu[i].vcpu, i == 0 ? bsp : &state, err);
        if (r < 0)
            err_prefix(err, "cannot reset CPU %u", i);
    }
    return r;
}
