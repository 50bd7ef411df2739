/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This host: who it is, what it has, and what its ferry-vmm can do. */
#ifndef FERRY_DAEMON_HOST_H
#define FERRY_DAEMON_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;
struct daemon;
struct err;

#define HOST_NAME_MAX_BYTES 256
#define HOST_MODELS_MAX 32

struct host {
    char name[HOST_NAME_MAX_BYTES];
    uint8_t uuid[16];       /* kept in the state directory */
    char vmm[4096];         /* absolute path of ferry-vmm, links resolved */
    bool kvm;               /* KVM carries ordinary guests here, as ferry-vmm's probe says */
    char kvm_reason[256];   /* why not */
    unsigned cpus_max;      /* of one VM */
    char *models[HOST_MODELS_MAX + 1]; /* CPU models, ends with NULL */
    bool model_usable[HOST_MODELS_MAX];
    char cpu_vendor[16], cpu_model[64];
    unsigned cpus, sockets, cores, threads, mhz;
    uint64_t memory;        /* bytes */
};

/* Asks the kernel and ferry-vmm. */
int host_new(struct daemon *daemon, struct host **ret_host, struct err *err);
void host_free(struct host *host); /* accepts NULL */

/* "Total", "MemFree" ... of /proc/meminfo in KiB; 0 when there is no such line. */
uint64_t host_memory_kib(const char *name);

/* The first line of a short file, without its end; "" when it can't be read. */
void host_read_line(const char *path, char *out, size_t size);

/* Pages of a size that the host has: of 4 KiB, or of its pools of huge pages. false: there are none of that size. ret_free and
 * ret_total: either may be NULL. */
bool host_pages(uint32_t kib, uint64_t *ret_free, uint64_t *ret_total);

/* x86-64-v1 to -v4 as 1 to 4: of a model by its name, 0 for another; the highest that this host offers. */
unsigned host_level_of(const char *model);
unsigned host_level(const struct host *host);

/* The documents that clients choose devices by: append to out. */
int host_capabilities(const struct host *host, struct buffer *out);
int host_domain_capabilities(const struct host *host, bool kvm, struct buffer *out);

#endif
