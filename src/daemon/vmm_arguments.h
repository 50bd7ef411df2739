/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a definition to the command line of ferry-vmm, and the descriptors that go with it. */
#ifndef FERRY_DAEMON_VMM_ARGUMENTS_H
#define FERRY_DAEMON_VMM_ARGUMENTS_H

#include <jansson.h>
#include <libxml/tree.h>
#include <stdbool.h>

struct domain;
struct err;
struct process_options;

#define VMM_ARGUMENTS_MAX 160
#define VMM_FDS_MAX 64

struct vmm_arguments {
    char *text[VMM_ARGUMENTS_MAX + 1]; /* ends with NULL; [0] is the program */
    unsigned count;
    int fds[VMM_FDS_MAX]; /* passed under their own numbers: the arguments name them */
    unsigned fd_count;
};

/* Opens disks and networks. Marks what it made (interface names, aliases) in domain->live. -ENOMEM and sentences. */
int vmm_arguments_make(struct domain *domain, const struct process_options *options, struct vmm_arguments *ret_arguments, struct err *err);
void vmm_arguments_fini(struct vmm_arguments *arguments); /* closes the descriptors */

/* One device's host side, for both the command line and hot plug: the image or the tap of it. ret_fd: -1 when it has none (a network
 * of type user, a disk that has a URL). */
int device_open(struct domain *domain, xmlNode *device, int *ret_fd, struct err *err);
/* Whether the disk lies in a pool on an NFS server that is not mounted: the VM opens it by that URL itself. */
#define DISK_URL_SIZE 2048
bool disk_url(const struct domain *domain, const xmlNode *disk, char url[static DISK_URL_SIZE]);
/* "virtio-disk0", "net1": a name that no other device has, into the device. */
void device_set_alias(struct domain *domain, xmlNode *device);

#endif
