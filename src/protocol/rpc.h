/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's RPC without any I/O: packets, error records, and payloads described by layouts.
 *
 * A layout is text, one letter a field (blanks are for the reader):
 *
 *     i u   32-bit integers (also for the 8- and 16-bit ones, and booleans)     h H   64-bit integers, signed and unsigned
 *     s S   string; optional string                 o     opaque bytes          x     UUID, 16 bytes
 *     M     32 characters, one a word               T     array of typed parameters
 *     D     domain: name, UUID, id                  N     network, pool or filter: name, UUID
 *     V     volume: pool, name, key                 R     snapshot: name, domain
 *     ?     the next field is optional              [..]  array of what stands in the brackets
 *
 * One table (remote.h) holds the layouts of all procedures. Server and client decode by it, and check by it what they
 * encode. */
#ifndef FERRY_PROTOCOL_RPC_H
#define FERRY_PROTOCOL_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/xdr.h"

struct arena;
struct buffer;
struct err;

#define RPC_MESSAGE_MAX (32u << 20) /* bytes of one packet, without the length word */
#define RPC_HEADER_SIZE 28          /* with the length word */
#define RPC_FDS_MAX 32
#define RPC_LIST_MAX 16384          /* elements of one array */
#define RPC_VALUES_MAX 12           /* fields of a layout, on its outermost level */
#define RPC_STREAM_CHUNK 262120u    /* payload of one stream packet as libvirt cuts it */
#define RPC_DECODED_MAX (64u << 20) /* memory that one decoded message may take */

enum rpc_program {
    RPC_PROGRAM_REMOTE = 0x20008086,
    RPC_PROGRAM_QEMU = 0x20008087,
    RPC_PROGRAM_KEEPALIVE = 0x6b656570,
};
enum rpc_type { RPC_CALL, RPC_REPLY, RPC_MESSAGE, RPC_STREAM, RPC_CALL_WITH_FDS, RPC_REPLY_WITH_FDS, RPC_STREAM_HOLE };
enum rpc_status { RPC_OK, RPC_ERROR, RPC_CONTINUE };
enum { RPC_KEEPALIVE_PING = 1, RPC_KEEPALIVE_PONG = 2 };

struct rpc_header {
    uint32_t program, version;
    int32_t procedure;
    uint32_t type, serial, status;
};

/* The size that a packet says it has, length word included: from RPC_HEADER_SIZE on. 0: fewer than four bytes are there;
 * -EBADMSG: no packet may have that size. */
int rpc_packet_size(const uint8_t *data, size_t available, size_t *ret_size);

void rpc_put_header(struct xdr_writer *writer, const struct rpc_header *header); /* with a length to be set */
void rpc_set_length(struct buffer *packet, size_t start); /* of the packet that began at start, now complete */
/* The reader stands behind the length word. */
void rpc_get_header(struct xdr_reader *reader, struct rpc_header *ret_header);

/* Codes of libvirt's errors that we give. A function that fails with one returns RPC_FAULT(code), which is negative and no
 * errno; clients get the code, everybody else an error like any other. */
enum rpc_error_code {
    RPC_INTERNAL_ERROR = 1,
    RPC_NO_MEMORY = 2,
    RPC_NO_SUPPORT = 3,
    RPC_NO_CONNECT = 5,
    RPC_INVALID_CONNECTION = 6,
    RPC_INVALID_DOMAIN = 7,
    RPC_INVALID_ARGUMENT = 8,
    RPC_OPERATION_FAILED = 9,
    RPC_XML_ERROR = 27,
    RPC_OPERATION_DENIED = 29,
    RPC_SYSTEM_ERROR = 38,
    RPC_RPC_ERROR = 39,
    RPC_NO_DOMAIN = 42,
    RPC_NO_NETWORK = 43,
    RPC_AUTH_FAILED = 45,
    RPC_NO_POOL = 49,
    RPC_NO_VOLUME = 50,
    RPC_NO_NODE_DEVICE = 53,
    RPC_OPERATION_INVALID = 55,
    RPC_NO_INTERFACE = 57,
    RPC_NO_NWFILTER = 62,
    RPC_NO_SECRET = 66,
    RPC_CONFIG_UNSUPPORTED = 67,
    RPC_OPERATION_TIMEOUT = 68,
    RPC_NO_SNAPSHOT = 72,
    RPC_ARGUMENT_UNSUPPORTED = 74,
    RPC_OPERATION_ABORTED = 78,
    RPC_NO_METADATA = 80,
    RPC_MIGRATE_UNSAFE = 81,
    RPC_OPERATION_UNSUPPORTED = 84,
    RPC_RESOURCE_BUSY = 87,
    RPC_ACCESS_DENIED = 88,
    RPC_VOLUME_EXISTS = 90,
    RPC_CPU_INCOMPATIBLE = 91,
    RPC_XML_INVALID_SCHEMA = 92,
    RPC_MIGRATE_FINISH_OK = 93, /* the destination knows of nothing wrong but that the source gave up */
    RPC_DEVICE_MISSING = 99,
    RPC_NO_NETWORK_PORT = 107,
};
#define RPC_FAULT(code) (-(4096 + (int)(code)))

