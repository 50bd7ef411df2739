/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the verbs of ferryd: what a verb was given, and what several do. */
#ifndef FERRY_CLI_DAEMON_INTERNAL_H
#define FERRY_CLI_DAEMON_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/daemon_client.h"

#define VERB_WORDS_MAX 4

struct verb_call {
    struct daemon_client client;
    const char *uri; /* --connect */
    const char *word[VERB_WORDS_MAX];
    unsigned words;
    bool json, all, force, paused, persistent, undefine, copy_storage;
    const char *bandwidth, *downtime;
};

/* Looks the domain (network, pool) up by its name: its object is good until the client is closed. */
int verb_find(struct verb_call *call, int32_t lookup, const char *name, struct rpc_object *ret_object, struct err *err);
void verb_put_domain(struct verb_call *call, const struct rpc_object *domain);

/* One call whose only argument is a domain (network: without an id). */
int verb_simple(struct verb_call *call, int32_t procedure, const struct rpc_object *object, bool domain, struct err *err);

/* Prints the list (consumed) as JSON, or as lines: the keys' values in columns under their names. */
void verb_print_list(const struct verb_call *call, json_t *list, const char *const keys[]);

int verb_console(struct verb_call *call, struct err *err);
int verb_move(struct verb_call *call, struct err *err);
int verb_net(struct verb_call *call, struct err *err);
int verb_pool(struct verb_call *call, struct err *err);

#endif
