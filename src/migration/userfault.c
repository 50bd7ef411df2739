/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ways to a userfaultfd. */
#include "migration/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

#define DEVICE "/dev/userfaultfd"
#define FLAGS (O_CLOEXEC | O_NONBLOCK)

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static int by_device(int device)
{
    int opened = device <= 0 ? open(DEVICE, O_RDWR | O_CLOEXEC) : -1, fd;

    if (device <= 0 && opened < 0)
        return -errno;
    fd = ioctl(device <= 0 ? opened : device, USERFAULTFD_IOC_NEW, FLAGS);
    if (fd < 0)
        fd = -errno;
    fd_close(&opened);
    return fd;
}

int userfault_open(int device, struct err *err)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
    int fd = (int)syscall(SYS_userfaultfd, FLAGS), r = fd < 0 ? -errno : 0;

    if (r == -EPERM)
        fd = by_device(device);
    if (fd < 0)
        return err_set(err, r,
                       "post-copy needs a userfaultfd, which this host does not give to this user: %s; let the user open " DEVICE
                       ", or allow it to all by sysctl vm.unprivileged_userfaultfd=1",
                       strerror(-r));
    if (ioctl(fd, UFFDIO_API, &api) < 0) {
        close(fd);
        return err_set(err, -ENOTSUP, "this host's kernel has no userfaultfd for shared memory, which post-copy needs");
    }
    return fd;
}