/* The code for clients of any negative result: RPC_FAULT's own, or what fits the errno best. */
int rpc_error_code(int result);

/* An error record: code, domain (who complains: informative) and sentence. */
void rpc_put_error(struct xdr_writer *writer, int code, int domain, const char *message);
/* The code and the sentence of a record: fills err, and returns RPC_FAULT(code). -EBADMSG when it is none. */
int rpc_get_error(struct xdr_reader *reader, struct err *err);

struct rpc_object { /* what D, N, V, R stand for; members that do not belong to it are zero */
    const char *name;
    uint8_t uuid[16];
    int32_t id;       /* of a running domain; else -1 */
    const char *pool; /* of a volume */
    const char *key;  /* of a volume; of a snapshot: its domain's name */
};

enum rpc_param_type { RPC_PARAM_INT = 1, RPC_PARAM_UINT, RPC_PARAM_LLONG, RPC_PARAM_ULLONG, RPC_PARAM_DOUBLE, RPC_PARAM_BOOL,
                      RPC_PARAM_STRING };

#define RPC_PARAM_NAME_MAX 80

struct rpc_param {
    const char *name;
    uint32_t type; /* enum rpc_param_type */
    union {
        int64_t i;  /* INT, LLONG */
        uint64_t u; /* UINT, ULLONG, BOOL */
        double d;
        const char *s;
    };
};

struct rpc_value {
    union {
        int32_t i;
        uint32_t u;
        int64_t h;
        uint64_t H;
        const char *s;                   /* NULL: absent */
        const struct rpc_object *object; /* NULL: absent */
        const uint8_t *uuid;
        struct {
            const uint8_t *data;
            size_t size;
        } bytes;
        struct {
            const struct rpc_param *param;
            size_t count;
        } params;
        struct {
            const struct rpc_value *items; /* count times `width` values */
            size_t count, width;
        } list;
    };
};

/* Decodes a whole payload into values[0..]; all memory is the arena's. Returns the number of values, or -EBADMSG when the
 * payload is not of this layout, or past a limit. */
int rpc_decode(const char *layout, struct xdr_reader *reader, struct arena *arena, struct rpc_value values[static RPC_VALUES_MAX]);

void rpc_put_domain(struct xdr_writer *writer, const char *name, const uint8_t uuid[16], int32_t id);
void rpc_put_named(struct xdr_writer *writer, const char *name, const uint8_t uuid[16]); /* N */
void rpc_put_volume(struct xdr_writer *writer, const char *pool, const char *name, const char *key);

/* Typed parameters under construction: their number stands in front and is known last. */
struct rpc_param_list {
    struct xdr_writer *writer;
    size_t count_at;
    uint32_t count;
};

struct rpc_param_list rpc_params_begin(struct xdr_writer *writer);
/* names are formatted, for those with a number inside */
__attribute__((format(printf, 3, 4))) void rpc_params_i32(struct rpc_param_list *list, int32_t value, const char *name, ...);
__attribute__((format(printf, 3, 4))) void rpc_params_u32(struct rpc_param_list *list, uint32_t value, const char *name, ...);
__attribute__((format(printf, 3, 4))) void rpc_params_u64(struct rpc_param_list *list, uint64_t value, const char *name, ...);
__attribute__((format(printf, 3, 4))) void rpc_params_string(struct rpc_param_list *list, const char *value, const char *name, ...);
void rpc_params_end(struct rpc_param_list *list);

/* A list whose length is known last, the same way. */
size_t rpc_count_begin(struct xdr_writer *writer);
void rpc_count_end(struct xdr_writer *writer, size_t at, uint32_t count);

#endif
