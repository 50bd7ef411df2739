/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ferryd is told on its command line and in its configuration file: one table for both, and for the help. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "daemon/config_file.h"
#include "daemon/daemon.h"
#include "remote/uri.h"

struct option {
    const char *name, *argument, *help;
    size_t offset; /* of a text in struct daemon_config */
};

#define CONFIG_FILE "/etc/ferry/ferryd.conf"

#define TEXT(member) offsetof(struct daemon_config, member)

static const struct option options[] = {
    {"socket-dir", "DIR", "where clients find libvirt-sock (default: /var/run/libvirt)", TEXT(socket_dir)},
    {"state-dir", "DIR", "definitions and saved domains (default: /var/lib/ferry)", TEXT(state_dir)},
    {"run-dir", "DIR", "control sockets and states of running domains (default: /run/ferry)", TEXT(run_dir)},
    {"log-dir", "DIR", "a log for each VM (default: /var/log/ferry)", TEXT(log_dir)},
    {"vmm", "PATH", "the program ferry-vmm (default: beside ferryd)", TEXT(vmm)},
    {"hostname", "NAME", "this host's name, for clients and migrations (default: the kernel's)", TEXT(hostname)},
    {"listen-tcp", "ADDRESS[:PORT]", "also serve plain TCP there, without any authentication (port " REMOTE_TCP_PORT ")", TEXT(listen_tcp)},
    {"listen-tls", "ADDRESS[:PORT]", "also serve TLS there, for clients with a certificate (port " REMOTE_TLS_PORT ")", TEXT(listen_tls)},
    {"pki-dir", "DIR", "cacert.pem, servercert.pem, serverkey.pem (default: in /etc/pki, as libvirt)", TEXT(pki_dir)},
    {"user", "NAME", "VMs run as this user (default: ferryd's own)", TEXT(user)},
    {"group", "NAME", "and this group", TEXT(group)},
    {"default-network", "WHAT", "network default at the first start: autostart, define or none (default: define)",
     TEXT(default_network)},
    {"migration-tls-dir", "DIR", "certificates for migrations by TLS (default: /etc/pki/qemu)", TEXT(migration_tls_dir)},
    {"migration-host", "NAME", "where other hosts reach this one (default: its name)", TEXT(migration_host)},
};

static void print_help(void)
{
    printf("usage: ferryd [OPTION]...\nManages virtual machines, and serves libvirt's clients.\n\n"
           "  --config FILE\n          settings by these names with _ for - (default: " CONFIG_FILE ", if it is there);\n"
           "          the command line outweighs it\n");
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
        return err_set(err, -EINVAL, "%s needs a value that is not empty: %s", option->name, option->argument);
    }
    free(*text);
    *text = copy;
    return 0;
}

/* A key of the file is an option's name with _ for - . */
static bool is_key_of(const char *key, const char *name)
{
    for (; *key != 0 && *name != 0; key++, name++) {
        if (*key != (*name == '-' ? '_' : *name))
            return false;
    }
    return *key == *name;
}

/* libvirtd's settings of how clients prove who they are: what ferryd does may be written down, all else is refused. */
static int check_authentication(const char *key, const char *value, struct err *err)
{
    static const struct {
        const char *key, *instead;
    } settings[] = {
        {"auth_unix_rw", "the permissions of libvirt-sock say who may use it"},
        {"auth_unix_ro", "the permissions of libvirt-sock-ro say who may use it"},
        {"auth_tcp", "for clients that must prove who they are use listen_tls, or ssh"},
        {"auth_tls", "the client's certificate says who it is"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
        if (text_equal(key, settings[i].key))
            return text_equal(value, "none")
                       ? 0
                       : err_set(err, -ENOTSUP, "%s is \"%.60s\", but there is neither SASL nor polkit here, only \"none\": %s", key, value,
                                 settings[i].instead);
    }
    return err_set(err, -EINVAL, "there is no setting \"%.60s\"; ferryd --help lists them", key);
}

static int take_setting(void *ctx, const char *key, const char *value, struct err *err)
{
    struct daemon_config *config = ctx;

    if (text_equal(key, "verbose")) {
        if (!text_equal(value, "yes") && !text_equal(value, "no"))
            return err_set(err, -EINVAL, "verbose is \"%.60s\", neither yes nor no", value);
        config->verbose = text_equal(value, "yes");
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (is_key_of(key, options[i].name))
            return set_text(config, &options[i], value, err);
    }
    return check_authentication(key, value, err);
}

/* The file that the command line names must be there. */
static int read_file(int argc, char *const argv[], struct daemon_config *config, struct err *err)
{
    const char *path = NULL;

    for (int i = 1; i < argc; i++) {
        if (text_starts_with(argv[i], "--config="))
            path = argv[i] + strlen("--config=");
        else if (text_equal(argv[i], "--config") && i + 1 < argc)
            path = argv[i + 1];
    }
    if (path == NULL && access(CONFIG_FILE, F_OK) < 0)
        return 0;
    return config_file_read(path != NULL ? path : CONFIG_FILE, take_setting, config, err);
}

static int parse_one(int argc, char *const argv[], int *at, struct daemon_config *config, struct err *err)
{
    const char *argument = argv[*at];
    size_t length = strcspn(argument, "=");

    if (text_equal(argument, "--config") && *at + 1 >= argc)
        return err_set(err, -EINVAL, "--config needs a value: FILE");
    if (text_equal(argument, "--config"))
        ++*at;
    if (text_equal(argument, "--config") || text_starts_with(argument, "--config="))
        return 0; /* read before */
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

/* 1 when one of them was asked for and printed. */
static int show_help_or_version(int argc, char *const argv[])
{
    for (int i = 1; i < argc; i++) {
        if (text_equal(argv[i], "--help")) {
            print_help();
            return 1;
        }
        if (text_equal(argv[i], "--version")) {
            printf("ferryd %s\n", FERRY_VERSION);
            return 1;
        }
    }
    return 0;
}

int daemon_options_parse(int argc, char *const argv[], struct daemon_config *ret_config, struct err *err)
{
    int r = set_defaults(ret_config, err);

    if (r == 0 && show_help_or_version(argc, argv) != 0)
        return 1;
    if (r == 0)
        r = read_file(argc, argv, ret_config, err);
    for (int i = 1; r == 0 && i < argc; i++) {
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
