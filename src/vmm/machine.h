/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One VM: its memory, engine, CPUs and board, and the states it goes through.
 *
 * Threads: the loop's thread owns the machine's life (machine_new, _run, _free and everything that waits); each vCPU has
 * its own. Devices and everything here are touched under `lock`, which a vCPU thread takes in the engine's hooks and
 * the loop takes around its callbacks. Whoever holds the lock may call machine_request(); pause, resume, reset and
 * save are the loop thread's alone. */
#ifndef FERRY_VMM_MACHINE_H
#define FERRY_VMM_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "bus/bus.h"
#include "engine/engine.h"
#include "event/timer.h"
#include "vmm/announce.h"
#include "vmm/fd_store.h"
#include "vmm/options.h"
#include "x86/cpuid.h"

struct board;
struct loop;
struct machine;

enum machine_status {
    MACHINE_PRELAUNCH, /* CPUs never ran */
    MACHINE_RUNNING,
    MACHINE_PAUSED,
    MACHINE_INMIGRATE,   /* waits for a guest from another host */
    MACHINE_HELD,        /* stands for the last part of its migration; "finish-migrate" */
    MACHINE_POSTMIGRATE, /* the guest runs on another host */
    MACHINE_SHUTDOWN,  /* powered off, ending */
    MACHINE_CRASHED,   /* ending */
};

/* What devices and people ask the machine for. */
enum machine_request {
    MACHINE_RESET = 1 << 0,     /* by the guest or by machine_request() */
    MACHINE_POWER_OFF = 1 << 1,
    MACHINE_CRASH = 1 << 2,     /* triple fault or engine error; the report is in crash_message */
    MACHINE_EXIT = 1 << 3,      /* exit_code is set: the test exit port, Ctrl-A x, a signal, quit */
};

enum machine_event {
    MACHINE_EVENT_STOP,
    MACHINE_EVENT_RESUME,
    MACHINE_EVENT_RESET,
    MACHINE_EVENT_POWERDOWN,
    MACHINE_EVENT_SHUTDOWN,
    MACHINE_EVENT_GUEST_PANICKED,
    MACHINE_EVENT_BALLOON_CHANGE,
    MACHINE_EVENT_DEVICE_DELETED, /* event_device says which */
    MACHINE_EVENT_MIGRATION,      /* migration_status */
    MACHINE_EVENT_MIGRATION_PASS, /* migration_round */
};

/* Exit codes of the process. */
enum { MACHINE_EXIT_POWER_OFF = 0, MACHINE_EXIT_BAD_INPUT = 2, MACHINE_EXIT_CRASH = 3, MACHINE_EXIT_SIGNAL = 128 };

struct machine_cpu {
    struct machine *machine;
    unsigned id;
    struct engine_vcpu *vcpu;
    pthread_t thread;
    pid_t thread_id;
    int64_t rest_ns; /* host_monotonic_ns() at which it is to rest again, if throttled */
    bool started; /* the thread exists */
    bool parked;  /* not inside the engine, and not going there while the machine does not run */
    bool halted;  /* halted for ever until INIT, NMI or a reset */
};

