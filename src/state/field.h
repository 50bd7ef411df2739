/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Field tables: how a plain struct of hardware facts is written to and read from a saved state.
 *
 * A table lists members by a tag that never changes its meaning. Members are little-endian unsigned integers,
 * arrays of those, bytes, or arrays of sub-structures with a table of their own. Reading skips unknown tags, leaves
 * members whose tag is missing as they were (their reset value), and refuses a wrong size and a tag that comes twice.
 *
 *     struct uart_state { uint8_t ier, lcr; uint16_t divisor; };
 *     static const struct field uart_fields[] = {
 *         FIELD(1, struct uart_state, ier),
 *         FIELD(2, struct uart_state, lcr),
 *         FIELD(3, struct uart_state, divisor),
 *         FIELD_END,
 *     };
 *
 * The wire layout is specified in docs/formats/state.md.
 */
#ifndef FERRY_STATE_FIELD_H
#define FERRY_STATE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIELD_TABLE_MAX 256 /* fields in one table */

struct field {
    uint16_t tag;              /* 1..65535, unique in its table; 0 ends the table */
    uint16_t width;            /* bytes of one element: 1, 2, 4, 8; for FIELD_STRUCTS the struct's size */
    uint32_t count;            /* elements: 1 for a scalar */
    size_t offset;             /* of the first element in the struct */
    const struct field *table; /* of a sub-structure; NULL for integers */
    const char *name;          /* for error messages */
    bool boolean;              /* the member is a bool: nothing but 0 and 1 is read into it */
};

#define FIELD_WIDTH(type, member) sizeof(((type *)0)->member)
#define FIELD_IS_BOOL(type, member) _Generic(((type *)0)->member, bool : true, default : false)
/* A scalar integer (or bool). */
#define FIELD(tag_, type, member)                                                                        \
    {                                                                                                    \
        .tag = (tag_), .width = FIELD_WIDTH(type, member), .count = 1, .offset = offsetof(type, member), \
        .name = #member, .boolean = FIELD_IS_BOOL(type, member)                                          \
    }
/* An array of integers (bytes included). */
#define FIELD_ARRAY(tag_, type, member)                                                                      \
    {                                                                                                        \
        .tag = (tag_), .width = FIELD_WIDTH(type, member[0]),                                                \
        .count = FIELD_WIDTH(type, member) / FIELD_WIDTH(type, member[0]), .offset = offsetof(type, member), \
        .name = #member, .boolean = FIELD_IS_BOOL(type, member[0])                                           \
    }
/* One sub-structure. */
#define FIELD_STRUCT(tag_, type, member, table_)                                                         \
    {                                                                                                    \
        .tag = (tag_), .width = FIELD_WIDTH(type, member), .count = 1, .offset = offsetof(type, member), \
        .table = (table_), .name = #member                                                               \
    }
/* An array of sub-structures. */
#define FIELD_STRUCTS(tag_, type, member, table_)                                                            \
    {                                                                                                        \
        .tag = (tag_), .width = FIELD_WIDTH(type, member[0]),                                                \
        .count = FIELD_WIDTH(type, member) / FIELD_WIDTH(type, member[0]), .offset = offsetof(type, member), \
        .table = (table_), .name = #member                                                                   \
    }
#define FIELD_END \
    {             \
        .tag = 0  \
    }

#endif
