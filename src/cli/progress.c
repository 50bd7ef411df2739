/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A line of progress on standard error. */
#include "cli/progress.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
}

void progress_begin(struct progress *progress)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND | SA_RESTART};

    sigaction(SIGINT, &action, NULL);
    *progress = (struct progress){.terminal = isatty(STDERR_FILENO) == 1};
}

void progress_show(struct progress *progress, const char *key, const char *line)
{
    struct winsize size;
    int width = 10000;

    if (progress->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        width = size.ws_col - 1; /* a line that wraps is not written over by the next one */
    if (progress->terminal || !text_equal(key, progress->last))
        fprintf(stderr, progress->terminal ? "\r\033[K%.*s" : "%.*s\n", width, line);
    text_format(progress->last, sizeof(progress->last), "%s", key);
}

void progress_clear(struct progress *progress)
{
    if (progress->terminal && progress->last[0] != 0)
        fprintf(stderr, "\r\033[K");
}

bool progress_interrupted(void)
{
    bool now = interrupted != 0;

    interrupted = 0;
    return now;
}
