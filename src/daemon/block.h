/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a domain's disks. */
#ifndef FERRY_DAEMON_BLOCK_H
#define FERRY_DAEMON_BLOCK_H

struct domain;
struct rpc_param_list;

/* The group "block" of domstats. In a coroutine: a running VM is asked. */
void block_put_statistics(struct rpc_param_list *params, const struct domain *domain);

#endif
