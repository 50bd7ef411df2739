/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs about domains: one table, the options, and the simple ones. */
#include "cli/daemon_verbs.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "cli/daemon_internal.h"
#include "protocol/remote.h"

enum { EXIT_REFUSED = 1, EXIT_BAD_INPUT = 2 };
enum { CREATE_PAUSED = 1 };

struct daemon_verb {
    const char *name, *arguments, *help;
    int (*run)(struct verb_call *call, struct err *err);
    unsigned words_min, words_max;
    int32_t procedure; /* of the simple ones */
};

int verb_find(struct verb_call *call, int32_t lookup, const char *name, struct rpc_object *ret_object, struct err *err)
{
    int r;

    xdr_put_string(&call->client.writer, name);
    r = daemon_client_call(&call->client, lookup, err);
    if (r == 0)
        *ret_object = *call->client.result[0].object;
    return r;
}

void verb_put_domain(struct verb_call *call, const struct rpc_object *domain)
{
    rpc_put_domain(&call->client.writer, domain->name, domain->uuid, domain->id);
}

int verb_simple(struct verb_call *call, int32_t procedure, const struct rpc_object *object, bool domain, struct err *err)
{
    if (domain)
        verb_put_domain(call, object);
    else
        rpc_put_named(&call->client.writer, object->name, object->uuid);
    return daemon_client_call(&call->client, procedure, err);
}

static const char *state_name(int32_t state)
{
    static const char *const names[] = {"no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed"};

    return state >= 0 && (size_t)state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static size_t width_of(const json_t *list, const char *key)
{
    size_t width = strlen(key), i;
    json_t *item;

    json_array_foreach (list, i, item) {
        const char *text = json_string_value(json_object_get(item, key));

        if (text != NULL && strlen(text) > width)
            width = strlen(text);
    }
    return width;
}

static void print_rows(const json_t *list, const char *const keys[])
{
    size_t i;
    json_t *item;

    for (unsigned k = 0; keys[k] != NULL; k++)
        printf("%-*s%s", keys[k + 1] != NULL ? (int)width_of(list, keys[k]) : 0, keys[k], keys[k + 1] != NULL ? "  " : "\n");
    json_array_foreach (list, i, item) {
        for (unsigned k = 0; keys[k] != NULL; k++)
            printf("%-*s%s", keys[k + 1] != NULL ? (int)width_of(list, keys[k]) : 0, json_string_value(json_object_get(item, keys[k])),
                   keys[k + 1] != NULL ? "  " : "\n");
    }
}

void verb_print_list(const struct verb_call *call, json_t *list, const char *const keys[])
{
    if (call->json) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        print_rows(list, keys);
    }
    json_decref(list);
}

static json_t *describe(struct verb_call *call, const struct rpc_object *domain, struct err *err)
{
    char id[16] = "-";

    verb_put_domain(call, domain);
    xdr_put_u32(&call->client.writer, 0);
    if (daemon_client_call(&call->client, REMOTE_DOMAIN_GET_STATE, err) < 0)
        return NULL; /* it has gone meanwhile */
    if (domain->id >= 0)
        snprintf(id, sizeof(id), "%d", domain->id);
    return json_pack("{s:s, s:s, s:s}", "id", id, "name", domain->name, "state", state_name(call->client.result[0].i));
}

static int verb_list(struct verb_call *call, struct err *err)
{
    static const char *const keys[] = {"id", "name", "state", NULL};
    json_t *list = json_array();
    struct rpc_value domains;
    int r;

    xdr_put_i32(&call->client.writer, 1);
    xdr_put_u32(&call->client.writer, call->all ? 3 : 1);
    r = daemon_client_call(&call->client, REMOTE_CONNECT_LIST_ALL_DOMAINS, err);
    domains = call->client.result[0];
    for (size_t i = 0; r == 0 && i < domains.list.count; i++) {
        json_t *one = describe(call, domains.list.items[i].object, err);

        if (one != NULL)
            json_array_append_new(list, one);
    }
    if (r == 0)
        verb_print_list(call, list, keys);
    else
        json_decref(list);
    return r;
}

static int verb_start(struct verb_call *call, struct err *err)
{
    struct rpc_object domain;
    int r = verb_find(call, REMOTE_DOMAIN_LOOKUP_BY_NAME, call->word[0], &domain, err);

    if (r < 0)
        return r;
    verb_put_domain(call, &domain);
    xdr_put_u32(&call->client.writer, call->paused ? CREATE_PAUSED : 0);
    return daemon_client_call(&call->client, REMOTE_DOMAIN_CREATE_WITH_FLAGS, err);
}

static int with_domain(struct verb_call *call, int32_t procedure, struct err *err)
{
    struct rpc_object domain;
    int r = verb_find(call, REMOTE_DOMAIN_LOOKUP_BY_NAME, call->word[0], &domain, err);

    return r < 0 ? r : verb_simple(call, procedure, &domain, true, err);
}

static int verb_stop(struct verb_call *call, struct err *err)
{
    return with_domain(call, call->force ? REMOTE_DOMAIN_DESTROY : REMOTE_DOMAIN_SHUTDOWN, err);
}

static int verb_pause(struct verb_call *call, struct err *err)
{
    return with_domain(call, REMOTE_DOMAIN_SUSPEND, err);
}

static int verb_resume(struct verb_call *call, struct err *err)
{
    return with_domain(call, REMOTE_DOMAIN_RESUME, err);
}

