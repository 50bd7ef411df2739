/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv4 addresses and networks. */
#include "network/ipv4.h"

#include <arpa/inet.h>
#include <errno.h>

int ipv4_parse(const char *text, uint32_t *ret_address)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1)
        return -EINVAL;
    *ret_address = ntohl(address.s_addr);
    return 0;
}

struct ipv4_text ipv4_text(uint32_t address)
{
    struct ipv4_text result;
    struct in_addr in = {.s_addr = htonl(address)};
    inet_ntop(AF_INET, &in, result.text, sizeof(result.text));
    return result;
}

uint32_t ipv4_mask(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

int ipv4_prefix_of_mask(uint32_t mask, unsigned *ret_prefix)
{
    unsigned prefix = (unsigned)__builtin_popcount(mask);
    if (ipv4_mask(prefix) != mask)
        return -EINVAL;
    *ret_prefix = prefix;
    return 0;
}

uint32_t ipv4_first(const struct ipv4_net *net)
{
    return net->address & ipv4_mask(net->prefix);
}

uint32_t ipv4_last(const struct ipv4_net *net)
{
    return net->address | ~ipv4_mask(net->prefix);
}

bool ipv4_contains(const struct ipv4_net *net, uint32_t address)
{
    return address >= ipv4_first(net) && address <= ipv4_last(net);
}

bool ipv4_overlap(const struct ipv4_net *a, const struct ipv4_net *b)
{
    return ipv4_first(a) <= ipv4_last(b) && ipv4_first(b) <= ipv4_last(a);
}
