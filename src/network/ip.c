/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IP addresses and networks. */
#include "network/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"

int ip_parse(const char *text, struct ip_address *ret_address)
{
    struct ip_address address = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    if (inet_pton(address.family, text, address.bytes) != 1)
        return -EINVAL;
    *ret_address = address;
    return 0;
}

struct ip_text ip_text(const struct ip_address *address)
{
    struct ip_text result = {""};
    if (address->family != 0)
        inet_ntop(address->family, address->bytes, result.text, sizeof(result.text));
    return result;
}

struct ip_text ip_net_text(const struct ip_net *net)
{
    struct ip_address first = ip_first(net);
    struct ip_text result, address = ip_text(&first);
    (void)text_format(result.text, sizeof(result.text), "%s/%u", address.text, net->prefix);
    return result;
}

size_t ip_size(int family)
{
    return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

unsigned ip_bits(int family)
{
    return 8 * (unsigned)ip_size(family);
}

const char *ip_family_name(int family)
{
    return family == AF_INET6 ? "IPv6" : "IPv4";
}

bool ip_is_set(const struct ip_address *address)
{
    return address->family != 0;
}

int ip_compare(const struct ip_address *a, const struct ip_address *b)
{
    return a->family != b->family ? a->family - b->family : memcmp(a->bytes, b->bytes, ip_size(a->family));
}

uint64_t ip_count(const struct ip_address *start, const struct ip_address *end)
{
    uint64_t distance = 0;
    for (size_t i = 0; i < ip_size(start->family); i++) {
        if (distance >= UINT64_MAX >> 10)
            return UINT64_MAX;
        distance = distance * 256 + end->bytes[i] - start->bytes[i]; /* start is not above end, so it never stays below 0 */
    }
    return distance + 1;
}

struct ip_address ip_mask(int family, unsigned prefix)
{
    struct ip_address mask = {.family = family};
    for (unsigned i = 0; i < prefix && i < ip_bits(family); i++)
        mask.bytes[i / 8] |= (uint8_t)(0x80 >> i % 8);
    return mask;
}

int ip_prefix_of_mask(const struct ip_address *mask, unsigned *ret_prefix)
{
    unsigned prefix = 0;
    for (size_t i = 0; i < ip_size(mask->family); i++)
        prefix += (unsigned)__builtin_popcount(mask->bytes[i]);
    struct ip_address whole = ip_mask(mask->family, prefix);
    if (ip_compare(&whole, mask) != 0)
        return -EINVAL;
    *ret_prefix = prefix;
    return 0;
}

struct ip_address ip_first(const struct ip_net *net)
{
    struct ip_address first = net->address, mask = ip_mask(first.family, net->prefix);
    for (size_t i = 0; i < sizeof(first.bytes); i++)
        first.bytes[i] &= mask.bytes[i];
    return first;
}

struct ip_address ip_last(const struct ip_net *net)
{
    struct ip_address last = net->address, mask = ip_mask(last.family, net->prefix);
    for (size_t i = 0; i < ip_size(last.family); i++)
        last.bytes[i] |= (uint8_t)~mask.bytes[i];
    return last;
}

bool ip_contains(const struct ip_net *net, const struct ip_address *address)
{
    struct ip_address first = ip_first(net), last = ip_last(net);
    return address->family == first.family && ip_compare(address, &first) >= 0 && ip_compare(address, &last) <= 0;
}

bool ip_overlap(const struct ip_net *a, const struct ip_net *b)
{
    struct ip_address first = ip_first(a), other = ip_first(b);
    return ip_contains(a, &other) || ip_contains(b, &first);
}