static int with_flags(struct verb_call *call, int32_t procedure, struct err *err)
{
    struct rpc_object domain;
    int r = verb_find(call, REMOTE_DOMAIN_LOOKUP_BY_NAME, call->word[0], &domain, err);

    if (r < 0)
        return r;
    verb_put_domain(call, &domain);
    xdr_put_u32(&call->client.writer, 0);
    return daemon_client_call(&call->client, procedure, err);
}

static int verb_reset(struct verb_call *call, struct err *err)
{
    return with_flags(call, REMOTE_DOMAIN_RESET, err);
}

static int verb_status(struct verb_call *call, struct err *err)
{
    int r = with_flags(call, REMOTE_DOMAIN_GET_STATE, err);

    if (r == 0 && call->json)
        printf("{\"name\": \"%s\", \"state\": \"%s\"}\n", call->word[0], state_name(call->client.result[0].i));
    else if (r == 0)
        printf("%s\n", state_name(call->client.result[0].i));
    return r;
}

static const struct daemon_verb daemon_verbs[] = {
    {"list", "[--all]", "list running domains, or all", verb_list, 0, 0},
    {"start", "NAME [--paused]", "start a domain", verb_start, 1, 1},
    {"stop", "NAME [--force]", "press its power button; --force: end it at once", verb_stop, 1, 1},
    {"pause", "NAME", "let its CPUs stand", verb_pause, 1, 1},
    {"resume", "NAME", "let them go on", verb_resume, 1, 1},
    {"reset", "NAME", "reset it", verb_reset, 1, 1},
    {"status", "NAME", "print its state", verb_status, 1, 1},
    {"console", "NAME [--force]", "connect to its console; Ctrl-] leaves", verb_console, 1, 1},
    {"migrate", "NAME URI [--bandwidth MIB] [--downtime MS] [--persistent] [--undefine] [--copy-storage]",
     "move it to the host of another ferryd while it runs", verb_move, 2, 2},
    {"net", "list|start|stop|autostart [NAME]", "virtual networks", verb_net, 1, 2},
    {"pool", "list|start|stop|refresh [NAME]", "storage pools", verb_pool, 1, 2},
};

static const struct daemon_verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(daemon_verbs); i++) {
        if (text_equal(daemon_verbs[i].name, name))
            return &daemon_verbs[i];
    }
    return NULL;
}

bool daemon_verb_find(int argc, char *const argv[])
{
    const struct daemon_verb *verb = find_verb(argv[0]);
    bool named = verb != NULL && verb->words_min == 0;

    for (int i = 1; i < argc; i++) {
        if (text_starts_with(argv[i], "--control"))
            return false;
        named |= argv[i][0] != '-';
    }
    return verb != NULL && named; /* without a name it is the other verb's place to complain */
}

void daemon_verbs_print_help(FILE *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(daemon_verbs); i++)
        fprintf(out, "  %s %s\n          %s\n", daemon_verbs[i].name, daemon_verbs[i].arguments, daemon_verbs[i].help);
}

static int parse_option(struct verb_call *call, int argc, char *argv[], int *at, struct err *err)
{
    const struct {
        const char *name;
        bool *flag;
        const char **text;
    } options[] = {{"--json", &call->json, NULL},         {"--all", &call->all, NULL},           {"--force", &call->force, NULL},
                   {"--paused", &call->paused, NULL},     {"--persistent", &call->persistent, NULL}, {"--undefine", &call->undefine, NULL},
                   {"--copy-storage", &call->copy_storage, NULL},
                   {"--connect", NULL, &call->uri},       {"--bandwidth", NULL, &call->bandwidth}, {"--downtime", NULL, &call->downtime}};

    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (!text_equal(argv[*at], options[i].name))
            continue;
        if (options[i].flag != NULL)
            *options[i].flag = true;
        else if (*at + 1 < argc)
            *options[i].text = argv[++*at];
        else
            return err_set(err, -EINVAL, "%s needs a value", options[i].name);
        return 0;
    }
    return err_set(err, -EINVAL, "unknown option '%.60s'; ferry help lists the verbs with theirs", argv[*at]);
}

static int parse(const struct daemon_verb *verb, int argc, char *argv[], struct verb_call *call, struct err *err)
{
    int r = 0;

    for (int i = 1; r == 0 && i < argc; i++) {
        if (text_starts_with(argv[i], "-"))
            r = parse_option(call, argc, argv, &i, err);
        else if (call->words < VERB_WORDS_MAX)
            call->word[call->words++] = argv[i];
    }
    if (r == 0 && (call->words < verb->words_min || call->words > verb->words_max))
        r = err_set(err, -EINVAL, "usage: ferry %s %s [--connect URI] [--json]", verb->name, verb->arguments);
    return r;
}

int daemon_verb_run(int argc, char *argv[])
{
    const struct daemon_verb *verb = find_verb(argv[0]);
    struct verb_call call = {.client.channel.fd = -1};
    struct err err = ERR_INIT;
    int r = parse(verb, argc, argv, &call, &err), code = EXIT_BAD_INPUT;

    if (r == 0) {
        r = daemon_client_open(call.uri, &call.client, &err);
        if (r == 0)
            r = verb->run(&call, &err);
        daemon_client_close(&call.client);
        code = EXIT_REFUSED;
    }
    if (r == 0)
        return 0;
    fprintf(stderr, "ferry: %s\n", err.message);
    return code;
}
