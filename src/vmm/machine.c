/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One VM's life: building it, pausing, resetting and ending it. */
#include "vmm/machine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "boot/boot.h"
#include "event/loop.h"
#include "memory/memory.h"
#include "sandbox/sandbox.h"
#include "vmm/board.h"
#include "vmm/machine_cpu.h"
#include "vmm/migrate.h"
#include "vmm/terminal.h"
#include "x86/cpuid_tsc.h"
#include "x86/state.h"

void machine_send_event(struct machine *machine, enum machine_event event)
{
    if (machine->event != NULL)
        machine->event(machine->event_ctx, event);
}

/* The loop computed its sleep from a clock that has just been stopped or started. */
static void timers_moved(struct machine *machine)
{
    if (machine->timers.changed != NULL)
        machine->timers.changed(machine->timers.changed_ctx);
}

static void stand_still(struct machine *machine, enum machine_status status)
{
    machine->status = status;
    machine_cpus_park(machine);
    board_set_running(machine->board, false);
    machine_cpus_stop_time(machine);
    clock_stop(&machine->clock);
    timers_moved(machine);
}

static void serve_requests(void *ctx);

/* What was asked for earlier comes first. */
static void serve_pending(struct machine *machine)
{
    if (machine->requests != 0)
        serve_requests(machine);
}

void machine_pause(struct machine *machine)
{
    serve_pending(machine);
    if (machine->status != MACHINE_RUNNING)
        return;
    stand_still(machine, MACHINE_PAUSED);
    machine_send_event(machine, MACHINE_EVENT_STOP);
}

void machine_resume(struct machine *machine)
{
    bool first;

    serve_pending(machine);
    first = machine->status == MACHINE_PRELAUNCH;
    if ((!first && machine->status != MACHINE_PAUSED) || machine->unusable)
        return;
    machine_cpus_start_time(machine);
    machine->status = MACHINE_RUNNING;
    clock_start(&machine->clock);
    timers_moved(machine);
    board_set_running(machine->board, true);
    pthread_cond_broadcast(&machine->changed);
    if (!first)
        machine_send_event(machine, MACHINE_EVENT_RESUME);
    if (machine->announce_when_running)
        machine_announce(machine, &machine->announce_after_move, NULL);
    machine->announce_when_running = false;
}

int machine_hold(struct machine *machine, enum machine_status *ret_before)
{
    serve_pending(machine);
    if (machine->status > MACHINE_PAUSED)
        return -EINVAL;
    *ret_before = machine->status;
    stand_still(machine, MACHINE_HELD);
    if (*ret_before == MACHINE_RUNNING)
        machine_send_event(machine, MACHINE_EVENT_STOP);
    return 0;
}

void machine_unhold(struct machine *machine, enum machine_status status)
{
    if (machine->status != MACHINE_HELD && machine->status != MACHINE_INMIGRATE)
        return;
    machine->status = status == MACHINE_RUNNING ? MACHINE_PAUSED : status;
    if (status == MACHINE_RUNNING)
        machine_resume(machine);
}

void machine_wake(struct machine *machine, unsigned cpu)
{
    machine->cpu[cpu].halted = false;
    pthread_cond_broadcast(&machine->changed);
}

/* Loads the kernel and puts everything into its state before the first instruction. */
static int power_on(struct machine *machine, struct err *err)
{
    const struct boot_config boot = {
        .kernel = machine->config->kernel,
        .kernel_fd = machine->config->kernel_fd,
        .initrd = machine->config->initrd,
        .initrd_fd = machine->config->initrd_fd,
        .cmdline = machine->config->append,
        .cpus = machine->config->cpus,
    };
    struct x86_state bsp = {0};
    int r = boot_load(&boot, machine->memory, &bsp, err);

    if (r == 0)
        r = machine_cpus_reset(machine, &bsp, err);
    if (r == 0)
        r = board_reset(machine->board, err);
    return r;
}

