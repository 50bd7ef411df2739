/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small helpers on integers: alignment, bit ranges, little-endian loads and stores at any address. */
#ifndef FERRY_BASE_BITS_H
#define FERRY_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BIT(n) (UINT64_C(1) << (n))
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

/* Wraps to 0 when the result does not fit in 64 bits. */
static inline uint64_t align_up(uint64_t value, uint64_t power_of_two)
{
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Bits high..low of value, shifted down. 0 <= low <= high <= 63. */
static inline uint64_t bit_range(uint64_t value, unsigned high, unsigned low)
{
    return (value >> low) & (UINT64_MAX >> (63 - (high - low)));
}

static inline uint16_t load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void store_le16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* The low `size` bytes of value; size is 1, 2, 4 or 8. */
static inline uint64_t truncate_to(uint64_t value, unsigned size)
{
    return size >= 8 ? value : value & (BIT(size * 8) - 1);
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Ferry's hosts are x86-64: little-endian"
#endif

#endif
