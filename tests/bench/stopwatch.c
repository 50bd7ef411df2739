/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stopwatch COPIES COMMAND...: runs that many copies of a command at once and prints, on standard error, how many
 * microseconds of the monotonic clock went by until all had ended. Exit code: of one that did not end
 * with 0, or 0. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static long long time_us(const struct timeval *t)
{
    return t->tv_sec * 1000000LL + t->tv_usec;
}

int main(int argc, char **argv)
{
    int copies = argc > 2 ? atoi(argv[1]) : 0, bad = 0, status;
    long long begin = now_us();
    struct rusage usage;

    if (copies < 1) {
        fprintf(stderr, "usage: stopwatch COPIES COMMAND...\n");
        return 2;
    }
    for (int i = 0; i < copies; i++) {
        pid_t child = fork();

        if (child == 0) {
            execvp(argv[2], argv + 2);
            perror(argv[2]);
            _exit(127);
        }
        if (child < 0)
            bad = 1;
    }
    while (wait(&status) > 0) {
        if (status != 0)
            bad = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    getrusage(RUSAGE_CHILDREN, &usage);
    fprintf(stderr, "%lld %lld\n", now_us() - begin, time_us(&usage.ru_utime) + time_us(&usage.ru_stime));
    return bad;
}
