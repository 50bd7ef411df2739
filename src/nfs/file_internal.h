/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the file_*.c of this room: an open file as its thread sees it. */
#ifndef FERRY_NFS_FILE_INTERNAL_H
#define FERRY_NFS_FILE_INTERNAL_H

#include <pthread.h>

#include "nfs/client.h"
#include "nfs/file.h"

#define NFS_IN_FLIGHT_MAX 64u
#define NFS_RETRY_MS 100 /* after NFS_ERROR_DELAY and the like */

struct nfs_command { /* something that is to be done in the file's thread, and waited for */
    int (*run)(struct nfs_file *file, struct nfs_command *command);
    struct nfs_lock lock; /* offset and length of lock commands */
    enum nfs_lock_wish wish;
    struct nfs_room *room;
    struct err *err;
    int result;
    bool done;
    struct nfs_command *next;
};

struct nfs_write { /* data that the server has not committed, in the order of the answers */
    struct nfs_write *next;
    uint64_t sequence;
    uint64_t offset;
    uint32_t size;
    bool stale; /* the server that took it is gone */
    uint8_t verifier[NFS_VERIFIER_SIZE];
    uint8_t data[];
};

enum nfs_part_kind { PART_READ, PART_WRITE, PART_COMMIT };

struct nfs_part { /* one request to the server: a piece of an io */
    struct nfs_pending pending;
    struct nfs_part *next; /* while it is to be started */
    struct nfs_file *file;
    struct nfs_io *io;     /* NULL: a COMMIT of our own */
    enum nfs_part_kind kind;
    uint64_t offset;
    uint32_t size;
    struct nfs_write *write; /* of PART_WRITE */
    uint64_t boundary;       /* of PART_COMMIT: writes up to this sequence */
};

struct nfs_held {
    uint64_t offset, length;
    enum nfs_lock_wish wish; /* NFS_WISH_NONE: the entry is free */
};

struct nfs_file {
    struct nfs_file_config config;
    char *url;
    struct nfs_url where;
    pthread_t thread;
    int wake_fd;

    pthread_mutex_t lock; /* of the members up to the next blank line */
    pthread_cond_t answered;
    struct nfs_io *submitted, **submitted_last;
    struct nfs_command *commands, **commands_last;
    bool stopping, impatient;

    /* The thread's own. */
    struct nfs_client client;
    int confined;          /* what config.confine() said */
    bool open;             /* the server once gave us the file */
    bool away;             /* the last attempt to reach the server failed */
    bool state_lost;       /* what the server knows of us is to be looked at */
    int dead;              /* negative errno: no request succeeds any more */
    int64_t away_since_ns, pause_until_ns;
    struct nfs_filehandle fh;
    uint64_t size;
    uint32_t read_max, write_max;
    unsigned lease_s;
    unsigned owner_number;
    char open_owner[48], lock_owner[48];
    uint32_t open_seqid, lock_seqid;
    struct nfs_stateid open_stateid, lock_stateid;
    bool has_lock_stateid;
    struct nfs_held held[NFS_LOCKS_MAX];

    struct nfs_part *ready, **ready_last;
    unsigned in_flight;
    struct nfs_write *uncommitted, **uncommitted_last;
    uint64_t uncommitted_bytes;
    uint64_t sequence;
    uint8_t verifier[NFS_VERIFIER_SIZE];
    bool has_verifier;
    bool replay_wanted;
    bool commit_started;   /* one of our own is under way */
    int replay_error;      /* the server refused a write again; told by the next flush */
};

/* file_state.c: opening, locks, what survives a restart of the server. 0, a positive status, or a negative errno. */
int nfs_state_open(struct nfs_file *file, struct err *err);
int nfs_state_look_at_size(struct nfs_file *file);
int nfs_state_look_at_room(struct nfs_file *file, struct nfs_room *ret_room);
int nfs_state_lock(struct nfs_file *file, const struct nfs_held *wish);
int nfs_state_look_at_lock(struct nfs_file *file, uint64_t offset, uint64_t length);
void nfs_state_close(struct nfs_file *file);

/* After the connection was made anew: 0 when the server knows us again; *ret_restarted: it had forgotten. A positive status
 * that stays: the file is lost. */
int nfs_state_recover(struct nfs_file *file, bool *ret_restarted);

const struct nfs_stateid *nfs_state_for_io(const struct nfs_file *file);

/* Whether the status says that the server does not know our state (any more). */
bool nfs_status_is_lost_state(int status);
bool nfs_status_is_patience(int status); /* to be tried again a little later */

/* file_io.c: parts of requests, uncommitted writes. */
void nfs_io_begin(struct nfs_file *file, struct nfs_io *io); /* cuts it into parts that are ready */
void nfs_io_start(struct nfs_file *file);                    /* starts ready parts */
void nfs_io_fail(struct nfs_file *file, int result);         /* ends all that is ready */

/* Writes again what a server that is gone had not committed. -EPIPE: the connection is lost. */
int nfs_io_replay(struct nfs_file *file);
void nfs_io_mark_stale(struct nfs_file *file);
void nfs_io_drop_uncommitted(struct nfs_file *file);

#endif
