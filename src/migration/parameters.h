/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the operator chooses about a migration. Names and meanings follow QEMU's migrate-set-parameters and
 * -capabilities. */
#ifndef FERRY_MIGRATION_PARAMETERS_H
#define FERRY_MIGRATION_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#define TLS_HOSTNAME_MAX 253 /* characters */

enum migration_compression { COMPRESSION_NONE, COMPRESSION_ZSTD, COMPRESSION_LZ4, COMPRESSION_AUTO };

struct migration_parameters {
    uint64_t max_bandwidth;      /* bytes a second while the guest runs; 0: no limit */
    uint64_t postcopy_bandwidth; /* the same in post-copy, of what nobody there waits for */
    uint64_t downtime_limit_ms;
    unsigned channels; /* of multifd: 1 to STREAM_CHANNELS_MAX */
    enum migration_compression compression;
    unsigned throttle_initial, throttle_increment, throttle_max; /* percent of a CPU's time that is taken away */
    uint64_t delta_cache_size;                                   /* bytes */
    unsigned announce_initial_ms, announce_max_ms, announce_rounds, announce_step_ms; /* the destination's */
    bool multifd, auto_converge, postcopy, events;               /* capabilities */
    bool storage, delta;                                         /* "block", "xbzrle" */
    char tls_hostname[TLS_HOSTNAME_MAX + 1]; /* whom the destination's certificate is for; "": the address's host */
};

#define MIGRATION_PARAMETERS_DEFAULT                                \
    ((struct migration_parameters){.downtime_limit_ms = 300,        \
                                   .channels = 2,                   \
                                   .compression = COMPRESSION_NONE, \
                                   .throttle_initial = 20,          \
                                   .throttle_increment = 10,        \
                                   .throttle_max = 99,              \
                                   .delta_cache_size = 64u << 20,   \
                                   .announce_initial_ms = 50,       \
                                   .announce_max_ms = 550,          \
                                   .announce_rounds = 5,            \
                                   .announce_step_ms = 100,         \
                                   .auto_converge = true})

#endif
