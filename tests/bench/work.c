/* SPDX-License-Identifier: GPL-2.0-or-later */
/* work NAME COUNT: a fixed amount of one kind of work. What it prints depends on all of it, so that equal output means
 * equal work. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t random_next(uint64_t *s) /* splitmix64 */
{
    uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Text of words that occur in a steep distribution, as they do in languages; compresses to about a third. COUNT KiB. */
static int text(unsigned long count)
{
    static char word[4096][12];
    uint64_t s = 1;

    for (unsigned i = 0; i < 4096; i++) {
        unsigned length = 2 + random_next(&s) % 9;

        for (unsigned k = 0; k < length; k++)
            word[i][k] = (char)('a' + random_next(&s) % 26);
    }
    for (unsigned long left = count * 1024; left > 0;) {
        uint64_t z = random_next(&s);
        unsigned long rank = z % (1u + (unsigned)(z >> 16 & 4095)) % (1u + (unsigned)(z >> 32 & 4095));
        char piece[16];
        unsigned long n = (unsigned long)snprintf(piece, sizeof(piece), "%s%c", word[rank], z >> 48 & 15 ? ' ' : '\n');

        n = n < left ? n : left;
        fwrite(piece, 1, n, stdout);
        left -= n;
    }
    return 0;
}

/* Products of 192x192 matrices of doubles. */
static int matrix(unsigned long count)
{
    enum { N = 192 };
    static double a[N][N], b[N][N], c[N][N];
    double trace = 0;

    for (unsigned i = 0; i < N * N; i++) {
        a[i / N][i % N] = (double)(i * 7 % 97) / 97;
        b[i / N][i % N] = (double)(i * 5 % 89) / 89;
    }
    for (; count > 0; count--) {
        for (unsigned i = 0; i < N; i++) {
            memset(c[i], 0, sizeof(c[i]));
            for (unsigned k = 0; k < N; k++) {
                for (unsigned j = 0; j < N; j++)
                    c[i][j] += a[i][k] * b[k][j];
            }
        }
        for (unsigned i = 0; i < N; i++)
            trace += c[i][i];
        a[count % N][count % 31] = trace / 1e9;
    }
    printf("%a\n", trace);
    return 0;
}

struct body {
    double x[3], v[3], mass;
};

/* Five bodies under gravity: scalar arithmetic with divisions and square roots. COUNT steps. */
static int bodies(unsigned long count)
{
    struct body b[5];
    uint64_t s = 7;
    double sum = 0;

    for (unsigned i = 0; i < 5; i++) {
        for (unsigned k = 0; k < 3; k++) {
            b[i].x[k] = (double)(random_next(&s) % 2000) / 100 - 10;
            b[i].v[k] = (double)(random_next(&s) % 200) / 1000 - 0.1;
        }
        b[i].mass = 1 + i;
    }
    for (; count > 0; count--) {
        for (unsigned i = 0; i < 5; i++) {
            for (unsigned j = i + 1; j < 5; j++) {
                double d[3], square = 0.01, pull;

                for (unsigned k = 0; k < 3; k++) {
                    d[k] = b[i].x[k] - b[j].x[k];
                    square += d[k] * d[k];
                }
                pull = 0.001 / (square * sqrt(square));
                for (unsigned k = 0; k < 3; k++) {
                    b[i].v[k] -= d[k] * b[j].mass * pull;
                    b[j].v[k] += d[k] * b[i].mass * pull;
                }
            }
        }
        for (unsigned i = 0; i < 5; i++) {
            for (unsigned k = 0; k < 3; k++)
                b[i].x[k] += 0.001 * b[i].v[k];
        }
    }
    for (unsigned i = 0; i < 5; i++)
        sum += b[i].x[0] + b[i].x[1] + b[i].x[2];
    printf("%a\n", sum);
    return 0;
}

/* Long doubles, which are the x87 unit's: a continued fraction. COUNT thousand terms. */
static int x87(unsigned long count)
{
    long double value = 1;

    for (unsigned long i = count * 1000; i > 0; i--)
        value = (long double)(2 * i - 1) / 2 + value / (value + (long double)i);
    printf("%La\n", value);
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* qsort of COUNT thousand numbers: calls through pointers, loads and unpredictable branches. */
static int sort(unsigned long count)
{
    uint64_t *p = malloc(count * 8000), s = 3, sum = 0;

    if (p == NULL)
        return 1;
    for (unsigned long i = 0; i < count * 1000; i++)
        p[i] = random_next(&s);
    qsort(p, count * 1000, 8, compare);
    for (unsigned long i = 0; i < count * 1000; i++)
        sum = sum * 31 + p[i];
    printf("%llx\n", (unsigned long long)sum);
    free(p);
    return 0;
}

static int syscalls(unsigned long count)
{
    unsigned long good = 0;

    for (unsigned long i = 0; i < count; i++)
        good += syscall(SYS_getpgid, -1) == -1; /* no such process */
    printf("%lu\n", good);
    return 0;
}

/* A byte goes to and fro between two processes. */
static int pingpong(unsigned long count)
{
    int there[2], back[2];
    uint8_t byte = 0;

    if (pipe(there) < 0 || pipe(back) < 0)
        return 1;
    if (fork() == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (uint8_t)(byte * 5 + 1);
            if (write(back[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(there[0]);
    for (unsigned long i = 0; i < count; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            return 1;
    }
    close(there[1]);
    wait(NULL);
    printf("%lu %u\n", count, byte);
    return 0;
}

static int fork_exec(unsigned long count)
{
    unsigned long good = 0;

    for (unsigned long i = 0; i < count; i++) {
        int status = -1;

        if (fork() == 0) {
            execl("/bin/busybox", "busybox", "true", (char *)NULL);
            _exit(1);
        }
        wait(&status);
        good += status == 0;
    }
    printf("%lu\n", good);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(unsigned long count);
} works[] = {
    {"text", text}, {"matrix", matrix},     {"bodies", bodies},     {"x87", x87},
    {"sort", sort}, {"syscalls", syscalls}, {"pingpong", pingpong}, {"fork-exec", fork_exec},
};

int main(int argc, char **argv)
{
    for (unsigned i = 0; argc == 3 && i < sizeof(works) / sizeof(works[0]); i++) {
        if (strcmp(works[i].name, argv[1]) == 0)
            return works[i].run(strtoul(argv[2], NULL, 10));
    }
    fprintf(stderr, "usage: work text|matrix|bodies|x87|sort|syscalls|pingpong|fork-exec COUNT\n");
    return 2;
}
