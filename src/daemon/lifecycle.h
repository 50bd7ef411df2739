/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens to a domain between its start and its end. All but lifecycle_event() and lifecycle_ended() run in a coroutine that
 * holds the domain's job. */
#ifndef FERRY_DAEMON_LIFECYCLE_H
#define FERRY_DAEMON_LIFECYCLE_H

#include <jansson.h>
#include <stdbool.h>

struct domain;
struct err;

/* States for a restored domain: as the file says, or as the caller wants. */
enum { RESUME_AS_SAVED, RESUME_RUNNING, RESUME_PAUSED };

/* Starts it from domain->config (or, of a transient one, domain->live), from its managed save if there is one and fresh is false. */
int lifecycle_start(struct domain *domain, bool paused, bool fresh, struct err *err);

/* Starts it with domain->live (or domain->config) from the state in a file. */
int lifecycle_load(struct domain *domain, const char *path, bool paused, struct err *err);

/* Ends the VM at once. 0 also when it ended by itself meanwhile. */
int lifecycle_destroy(struct domain *domain, int reason, int event_detail, struct err *err);

int lifecycle_suspend(struct domain *domain, struct err *err);
int lifecycle_resume(struct domain *domain, struct err *err);

/* Gives domain->live and an id: what a start and an incoming migration have in common. */
int lifecycle_prepare(struct domain *domain, struct err *err);
/* Undoes it: the domain is off, a transient one is gone. */
void lifecycle_unprepare(struct domain *domain, int reason);

/* By the VM's events, and its end. */
void lifecycle_event(struct domain *domain, const char *name, const json_t *data);
void lifecycle_ended(struct domain *domain);

/* A domain that runs already, after a restart of ferryd: false when it doesn't, and everything has been cleared away. */
bool lifecycle_adopt(struct domain *domain);

#endif
