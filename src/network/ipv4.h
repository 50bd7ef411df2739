/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv4 addresses and networks. Addresses are numbers in the host's byte order, so that they compare and count. */
#ifndef FERRY_NETWORK_IPV4_H
#define FERRY_NETWORK_IPV4_H

#include <stdbool.h>
#include <stdint.h>

#define IPV4_TEXT_SIZE 16 /* with the NUL */

struct ipv4_net {
    uint32_t address; /* any of the network */
    unsigned prefix;  /* 0 to 32 */
};

/* Four decimal numbers; -EINVAL. */
int ipv4_parse(const char *text, uint32_t *ret_address);

struct ipv4_text {
    char text[IPV4_TEXT_SIZE];
};
/* By value, to be used in an argument list: ipv4_text(address).text */
struct ipv4_text ipv4_text(uint32_t address);

uint32_t ipv4_mask(unsigned prefix);
/* -EINVAL: ones and zeros are mixed. */
int ipv4_prefix_of_mask(uint32_t mask, unsigned *ret_prefix);

uint32_t ipv4_first(const struct ipv4_net *net); /* the network's own address */
uint32_t ipv4_last(const struct ipv4_net *net);  /* its broadcast address */
bool ipv4_contains(const struct ipv4_net *net, uint32_t address);
bool ipv4_overlap(const struct ipv4_net *a, const struct ipv4_net *b);

#endif
