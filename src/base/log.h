/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log. Only the outer rooms (vmm, daemon, cli) log; inner rooms return errors.
 *
 * Lines go to stderr as "level: text" until log_set_sink() says otherwise, cut to about 1000 bytes. Thread-safe: one
 * line is one write. */
#ifndef FERRY_BASE_LOG_H
#define FERRY_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

typedef void log_sink_fn(void *ctx, enum log_level level, const char *line);

/* Lines above the level are dropped. Starts at LOG_WARNING. */
void log_set_level(enum log_level level);

/* NULL restores stderr. The sink gets the text without level and newline, may be called from any thread, and must not
 * log itself. */
void log_set_sink(log_sink_fn *sink, void *ctx);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
