/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the link files: one request to the kernel and its answers. */
#ifndef FERRY_NETWORK_LINK_PRIVATE_H
#define FERRY_NETWORK_LINK_PRIVATE_H

#include <libmnl/libmnl.h>

#include "network/link.h"

#define MESSAGE_SIZE 32768 /* at least what libmnl's pages suggest for replies */

/* A request and its answers, in memory for both. */
struct exchange {
    struct nlmsghdr *header;
    char data[MESSAGE_SIZE];
};

struct nlmsghdr *link_begin(struct exchange *exchange, uint16_t type, uint16_t flags);
/* Sends the request and takes answers until the last one. data_fn may be NULL. Returns 0 or the kernel's negative
 * errno. */
int link_run(struct exchange *exchange, mnl_cb_t data_fn, void *ctx);
int link_index(const char *name, int *ret_index, struct err *err);

#endif
