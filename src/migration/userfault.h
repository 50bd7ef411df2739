/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A descriptor that tells who touches pages which are not there: userfaultfd(2).
 *
 * It must see faults in kernel mode too, not only the guest's: disks, network cards and pipes are read into guest memory by the kernel
 * (readv, io_uring), and KVM touches it for the guest. With UFFD_USER_MODE_ONLY, which everybody may have, those would fail
 * instead of waiting. For all faults a process needs the right CAP_SYS_PTRACE, or sysctl vm.unprivileged_userfaultfd=1, or a
 * descriptor of /dev/userfaultfd (Linux 6.1), by which whoever may open that file gives it to others. */
#ifndef FERRY_MIGRATION_USERFAULT_H
#define FERRY_MIGRATION_USERFAULT_H

struct err;

/* device: of /dev/userfaultfd, stays the caller's; 0 or below: it is opened here where that is needed. Returns a descriptor for
 * shared memory that does not block, or -EPERM and others with a sentence that says what to change. */
int userfault_open(int device, struct err *err);

#endif