int machine_reset(struct machine *machine, struct err *err)
{
    bool running = machine->status == MACHINE_RUNNING;
    int r;

    if (running)
        stand_still(machine, MACHINE_PAUSED);
    r = power_on(machine, err);
    if (r < 0)
        return r;
    machine->unusable = false;
    machine_send_event(machine, MACHINE_EVENT_RESET);
    if (running) {
        machine->status = MACHINE_PRELAUNCH; /* nothing of the guest's time is left to restore */
        machine_resume(machine);
    }
    return 0;
}

static void end(struct machine *machine, enum machine_status status, int exit_code)
{
    stand_still(machine, status);
    machine->exit_code = exit_code;
    if (status == MACHINE_CRASHED)
        machine_send_event(machine, MACHINE_EVENT_GUEST_PANICKED);
    machine_send_event(machine, MACHINE_EVENT_SHUTDOWN);
    loop_quit(machine->loop);
}

static void serve_reset(struct machine *machine)
{
    struct err err = ERR_INIT;

    if (machine->config->no_reboot) {
        end(machine, MACHINE_SHUTDOWN, MACHINE_EXIT_POWER_OFF);
        return;
    }
    machine->status = MACHINE_RUNNING;
    if (machine_reset(machine, &err) < 0) {
        snprintf(machine->crash_message, sizeof(machine->crash_message), "cannot reset the VM: %s", err.message);
        end(machine, MACHINE_CRASHED, MACHINE_EXIT_CRASH);
    }
}

void machine_end_at_once(int exit_code)
{
    terminal_restore();
    _exit(exit_code);
}

static void serve_requests(void *ctx)
{
    struct machine *machine = ctx;
    unsigned requests = machine->requests;

    machine->requests = 0;
    machine->request_deferred = false;
    if (machine->status >= MACHINE_SHUTDOWN)
        return;
    if ((requests & MACHINE_EXIT) != 0 && migrate_lacks_memory(machine))
        machine_end_at_once(machine->exit_code);
    machine_cpus_park(machine);
    if ((requests & MACHINE_EXIT) != 0)
        end(machine, MACHINE_SHUTDOWN, machine->exit_code);
    else if ((requests & MACHINE_CRASH) != 0)
        end(machine, MACHINE_CRASHED, MACHINE_EXIT_CRASH);
    else if ((requests & MACHINE_POWER_OFF) != 0)
        end(machine, MACHINE_SHUTDOWN, MACHINE_EXIT_POWER_OFF);
    else if ((requests & MACHINE_RESET) != 0 && machine->status <= MACHINE_PAUSED)
        serve_reset(machine);
}

void machine_request(struct machine *machine, enum machine_request request, bool by_guest)
{
    if (machine->requests == 0)
        machine->by_guest = by_guest;
    machine->requests |= request;
    if (machine->request_deferred)
        return;
    machine->request_deferred = loop_defer(machine->loop, serve_requests, machine) == 0;
    /* The instruction that asked is the guest's last one. */
    if (machine->status == MACHINE_RUNNING)
        machine->status = MACHINE_PAUSED;
    for (unsigned i = 0; i < machine->cpu_count; i++)
        machine->engine_type->vcpu_kick(machine->cpu[i].vcpu);
}

void machine_exit(struct machine *machine, int exit_code, bool by_guest)
{
    if ((machine->requests & MACHINE_EXIT) == 0 && machine->status < MACHINE_SHUTDOWN)
        machine->exit_code = exit_code;
    machine_request(machine, MACHINE_EXIT, by_guest);
}

static int make_loop(struct machine *machine, struct err *err)
{
    int r = loop_new(&machine->loop);

    if (r < 0)
        return err_set(err, r, "cannot make an event loop: %s", strerror(-r));
    loop_set_lock(machine->loop, &machine->lock);
    clock_init_stopped(&machine->clock, 0);
    timer_queue_init(&machine->timers, &machine->clock);
    r = loop_attach_timers(machine->loop, &machine->timers);
    return r < 0 ? err_set(err, r, "cannot make the VM's timers: %s", strerror(-r)) : 0;
}

