/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IP addresses and networks, of both families. */
#ifndef FERRY_NETWORK_IP_H
#define FERRY_NETWORK_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip_address {
    int family;        /* AF_INET, AF_INET6; 0: none */
    uint8_t bytes[16]; /* in network order; of IPv4 the first four */
};

struct ip_net {
    struct ip_address address; /* any of the network */
    unsigned prefix;           /* 0 to 32, or 128 */
};

/* -EINVAL: neither four decimal numbers nor what RFC 4291 section 2.2 has. */
int ip_parse(const char *text, struct ip_address *ret_address);

struct ip_text {
    char text[INET6_ADDRSTRLEN + 4]; /* room for a prefix */
};
/* By value, to be used in an argument list: ip_text(&address).text. Of no address: "". */
struct ip_text ip_text(const struct ip_address *address);
struct ip_text ip_net_text(const struct ip_net *net); /* its first address, a slash, its prefix */

size_t ip_size(int family);                  /* bytes of an address */
unsigned ip_bits(int family);                /* of an address */
const char *ip_family_name(int family);      /* "IPv4", "IPv6" */
bool ip_is_set(const struct ip_address *address);
/* As memcmp(); another family is another address. */
int ip_compare(const struct ip_address *a, const struct ip_address *b);
/* Addresses from start to end, both included; UINT64_MAX when they are more. */
uint64_t ip_count(const struct ip_address *start, const struct ip_address *end);

struct ip_address ip_first(const struct ip_net *net); /* of IPv4 the network's own address */
struct ip_address ip_last(const struct ip_net *net);  /* of IPv4 its broadcast address */
struct ip_address ip_mask(int family, unsigned prefix);
/* -EINVAL: ones and zeros are mixed. */
int ip_prefix_of_mask(const struct ip_address *mask, unsigned *ret_prefix);

/* Always false for another family. */
bool ip_contains(const struct ip_net *net, const struct ip_address *address);
bool ip_overlap(const struct ip_net *a, const struct ip_net *b);

#endif
