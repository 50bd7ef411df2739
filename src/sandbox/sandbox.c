/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Seccomp filters, one table a thread role. */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"

/* A system call, and why it is needed. */
struct rule {
    int call;
    const char *reason;
    bool masked;              /* only when argument 1 & mask == value */
    uint64_t mask, value;
};

#define RULE(name, why) {.call = SCMP_SYS(name), .reason = (why)}
#define RULE_IF(name, why, mask_, value_) \
    {.call = SCMP_SYS(name), .reason = (why), .masked = true, .mask = (mask_), .value = (value_)}

/* What every thread needs. */
static const struct rule common_rules[] = {
    RULE(futex, "locks and conditions"),
    RULE(read, "eventfds, timerfds, images, the terminal"),
    RULE(write, "eventfds, the serial port"),
    RULE(readv, "frames and images"),
    RULE(writev, "frames and images"),
    RULE(poll, "whether the serial port takes output"),
    RULE(ppoll, "the same"),
    RULE(mmap, "malloc, the translator's cache"),
    RULE(munmap, "the same"),
    RULE(mremap, "the same"),
    RULE(mprotect, "the same"),
    RULE(madvise, "malloc, memory that the guest gave up"),
    RULE(brk, "malloc"),
    RULE(rt_sigprocmask, "kicks of CPU threads"),
    RULE(rt_sigreturn, "return from a kick"),
    RULE(rt_sigtimedwait, "taking a kick that came outside of the guest"),
    RULE(tgkill, "kicking a CPU thread; abort()"),
    RULE(gettid, "abort(), kicks"),
    RULE(getpid, "the same"),
    RULE(clock_gettime, "time, where the vDSO can't tell it"),
    RULE(gettimeofday, "the same"),
    RULE(clock_nanosleep, "waiting"),
    RULE(nanosleep, "the same"),
    RULE(sched_yield, "spinning"),
    RULE(getrandom, "the guest's entropy device"),
    RULE(restart_syscall, "waits that a signal interrupted"),
    RULE(rseq, "the C library, per thread"),
    RULE(set_robust_list, "the same"),
    RULE(sigaltstack, "the same"),
    RULE(membarrier, "translated code that changes under another CPU"),
    RULE(fcntl, "files set (back) to blocking or not"),
    RULE(exit, "end of a thread"),
    RULE(exit_group, "end of the process"),
    /* Devices are touched by whichever thread has the machine lock. */
    RULE(timerfd_settime, "device timers"),
    RULE(epoll_ctl, "backends that wait"),
    RULE(io_uring_enter, "disk requests"),
    RULE(pread64, "images without io_uring"),
    RULE(pwrite64, "the same"),
    RULE(preadv, "the same"),
    RULE(pwritev, "the same"),
    RULE(fallocate, "discard, write zeroes, memory that the guest gave up"),
    RULE(fdatasync, "flush"),
    RULE(fsync, "flush, saved VMs"),
    RULE_IF(ioctl, "KVM", 0xff00, 0xae00),
    RULE_IF(ioctl, "the terminal, user networking (FIONBIO, FIONREAD), taps", 0xff00, 0x5400),
    RULE_IF(ioctl, "discard on block devices", 0xff00, 0x1200),
    RULE(prctl, "names of threads"),
    {.call = 0, .reason = NULL},
};

