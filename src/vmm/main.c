/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry-vmm: one process, one VM. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "sandbox/sandbox.h"
#include "vmm/capabilities.h"
#include "vmm/control.h"
#include "vmm/cpu_tool.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/migrate.h"
#include "vmm/options.h"
#include "vmm/statistics.h"
#include "vmm/terminal.h"
#include "vmm/version.h"

struct signals {
    struct machine *machine;
    int fd;
    struct loop_source *source;
};

static void on_signal(void *ctx, unsigned events)
{
    struct signals *signals = ctx;
    struct signalfd_siginfo info;

    if (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        machine_exit(signals->machine, MACHINE_EXIT_SIGNAL + info.ssi_signo, false);
}

static void fill_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

/* Before any thread exists, so that all of them inherit it. */
static void block_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    fill_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int watch_signals(struct signals *signals, struct machine *machine, struct err *err)
{
    sigset_t set;
    int r;

    fill_set(&set);
    signals->machine = machine;
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    r = signals->fd < 0 ? -errno : loop_add(machine->loop, signals->fd, LOOP_READ, on_signal, signals, &signals->source);
    return r < 0 ? err_set(err, r, "cannot watch signals: %s", strerror(-r)) : 0;
}

static int complain(const struct err *err)
{
    terminal_restore();
    fprintf(stderr, "ferry: %s\n", err->message);
    return MACHINE_EXIT_BAD_INPUT;
}

/* What there is to say at the end. */
static void report(struct machine *machine)
{
    terminal_restore();
    pthread_mutex_lock(&machine->lock);
    if (machine->crash_message[0] != 0)
        fprintf(stderr, "ferry: %s\n", machine->crash_message);
    if (machine->config->stats)
        statistics_print(machine, stderr);
    pthread_mutex_unlock(&machine->lock);
}

/* The parts of a VM around its machine; run() ends them in order. */
struct vm {
    struct machine *machine;
    struct control *control;
    struct signals signals;
};

/* While the loop's thread waits for memory: what people must be able to do all the same. */
static void stand_in(void *ctx)
{
    struct vm *vm = ctx;
    struct signalfd_siginfo info;

    if (read(vm->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        machine_end_at_once(MACHINE_EXIT_SIGNAL + (int)info.ssi_signo);
    if (vm->control != NULL && control_stand_in(vm->control))
        machine_end_at_once(MACHINE_EXIT_POWER_OFF);
}

static int prepare(struct vm *vm, const struct vm_config *config, int64_t start_ns, struct err *err)
{
    int r = machine_new(config, start_ns, &vm->machine, err);

    if (r == 0 && config->load != NULL) {
        pthread_mutex_lock(&vm->machine->lock);
        r = machine_load(vm->machine, config->load, err);
        pthread_mutex_unlock(&vm->machine->lock);
    }
    if (r == 0 && config->control != NULL)
        r = control_new(vm->machine, config->control, &vm->control, err);
    if (r == 0)
        r = watch_signals(&vm->signals, vm->machine, err);
    if (r == 0)
        migrate_set_stand_in(vm->machine, stand_in, vm);
    if (r == 0)
        r = machine_start(vm->machine, err);
    if (r == 0 && config->incoming != NULL) { /* confined already, and so are the threads that it starts */
        pthread_mutex_lock(&vm->machine->lock);
        r = migrate_incoming(vm->machine, config->incoming, err);
        pthread_mutex_unlock(&vm->machine->lock);
    }
    return r;
}

static int run(const struct vm_config *config, int64_t start_ns)
{
    struct vm vm = {.signals.fd = -1};
    struct err err = ERR_INIT;
    int code;

    if (vm_config_check(config, &err) < 0 || prepare(&vm, config, start_ns, &err) < 0) {
        code = complain(&err);
    } else {
        code = machine_run(vm.machine);
        report(vm.machine);
    }
    if (vm.machine != NULL)
        migrate_set_stand_in(vm.machine, NULL, NULL);
    control_free(vm.control);
    if (vm.machine != NULL)
        loop_remove(vm.signals.source);
    fd_close(&vm.signals.fd);
    machine_free(vm.machine);
    return code;
}

int main(int argc, char *argv[])
{
    int64_t start_ns = host_monotonic_ns();
    enum options_result result;
    struct vm_config config;
    struct err err = ERR_INIT;
    int code = 0;

    if (argc > 1 && text_equal(argv[1], "cpu"))
        return cpu_tool(argc - 2, argv + 2, &err) < 0 ? complain(&err) : 0;
    /* Arenas of threads open files in /proc and /sys when it suits them, which the sandbox does not let them. */
    mallopt(M_ARENA_MAX, 1);
    terminal_guard();
    sandbox_report_violations(terminal_restore);
    block_signals();
    tzset(); /* reads its file now: the sandbox does not let a device's first gmtime_r() do so */
    if (options_parse(argc, argv, &config, &result, &err) < 0)
        code = complain(&err);
    else if (result == OPTIONS_HELP)
        options_print_help(stdout);
    else if (result == OPTIONS_VERSION)
        printf("%s %s\n", FERRY_PROGRAM, FERRY_VERSION);
    else if (result == OPTIONS_CAPABILITIES)
        capabilities_print(stdout);
    else
        code = run(&config, start_ns);
    vm_config_fini(&config);
    return code;
}
