/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log: one line, one write. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static _Atomic int log_level_now = LOG_WARNING;
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *sink_fn;
static void *sink_ctx;

void log_set_level(enum log_level level)
{
    atomic_store(&log_level_now, (int)level);
}

void log_set_sink(log_sink_fn *sink, void *ctx)
{
    pthread_mutex_lock(&sink_lock);
    sink_fn = sink;
    sink_ctx = ctx;
    pthread_mutex_unlock(&sink_lock);
}

static void write_stderr(enum log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[LINE_MAX_BYTES + 16];
    snprintf(line, sizeof(line), "%s: %s\n", names[level], text);
    /* There is nobody left to tell when stderr fails. */
    ssize_t ignored = write(STDERR_FILENO, line, strlen(line));
    (void)ignored;
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load(&log_level_now))
        return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    pthread_mutex_lock(&sink_lock);
    if (sink_fn != NULL)
        sink_fn(sink_ctx, level, text);
    else
        write_stderr(level, text);
    pthread_mutex_unlock(&sink_lock);
}
