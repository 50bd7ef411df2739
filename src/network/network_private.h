/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the network files: the inventory's structs, its files, and what makes a network be there. */
#ifndef FERRY_NETWORK_NETWORK_PRIVATE_H
#define FERRY_NETWORK_NETWORK_PRIVATE_H

#include <limits.h>

#include "network/network.h"

struct network {
    struct networks *networks;
    struct network_definition *config; /* NULL: transient */
    struct network_definition *live;   /* NULL: not active */
    bool autostart;
    int server_fd; /* of dnsmasq, to be told of its end; -1: not watched */
    struct loop_source *server_source;
};

struct networks {
    struct networks_options options;
    struct dnsmasq_place dnsmasq;
    struct network **items; /* sorted by name */
    size_t count;
    bool fresh; /* the configuration directory was not there before */
};

/* The files of a network. */
enum network_phase { PHASE_STARTING, PHASE_ACTIVE, PHASE_STOPPING };
int store_config(const struct networks *networks, const struct network_definition *definition, struct err *err);
int forget_config(const struct networks *networks, const char *name, struct err *err);
int store_autostart(const struct networks *networks, const char *name, bool autostart, struct err *err);
int store_status(const struct networks *networks, const struct network_definition *definition, enum network_phase phase,
                 struct err *err);
int forget_status(const struct networks *networks, const char *name, struct err *err);
int load_config(const struct networks *networks, const char *name, struct network_definition **ret_definition,
                bool *ret_autostart, struct err *err);
int load_status(const struct networks *networks, const char *name, struct network_definition **ret_definition,
                enum network_phase *ret_phase, struct err *err);
int make_directories(struct networks *networks, struct err *err); /* sets networks->fresh */

/* Makes all that an active network consists of, or nothing; `others` are the networks active besides. */
int bring_up(const struct networks *networks, const struct network_definition *definition, struct err *err);
/* The MTU that the way between the hosts leaves to a network with an overlay, if it says none. */
int overlay_fill_mtu(struct network_definition *definition, struct err *err);
/* Takes all of it away, as far as it is there. */
int take_down(const struct networks *networks, const struct network_definition *definition, struct err *err);
/* An active network found after a restart: true when its bridge is there; then its dnsmasq is started if it is gone. */
bool still_up(const struct networks *networks, const struct network_definition *definition);
/* Rules of all active networks, `more` added and `less` left out (both may be NULL). */
int apply_firewall(const struct networks *networks, const struct network_definition *more,
                   const struct network_definition *less, struct err *err);

/* Whoever ends or changes a dnsmasq on purpose looks away before, and watches again afterwards what there is then. */
void watch_server(struct network *network);
void unwatch_server(struct network *network);

/* networks.c: a network's place in the list goes by its name; NULL: no memory. */
struct network *networks_insert(struct networks *networks, const char *name);
void networks_drop(struct network *network); /* and frees it */
void warn(const struct networks *networks, const char *sentence);

/* A definition from a document, with UUID, bridge and MAC address: the document's, else those that the network of this name has
 * (*ret_same; NULL: there is none), else new ones. -EEXIST: it is in another network's way. */
int network_parse_new(const struct networks *networks, const char *xml, struct network_definition **ret_definition,
                      struct network **ret_same, struct err *err);

#endif
