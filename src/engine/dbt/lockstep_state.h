/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of the lock-step mode: states that are compared, and the report of what differs. */
#ifndef FERRY_ENGINE_DBT_LOCKSTEP_STATE_H
#define FERRY_ENGINE_DBT_LOCKSTEP_STATE_H

#include "engine/dbt/lockstep.h"
#include "engine/dbt/translation.h"

#define LOCKSTEP_FIELDS_SIZE 6144u
#define LOCKSTEP_PAGES 64u
#define LOCKSTEP_REPORT_SIZE 16384u

/* The part of a vCPU that instructions may change. */
struct lockstep_state {
    uint8_t field[LOCKSTEP_FIELDS_SIZE];
    uint8_t x87[512]; /* FXSAVE image without XMM */
};

void dbt_lockstep_get(const struct dbt_vcpu *v, struct lockstep_state *ret_state);
void dbt_lockstep_set(struct dbt_vcpu *v, const struct lockstep_state *state);
/* But for the arithmetic flags. */
bool dbt_lockstep_equal(const struct lockstep_state *a, const struct lockstep_state *b);
uint32_t dbt_lockstep_flags(const struct lockstep_state *state); /* the arithmetic ones, as in RFLAGS */
uint64_t dbt_lockstep_rip(const struct lockstep_state *state);

enum lockstep_end { /* also what siglongjmp brings */
    LOCKSTEP_RAN,
    LOCKSTEP_RAISED = 1, /* an exception: exception.c's jump */
    LOCKSTEP_STOPPED,  /* before an instruction that is not tried */
    LOCKSTEP_GAVE_UP,  /* more pages than there are copies */
};

struct lockstep_result {
    enum lockstep_end end;
    struct dbt_exception raised;
    struct lockstep_state state;
};

struct lockstep_page {
    uint8_t copy[4096];       /* what the trial writes to; in the end the interpreter's. Translations count on its alignment */
    uint8_t translated[4096]; /* what the translation made of it */
    uint64_t physical;
    uint8_t *real;
} __attribute__((aligned(4096)));

struct lockstep_instruction {
    struct op op;
    uint64_t rip, next_rip;
    uint8_t bytes[16];
    uint32_t flags_read, flags_written, flags_undefined;
    bool excluded;
};

struct lockstep_code {
    uint32_t tried;
    uint32_t mode;
    const uint8_t *host, *host_end; /* writable view */
    unsigned count;
    struct lockstep_instruction instruction[];
};

struct lockstep {
    uint32_t limit;
    const struct translation *translation; /* on trial */
    const struct lockstep_code *code;
    struct lockstep_state start;
    struct lockstep_result translated, interpreted;
    unsigned instructions;     /* of the interpreted half: done */
    uint32_t undefined;        /* flags after it that the manuals leave undefined */
    bool undefined_read;       /* one of them was read */
    bool matched;              /* it came by the state that the translation left */
    bool pages_added;
    unsigned pages;
    struct lockstep_page page[LOCKSTEP_PAGES];

    uint32_t stale_flags;      /* left wrong by this code, or by such before it: */
    struct lockstep_code *stale_code;
    uint64_t next_rip;         /* where they count: elsewhere an event has come between */
    uint32_t attention;        /* kept back during a trial */
    bool failed;
    char message[200];
    char report[LOCKSTEP_REPORT_SIZE];
};

/* Fill ls->message and ls->report, and tell. */
void dbt_lockstep_report_difference(struct dbt_vcpu *v);
void dbt_lockstep_report_flags(struct dbt_vcpu *v, const struct lockstep_instruction *reader, uint32_t flags);

/* For the report: the fields that differ, one line each. */
typedef void lockstep_line_fn(void *ctx, const char *name, unsigned index, const uint8_t *start, const uint8_t *a, const uint8_t *b,
                              unsigned size);
void dbt_lockstep_differences(const struct lockstep_state *start, const struct lockstep_state *a, const struct lockstep_state *b,
                              lockstep_line_fn *line, void *ctx);

#endif
