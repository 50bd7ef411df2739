/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run loop of a vCPU: enters the guest, serves what it exits for, and lets other threads call it out.
 *
 * A kick is never lost: kicker: kicked = true, immediate_exit = 1, signal. KVM_RUN looks at immediate_exit after it has
 * finished the I/O of the last exit and before it enters the guest; from there on the signal ends it. The runner takes
 * immediate_exit back before it takes `kicked`, so whichever of the two a kick in between has set, the worst is one more
 * turn of the loop. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/text.h"
#include "engine/kvm/internal.h"

static void ignore_signal(int number)
{
}

/* The signal does nothing but end KVM_RUN, which is never restarted; other system calls are (SA_RESTART). */
static int kick_signal(void)
{
    return SIGRTMIN + 5;
}

static void install_kick_handler_once(void)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};

    sigaction(kick_signal(), &action, NULL);
}

void kvm_install_kick_handler(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_kick_handler_once);
}

static void prepare_thread(struct kvm_vcpu *vcpu)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    atomic_store(&vcpu->thread, (int)syscall(SYS_gettid));
}

static void set_immediate_exit(struct kvm_vcpu *vcpu, uint8_t value)
{
    __atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void kvm_vcpu_kick(struct engine_vcpu *base)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);
    int thread;

    atomic_store(&vcpu->kicked, true);
    set_immediate_exit(vcpu, 1);
    thread = atomic_load(&vcpu->thread);
    if (thread != 0 && thread != (int)syscall(SYS_gettid))
        syscall(SYS_tgkill, getpid(), thread, kick_signal());
}

static bool take_kick(struct kvm_vcpu *vcpu)
{
    set_immediate_exit(vcpu, 0);
    return atomic_exchange(&vcpu->kicked, false);
}

static void serve_port(struct kvm_vcpu *vcpu)
{
    const struct engine_hooks *hooks = &vcpu->vm->config.hooks;
    struct kvm_run *run = vcpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint64_t value = 0;

        if (run->io.direction == KVM_EXIT_IO_IN) {
            value = hooks->port_read(hooks->ctx, vcpu->id, run->io.port, run->io.size);
            memcpy(data, &value, run->io.size);
        } else {
            memcpy(&value, data, run->io.size);
            hooks->port_write(hooks->ctx, vcpu->id, run->io.port, run->io.size, value);
        }
    }
}

static void mmio_access(struct kvm_vcpu *vcpu, uint64_t address, uint8_t *data, unsigned size, bool is_write)
{
    const struct engine_hooks *hooks = &vcpu->vm->config.hooks;
    uint64_t value = 0;

    if (is_write) {
        memcpy(&value, data, size);
        hooks->mmio_write(hooks->ctx, vcpu->id, address, size, value);
    } else {
        value = hooks->mmio_read(hooks->ctx, vcpu->id, address, size);
        memcpy(data, &value, size);
    }
}

/* KVM tells of 1 to 8 bytes, also of 3 or 5 where an access crosses a page; hooks know powers of two. */
static void serve_mmio(struct kvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    unsigned left = run->mmio.len, offset = 0;

    if (run->mmio.is_write && memory_find(vcpu->vm->config.memory, run->mmio.phys_addr) != NULL)
        return; /* a store to ROM */
    while (left > 0 && offset < sizeof(run->mmio.data)) {
        unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;

        mmio_access(vcpu, run->mmio.phys_addr + offset, run->mmio.data + offset, size, run->mmio.is_write);
        offset += size;
        left -= size;
    }
}

static void finish(struct exit *exit, enum exit_kind kind)
{
    exit->kind = kind;
    exit->message[0] = 0;
}

__attribute__((format(printf, 2, 3))) static void fail(struct exit *exit, const char *format, ...)
{
    va_list arguments;

    exit->kind = EXIT_ERROR;
    va_start(arguments, format);
    vsnprintf(exit->message, sizeof(exit->message), format, arguments);
    va_end(arguments);
}

static void fail_internal(struct kvm_vcpu *vcpu, struct exit *exit)
{
    const struct kvm_run *run = vcpu->run;
    struct kvm_regs regs = {0};
    char bytes[3 * 15 + 1] = "unknown";

    kvm_ioctl(vcpu->fd, KVM_GET_REGS, &regs);
    if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
        fail(exit, "KVM stopped CPU %u at rip %#llx with internal error %u", vcpu->id, (unsigned long long)regs.rip,
             run->internal.suberror);
        return;
    }
    if (run->emulation_failure.ndata >= 1 + 2 &&
        (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
            text_format(bytes + 3 * i, 4, "%02x ", run->emulation_failure.insn_bytes[i]);
    fail(exit, "KVM cannot emulate CPU %u's instruction at rip %#llx (bytes %s): this host can't run this guest with "
               "--engine kvm, use --engine dbt",
         vcpu->id, (unsigned long long)regs.rip, bytes);
}

/* Serves one exit of the guest. True: the exit is for the caller. */
static bool serve(struct kvm_vcpu *vcpu, struct exit *exit)
{
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        vcpu->statistics.port_exits++;
        serve_port(vcpu);
        return false;
    case KVM_EXIT_MMIO:
        vcpu->statistics.mmio_exits++;
        serve_mmio(vcpu);
        return false;
    case KVM_EXIT_DIRTY_RING_FULL:
        vcpu->statistics.dirty_ring_full++;
        kvm_dirty_ring_harvest(vcpu->vm);
        return false;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return false;
    case KVM_EXIT_SHUTDOWN:
        finish(exit, EXIT_SHUTDOWN);
        return true;
    case KVM_EXIT_HLT:
        finish(exit, EXIT_HALT);
        return true;
    case KVM_EXIT_FAIL_ENTRY:
        fail(exit, "the host's CPU refuses CPU %u's state: entry failed with reason %#llx", vcpu->id,
             (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        return true;
    case KVM_EXIT_INTERNAL_ERROR:
        fail_internal(vcpu, exit);
        return true;
    default:
        fail(exit, "KVM stopped CPU %u for reason %u, which this engine does not know", vcpu->id, run->exit_reason);
        return true;
    }
}

/* One turn: enters the guest and serves its exit. True: *exit says why to return. */
static bool turn(struct kvm_vcpu *vcpu, struct exit *exit)
{
    int r = ioctl(vcpu->fd, KVM_RUN, NULL) < 0 ? -errno : 0;

    vcpu->statistics.runs++;
    if (r == 0)
        return serve(vcpu, exit);
    if (r == -EINTR) {
        if (!take_kick(vcpu))
            return false;
        vcpu->statistics.kicks++;
        finish(exit, EXIT_KICKED);
        return true;
    }
    if (r == -EAGAIN) /* an INIT or SIPI changed the state of a waiting CPU */
        return false;
    fail(exit, "KVM cannot run CPU %u: %s", vcpu->id, strerror(-r));
    return true;
}

void kvm_vcpu_run(struct engine_vcpu *base, struct exit *ret_exit)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);

    prepare_thread(vcpu);
    while (!turn(vcpu, ret_exit))
        ;
    atomic_store(&vcpu->thread, 0);
}