static int make_engine(struct machine *machine, struct err *err)
{
    struct engine_config engine = {
        .cpus = machine->config->cpus,
        .use_irqchip = true,
        .options = machine->config->engine_options,
    };
    int r = engine_choose(machine->config->engine, &machine->engine_type, machine->engine_why,
                          sizeof(machine->engine_why), err);

    if (r == 0 && machine->config->cpu != NULL)
        r = cpuid_model_tsc_khz(machine->config->cpu, &engine.tsc_khz, err);
    if (r == 0)
        r = memory_new(&machine->memory, err);
    if (r == 0)
        r = board_add_memory(machine, err);
    if (r < 0)
        return r;
    engine.memory = machine->memory;
    board_fill_hooks(machine, &engine.hooks);
    r = machine->engine_type->vm_new(&engine, &machine->vm, err);
    if (r == 0)
        machine->capabilities = machine->engine_type->capabilities(machine->vm);
    return r;
}

static int build(struct machine *machine, struct err *err)
{
    int r = make_loop(machine, err);

    if (r == 0)
        r = make_engine(machine, err);
    if (r == 0)
        r = machine_cpus_new(machine, err);
    if (r == 0)
        r = board_new(machine, &machine->board, err);
    if (r == 0)
        r = migrate_new(machine, err);
    if (r == 0 && machine->config->load == NULL && machine->config->incoming == NULL)
        r = power_on(machine, err);
    return r;
}

int machine_new(const struct vm_config *config, int64_t start_ns, struct machine **ret_machine, struct err *err)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    int r;

    if (machine == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    machine->config = config;
    machine->status = config->incoming != NULL ? MACHINE_INMIGRATE : MACHINE_PRELAUNCH;
    machine->stays_paused = config->paused;
    fd_store_init(&machine->fds);
    machine->start_ns = start_ns;
    pthread_mutex_init(&machine->lock, NULL);
    pthread_cond_init(&machine->parked, NULL);
    pthread_cond_init(&machine->changed, NULL);
    pthread_mutex_lock(&machine->lock);
    r = build(machine, err);
    pthread_mutex_unlock(&machine->lock);
    if (r < 0)
        machine_free(machine);
    else
        *ret_machine = machine;
    return r;
}

void machine_free(struct machine *machine)
{
    if (machine == NULL)
        return;
    migrate_free(machine->migrate);
    machine_cpus_stop(machine);
    pthread_mutex_lock(&machine->lock);
    board_free(machine->board);
    pthread_mutex_unlock(&machine->lock);
    machine_cpus_free(machine);
    if (machine->vm != NULL)
        machine->engine_type->vm_free(machine->vm);
    memory_free(machine->memory);
    loop_free(machine->loop);
    fd_store_fini(&machine->fds);
    pthread_cond_destroy(&machine->changed);
    pthread_cond_destroy(&machine->parked);
    pthread_mutex_destroy(&machine->lock);
    free(machine);
}

int machine_start(struct machine *machine, struct err *err)
{
    int r = machine_cpus_start(machine, err);

    if (r == 0 && !machine->config->no_sandbox && sandbox_supported())
        r = sandbox_enter(SANDBOX_LOOP, err);
    machine->confined = true;
    return r;
}

int machine_run(struct machine *machine)
{
    int r;

    pthread_mutex_lock(&machine->lock);
    if (!machine->config->paused)
        machine_resume(machine);
    pthread_mutex_unlock(&machine->lock);
    r = loop_run(machine->loop);
    if (r < 0 && machine->crash_message[0] == 0) {
        snprintf(machine->crash_message, sizeof(machine->crash_message), "the event loop failed: %s", strerror(-r));
        return MACHINE_EXIT_CRASH;
    }
    return machine->exit_code;
}

const char *machine_status_name(const struct machine *machine)
{
    static const char *const names[] = {
        [MACHINE_PRELAUNCH] = "prelaunch", [MACHINE_RUNNING] = "running",     [MACHINE_PAUSED] = "paused",
        [MACHINE_INMIGRATE] = "inmigrate", [MACHINE_HELD] = "finish-migrate", [MACHINE_POSTMIGRATE] = "postmigrate",
        [MACHINE_SHUTDOWN] = "shutdown",   [MACHINE_CRASHED] = "guest-panicked",
    };

    return names[machine->status];
}