/* And the event loop, with user networking, workers, the control socket. */
static const struct rule loop_rules[] = {
    RULE(epoll_wait, "the event loop"),
    RULE(epoll_pwait, "the same"),
    RULE(accept4, "the control socket"),
    RULE(accept, "forwarded ports"),
    RULE(socket, "user networking: a socket for each of the guest's connections"),
    RULE(connect, "the same"),
    RULE(bind, "the same"),
    RULE(listen, "the same"),
    RULE(shutdown, "the same"),
    RULE(getsockname, "the same"),
    RULE(getpeername, "the same"),
    RULE(getsockopt, "the same"),
    RULE(setsockopt, "the same"),
    RULE(recvfrom, "the same, the control socket"),
    RULE(recvmsg, "the same"),
    RULE(sendto, "the same, the control socket"),
    RULE(sendmsg, "the same"),
    RULE(close, "closing them"),
    RULE(openat, "user networking reads resolv.conf; x-ferry-save and x-ferry-load; statistics"),
    RULE(newfstatat, "the same"),
    RULE(fstat, "the same"),
    RULE(lseek, "x-ferry-save"),
    RULE(sendfile, "the kernel, loaded again at a reset"),
    RULE(rename, "x-ferry-save"),
    RULE(unlink, "x-ferry-save, the control socket's name"),
    RULE(access, "query-kvm"),
    RULE(symlink, "the decision of a handover"),
    RULE(readlink, "the same"),
    RULE(fstatfs, "room for disks that are copied in a migration"),
    RULE(clone, "workers"),
    RULE(clone3, "workers"),
    RULE(eventfd2, "virtqueues, also of devices that are added"),
    RULE(io_uring_setup, "disks that are added"),
    RULE(io_uring_register, "the same"),
    RULE(rt_sigaction, "raise() of a crash"),
    RULE(userfaultfd, "post-copy"),
    RULE_IF(ioctl, "post-copy", 0xff00, 0xaa00),
    RULE(uname, "user networking"),
    RULE(epoll_create1, "backends"),
    RULE(sendmmsg, "look-ups of servers' names, for disks that are added"),
    RULE(getuid, "credentials for NFS servers"),
    RULE(geteuid, "the same"),
    RULE(getegid, "the same"),
    {.call = 0, .reason = NULL},
};

/* And a thread that talks to an NFS server. */
static const struct rule nfs_rules[] = {
    RULE(socket, "a connection to the server, also again"),
    RULE(bind, "a reserved port, where the server wants one"),
    RULE(connect, "the connection"),
    RULE(setsockopt, "the same"),
    RULE(getsockopt, "the same"),
    RULE(sendmsg, "requests"),
    RULE(recvfrom, "replies"),
    RULE(close, "the connection"),
    {.call = 0, .reason = NULL},
};

static const struct rule *const tables[SANDBOX_ROLES] = {[SANDBOX_LOOP] = loop_rules, [SANDBOX_NFS] = nfs_rules};

bool sandbox_supported(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return false;
#else
    return true;
#endif
#else
    return true;
#endif
}

static int add_rules(scmp_filter_ctx filter, const struct rule *rules)
{
    int r = 0;

    for (; r == 0 && rules != NULL && rules->reason != NULL; rules++) {
        if (rules->masked)
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules->call, 1,
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, rules->mask, rules->value));
        else
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules->call, 0);
    }
    return r;
}

int sandbox_enter(enum sandbox_role role, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    int r = filter == NULL ? -ENOMEM : seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);

    if (r == 0)
        r = add_rules(filter, common_rules);
    if (r == 0)
        r = add_rules(filter, tables[role]);
    if (r == 0)
        r = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    return r < 0 ? err_set(err, r, "cannot confine this process: %s; --sandbox off does without", strerror(-r)) : 0;
}

#define VIOLATION 4 /* exit code */

static void (*before_exit_hook)(void);

/* Async-signal-safe: snprintf on a local buffer with %d only is, in the C libraries that we build with. */
static void on_violation(int number, siginfo_t *info, void *ctx)
{
    static volatile sig_atomic_t entered;
    char text[120];
    int size;

    if (entered++ == 0 && before_exit_hook != NULL)
        before_exit_hook();
    size = snprintf(text, sizeof(text), "ferry: the sandbox stopped system call %d; --sandbox off does without it\n",
                    info->si_syscall);
    while (write(STDERR_FILENO, text, size) < 0 && errno == EINTR)
        ;
    _exit(VIOLATION);
}

void sandbox_report_violations(void (*before_exit)(void))
{
    struct sigaction action = {.sa_sigaction = on_violation, .sa_flags = SA_SIGINFO | SA_NODEFER};

    before_exit_hook = before_exit;
    sigaction(SIGSYS, &action, NULL);
}
