/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saved domains: the VM's state as ferry-vmm writes it, and behind it the definition that belongs to it (docs/formats/save.md). */
#ifndef FERRY_DAEMON_SAVE_H
#define FERRY_DAEMON_SAVE_H

#include <stdbool.h>

struct daemon;
struct definition;
struct domain;
struct err;

/* Saves the running domain to a file, which is there whole or not at all, and ends it. On failure the domain goes on as it was.
 * resume: RESUME_... for whoever restores it. xml: a document to be kept instead of the live one, or NULL. */
int save_domain(struct domain *domain, const char *path, int resume, const char *xml, struct err *err);

/* What a file holds: a definition (the caller's), and whether the domain is to be paused when it is restored. */
int save_read(const struct daemon *daemon, const char *path, struct definition **ret_definition, bool *ret_paused, struct err *err);

/* Puts another document of the same machine in place of the file's; resume: RESUME_... for whoever restores it. The file is as it was on
 * failure. */
int save_define(const struct daemon *daemon, const char *path, const char *xml, int resume, struct err *err);

/* Continues a domain from a file. xml: a document instead of the file's, or NULL. */
int save_restore(struct daemon *daemon, const char *path, const char *xml, int resume, struct err *err);

/* The same from its managed save. Under its job. */
int save_restore_managed(struct domain *domain, bool paused, struct err *err);

#endif
