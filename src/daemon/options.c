/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ferryd is told on its command line: one table for parsing and help. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "daemon/daemon.h"

struct option {
    const char *name, *argument, *help;
    size_t offset; /* of a text in struct daemon_config */
};

#define TEXT(member) offsetof(struct daemon_config, member)

static const struct option options[] = {
    {"socket-dir", "DIR", "where clients find libvirt-sock (default: /var/run/libvirt)", TEXT(socket_dir)},
    {"state-dir", "DIR", "definitions and saved domains (default: /var/lib/ferry)", TEXT(state_dir)},
    {"run-dir", "DIR", "control sockets and states of running domains (default: /run/ferry)", TEXT(run_dir)},
    {"log-dir", "DIR", "a log for each VM (default: /var/log/ferry)", TEXT(log_dir)},
    {"vmm", "PATH", "the program ferry-vmm (default: beside ferryd)", TEXT(vmm)},
    {"hostname", "NAME", "this host's name, for clients and migrations (default: the kernel's)", TEXT(hostname)},
    {"listen-tcp", "ADDRESS[:PORT]", "also serve plain TCP there, without any authentication (port 16509)", TEXT(listen_tcp)},
    {"listen-tls", "ADDRESS[:PORT]", "also serve TLS there, for clients with a certificate (port 16514)", TEXT(listen_tls)},
    {"pki-dir", "DIR", "cacert.pem, servercert.pem, serverkey.pem (default: in /etc/pki, as libvirt)", TEXT(pki_dir)},
    {"user", "NAME", "VMs run as this user (default: ferryd's own)", TEXT(user)},
    {"group", "NAME", "and this group", TEXT(group)},
    {"default-network", "WHAT", "network default at the first start: autostart, define or none (default: define)",
     TEXT(default_network)},
    {"migration-host", "NAME", "where other hosts reach this one (default: its name)", TEXT(migration_host)},
};

static void print_help(void)
{
    printf("usage: ferryd [OPTION]...\nManages virtual machines, and serves libvirt's clients.\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
        printf("  --%s %s\n          %s\n", options[i].name, options[i].argument, options[i].help);
    printf("  --verbose\n          log every refused call too\n  --help\n  --version\n");
}

static int set_text(struct daemon_config *config, const struct option *option, const char *value, struct err *err)
{
    char **text = (char **)((char *)config + option->offset);
    char *copy = strdup(value);

    if (copy == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (*value == 0) {
        free(copy);
        return err_set(err, -EINVAL, "--%s needs a value that is not empty: %s", option->name, option->argument);
    }
    free(*text);
    *text = copy;
    return 0;
}

static int parse_one(int argc, char *const argv[], int *at, struct daemon_config *config, struct err *err)
{
    const char *argument = argv[*at];
    size_t length = strcspn(argument, "=");

    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (!text_starts_with(argument, "--") || strlen(options[i].name) != length - 2 ||
            strncmp(argument + 2, options[i].name, length - 2) != 0)
            continue;
        if (argument[length] == '=')
            return set_text(config, &options[i], argument + length + 1, err);
        if (*at + 1 >= argc)
            return err_set(err, -EINVAL, "--%s needs a value: %s", options[i].name, options[i].argument);
        return set_text(config, &options[i], argv[++*at], err);
    }
    return err_set(err, -EINVAL, "unknown option '%.60s'; ferryd --help lists them", argument);
}

static int set_defaults(struct daemon_config *config, struct err *err)
{
    char beside[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", beside, sizeof(beside) - sizeof("ferry-vmm"));
    char *slash;

    beside[length > 0 ? length : 0] = 0;
    slash = strrchr(beside, '/');
    text_format(slash != NULL ? slash + 1 : beside, sizeof("ferry-vmm"), "ferry-vmm");
    *config = (struct daemon_config){
        .socket_dir = strdup("/var/run/libvirt"),
        .state_dir = strdup("/var/lib/ferry"),
        .run_dir = strdup("/run/ferry"),
        .log_dir = strdup("/var/log/ferry"),
        .vmm = strdup(beside),
        .default_network = strdup("define"),
        .migration_port_first = 49152,
        .migration_port_last = 49215,
    };
    if (config->socket_dir == NULL || config->state_dir == NULL || config->run_dir == NULL || config->log_dir == NULL ||
        config->vmm == NULL || config->default_network == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}

int daemon_options_parse(int argc, char *const argv[], struct daemon_config *ret_config, struct err *err)
{
    int r = set_defaults(ret_config, err);

    for (int i = 1; r == 0 && i < argc; i++) {
        if (text_equal(argv[i], "--help")) {
            print_help();
            return 1;
        }
        if (text_equal(argv[i], "--version")) {
            printf("ferryd %s\n", FERRY_VERSION);
            return 1;
        }
        if (text_equal(argv[i], "--verbose"))
            ret_config->verbose = true;
        else
            r = parse_one(argc, argv, &i, ret_config, err);
    }
    return r;
}

void daemon_config_fini(struct daemon_config *config)
{
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
        free(*(char **)((char *)config + options[i].offset));
    *config = (struct daemon_config){0};
}