struct machine {
    const struct vm_config *config;
    pthread_mutex_t lock;
    pthread_cond_t parked;  /* a CPU parked */
    pthread_cond_t changed; /* status or `halted` changed: CPUs look again */
    struct loop *loop;
    struct clock clock;     /* runs while the CPUs do */
    struct timer_queue timers;
    struct memory *memory;
    struct bus bus;
    const struct engine_type *engine_type;
    char engine_why[256];   /* why auto chose this engine */
    struct engine_vm *vm;
    unsigned capabilities;  /* of the engine */
    uint64_t guest_clock_ns; /* kvmclock while the CPUs stand */
    uint64_t tsc[ENGINE_CPUS_MAX]; /* likewise */
    struct cpuid_table cpuid; /* of CPU 0 */
    struct machine_cpu cpu[ENGINE_CPUS_MAX];
    unsigned cpu_count;
    struct board *board;
    struct announce announce;
    bool announce_when_running; /* it has come to a new place, and has not run here yet */
    struct announce_parameters announce_after_move;
    bool stays_paused;          /* a guest that comes from elsewhere */
    struct migrate *migrate;
    unsigned throttle;      /* percent of each CPU's time that it rests */
    struct timer throttle_timer;
    int migration_status;     /* enum migration_status, and */
    unsigned migration_round; /* the round, while an event about it is sent */
    enum machine_status status;
    bool unusable;          /* a load failed half-way: only reset, load and quit are left */
    bool ending;            /* CPU threads leave */
    unsigned requests;      /* enum machine_request, waiting for the loop */
    bool request_deferred;
    bool balloon_deferred;     /* BALLOON_CHANGE is to be sent by the loop */
    bool by_guest;          /* who asked for the shutdown or reset, for events */
    int exit_code;
    char crash_message[4096];
    int64_t start_ns, run_ns; /* host_monotonic_ns() of the process's start and of the first guest instruction */
    void (*event)(void *ctx, enum machine_event event);
    void *event_ctx;
    bool confined;            /* the loop's thread is, and all that it starts */
    struct fd_store fds;      /* from the control socket */
    int next_fdset;
    const char *event_device; /* a removable device's name, while an event about it is sent */
};

/* Builds everything, up to CPUs that stand at their first instruction. On failure a sentence, and nothing left behind.
 * config outlives the machine. */
int machine_new(const struct vm_config *config, int64_t start_ns, struct machine **ret_machine, struct err *err);

/* Accepts NULL and half-built ones. */
void machine_free(struct machine *machine);

/* Starts the CPUs' threads, which wait, and confines all threads. */
int machine_start(struct machine *machine, struct err *err);

/* Serves the VM until it ends; returns the exit code. The lock is not held by the caller. */
int machine_run(struct machine *machine);

/* From any thread, lock held. Stops the CPUs at once and has the loop do the rest. */
void machine_request(struct machine *machine, enum machine_request request, bool by_guest);

/* MACHINE_EXIT with an exit code. From any thread, lock held. */
void machine_exit(struct machine *machine, int exit_code, bool by_guest);

/* While memory is missing: a CPU may wait for a page for ever, and with another in its place it must not go on for one
 * instruction. From any thread. */
void machine_end_at_once(int exit_code) __attribute__((noreturn));

/* Loop thread, lock held (given up while waiting for the CPUs). Both do nothing when already so, or the machine ends. */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);

/* For a migration; loop thread, lock held. hold: stops the guest if it runs, tells what it was before, and nothing but
 * machine_unhold() lets it go on; -EINVAL when the machine is ending or not here. unhold: MACHINE_RUNNING, or what else it is from
 * now on; from MACHINE_INMIGRATE too. */
int machine_hold(struct machine *machine, enum machine_status *ret_before);
void machine_unhold(struct machine *machine, enum machine_status status);

/* Whether any CPU has gone to 64-bit mode (EFER.LME). A guest that runs is stopped for the moment that it takes to look. Loop thread,
 * lock held. */
bool machine_in_long_mode(struct machine *machine);

/* Takes that much of each CPU's time away, in percent up to 99; 0: none. Loop thread, lock held. */
void machine_throttle(struct machine *machine, unsigned percent);

/* Loop thread, lock held: power-on state, kernel loaded again. */
int machine_reset(struct machine *machine, struct err *err);

/* Tells who listens (the control socket). Loop thread, lock held: other threads may not send. */
void machine_send_event(struct machine *machine, enum machine_event event);

/* A CPU that halted for ever looks again: INIT or NMI is on its way. Lock held. */
void machine_wake(struct machine *machine, unsigned cpu);

/* query-status's name. */
const char *machine_status_name(const struct machine *machine);

#endif
