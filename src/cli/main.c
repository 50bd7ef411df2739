/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry: the command line. Verbs that act on a VM's control socket, and `run`, which becomes ferry-vmm. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/daemon_verbs.h"
#include "cli/migrate.h"

enum { EXIT_BAD_INPUT = 2 };

struct verb {
    const char *name;
    const char *help;
    int (*main)(const struct verb *verb, int argc, char *argv[]);
    const char *command; /* for verbs that are one command of the control socket */
};

static int complain(const struct err *err)
{
    fprintf(stderr, "ferry: %s\n", err->message);
    return EXIT_BAD_INPUT;
}

/* FERRY_VMM, or ferry-vmm beside this program, or the one in PATH. */
static void find_vmm(char *path, size_t size)
{
    const char *given = getenv("FERRY_VMM");
    ssize_t length;
    char *slash;

    if (given != NULL && *given != 0) {
        text_format(path, size, "%s", given);
        return;
    }
    length = readlink("/proc/self/exe", path, size - sizeof("ferry-vmm"));
    path[length > 0 ? length : 0] = 0;
    slash = strrchr(path, '/');
    if (slash != NULL)
        memcpy(slash + 1, "ferry-vmm", sizeof("ferry-vmm"));
    if (slash == NULL || access(path, X_OK) < 0)
        text_format(path, size, "ferry-vmm");
}

/* Becomes ferry-vmm with these arguments; argv[0] is free. */
static int become_vmm(char *argv[])
{
    char path[PATH_MAX];
    struct err err = ERR_INIT;

    find_vmm(path, sizeof(path));
    argv[0] = path;
    execvp(path, argv);
    err_set(&err, -errno, "cannot start %s: %s; FERRY_VMM can name the program", path, strerror(errno));
    return complain(&err);
}

static int verb_run(const struct verb *verb, int argc, char *argv[])
{
    return become_vmm(argv);
}

/* The verb itself is an argument there. */
static int verb_cpu(const struct verb *verb, int argc, char *argv[])
{
    return become_vmm(argv - 1);
}

/* The one option that the verbs of a running VM take. */
static const char *parse_control(const struct verb *verb, int argc, char *argv[], struct err *err)
{
    if (argc == 3 && text_equal(argv[1], "--control"))
        return argv[2];
    if (argc == 2 && text_starts_with(argv[1], "--control="))
        return argv[1] + strlen("--control=");
    err_set(err, -EINVAL, "usage: ferry %s --control SOCKET", verb->name);
    return NULL;
}

static int verb_command(const struct verb *verb, int argc, char *argv[])
{
    struct err err = ERR_INIT;
    json_t *value = NULL;
    const char *path = parse_control(verb, argc, argv, &err);

    if (path == NULL || client_call(path, verb->command, NULL, &value, &err) < 0)
        return complain(&err);
    if (json_is_string(json_object_get(value, "status")))
        printf("%s\n", json_string_value(json_object_get(value, "status")));
    json_decref(value);
    return 0;
}

static int verb_migrate(const struct verb *verb, int argc, char *argv[])
{
    return migrate_main(argc, argv);
}

static const struct verb verbs[] = {
    {"run", "run one VM in the foreground; ferry run --help lists its options", verb_run, NULL},
    {"status", "print whether a VM runs, is paused, ...", verb_command, "query-status"},
    {"stop", "pause a VM", verb_command, "stop"},
    {"cont", "let a paused VM go on", verb_command, "cont"},
    {"powerdown", "press a VM's power button", verb_command, "system_powerdown"},
    {"reset", "reset a VM", verb_command, "system_reset"},
    {"migrate", "move a running VM to another host; ferry migrate --help lists the options", verb_migrate, NULL},
    {"announce", "have a VM tell its networks again where it is", verb_command, "announce-self"},
    {"quit", "end a VM at once", verb_command, "quit"},
    {"cpu", "CPU models: ferry cpu list, describe, baseline FILE...", verb_cpu, NULL},
};

static void print_help(FILE *out)
{
    fprintf(out, "usage: ferry VERB [OPTION]...\n\nOne VM, without a daemon:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    fprintf(out, "All but run and cpu need --control SOCKET, the path that ferry run was given.\n\nThe domains of ferryd:\n");
    daemon_verbs_print_help(out);
    fprintf(out, "These take --json, and --connect URI (or FERRY_URI): qemu:///system, qemu+unix:///system?socket=PATH,\n"
                 "qemu+tcp://HOST/system, qemu+tls://HOST/system, qemu+ssh://[USER@]HOST/system.\n");
}

int main(int argc, char *argv[])
{
    struct err err = ERR_INIT;
    char list[200] = "";

    if (argc >= 2 && (text_equal(argv[1], "--help") || text_equal(argv[1], "-h") || text_equal(argv[1], "help"))) {
        print_help(stdout);
        return 0;
    }
    if (argc >= 2 && text_equal(argv[1], "--version")) {
        printf("ferry %s\n", FERRY_VERSION);
        return 0;
    }
    if (argc >= 2 && daemon_verb_find(argc - 1, argv + 1))
        return daemon_verb_run(argc - 1, argv + 1);
    for (unsigned i = 0; argc >= 2 && i < ARRAY_SIZE(verbs); i++) {
        if (text_equal(argv[1], verbs[i].name))
            return verbs[i].main(&verbs[i], argc - 1, argv + 1);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i > 0 ? ", " : "", verbs[i].name);
    if (argc < 2)
        err_set(&err, -EINVAL, "a verb is missing; there are: %s", list);
    else
        err_set(&err, -EINVAL, "unknown verb '%.60s'; there are: %s", argv[1], list);
    return complain(&err);
}
