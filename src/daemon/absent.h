/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that are refused because Ferry's machines or hosts have not what they are about: each by a sentence that says so. */
#ifndef FERRY_DAEMON_ABSENT_H
#define FERRY_DAEMON_ABSENT_H

struct err;
struct remote_call;

/* Why there is no handler for this call: the sentence in err, and its negative code. type NULL: one of a procedure that is not in the
 * table. */
int absent_refuse(const struct remote_call *type, struct err *err);

#endif
