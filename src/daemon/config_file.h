/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferryd.conf: lines of `key = value`, with # comments. A value is a word, or text in double quotes. */
#ifndef FERRY_DAEMON_CONFIG_FILE_H
#define FERRY_DAEMON_CONFIG_FILE_H

struct err;

/* Told of each setting. A negative errno with a sentence ends the reading. */
typedef int config_file_fn(void *ctx, const char *key, const char *value, struct err *err);

/* Sentences name the file and the line. -ENOENT: there is no such file. */
int config_file_read(const char *path, config_file_fn *fn, void *ctx, struct err *err);

#endif
