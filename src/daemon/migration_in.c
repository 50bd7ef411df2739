/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's side of a migration.
 *
 * A coroutine watches each VM that waits: when the guest has come, the domain is this host's, whether somebody asks for it or not; when
 * it can't come any more, the VM is ended. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uuid.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/host.h"
#include "daemon/lifecycle.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"
#include "daemon/process.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"
#include "remote/uri.h"

#define LOOK_NS (200 * INT64_C(1000000))
#define LOSS_NS (20 * NANOSECONDS_PER_SECOND) /* TCP takes 15 s to notice a way that is dead */
#define ORPHAN_NS (10 * NANOSECONDS_PER_SECOND) /* for a source to come whose conductor has died */

int migration_cookie(struct domain *domain, const struct migration_request *request, struct buffer *out, struct err *err)
{
    char uuid[UUID_TEXT_SIZE];
    int r;

    uuid_format(domain->daemon->host->uuid, uuid);
    r = buffer_printf(out, "<ferry-migration><hostuuid>%s</hostuuid>", uuid);
    if (r == 0 && (request->flags & MIGRATE_COPY) != 0)
        r = migration_describe_disks(domain, request, out, err);
    return r == 0 ? buffer_printf(out, "</ferry-migration>") : r;
}

/* "tcp" or "tls" with the port of ADDRESS[:PORT], "[V6]:PORT" included. */
static int daemon_uri(const struct daemon *daemon, const char *transport, const char *listen, const char *port, struct buffer *out)
{
    const char *host = daemon->config.migration_host != NULL ? daemon->config.migration_host : daemon->host->name;
    const char *colon = strrchr(listen, ':');
    uint64_t number;
    char text[8];

    if (colon != NULL && strchr(colon, ']') == NULL && text_parse_u64(colon + 1, &number) == 0 && number <= UINT16_MAX) {
        text_format(text, sizeof(text), "%" PRIu64, number);
        port = text;
    }
    if (strpbrk(host, "'<&") != NULL)
        return 0;
    return buffer_printf(out, strchr(host, ':') != NULL ? "<daemon uri='qemu+%s://[%s]:%s/system'/>"
                                                        : "<daemon uri='qemu+%s://%s:%s/system'/>", transport, host, port);
}

int migration_own_cookie(const struct daemon *daemon, struct buffer *out)
{
    int r = buffer_printf(out, "<ferry-migration>");

    if (r == 0 && daemon->config.listen_tls != NULL)
        r = daemon_uri(daemon, "tls", daemon->config.listen_tls, REMOTE_TLS_PORT, out);
    else if (r == 0 && daemon->config.listen_tcp != NULL)
        r = daemon_uri(daemon, "tcp", daemon->config.listen_tcp, REMOTE_TCP_PORT, out);
    return r == 0 ? buffer_printf(out, "</ferry-migration>") : r;
}

xmlDoc *migration_read_cookie(const void *cookie, size_t size)
{
    struct buffer text = BUFFER_INIT(MIGRATION_COOKIE_MAX + 1);
    xmlDoc *doc = NULL;

    if (size > 0 && buffer_append(&text, cookie, size) == 0)
        xml_read((const char *)text.data, "ferry-migration", &doc, NULL);
    buffer_fini(&text);
    return doc;
}

static int check_cookie(const struct daemon *daemon, const void *cookie, size_t size, struct err *err)
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(daemon->host->uuid, uuid);
    if (size > 0 && memmem(cookie, size, uuid, strlen(uuid)) != NULL)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "Attempt to migrate guest to the same host %s", uuid);
    return 0;
}

static bool port_is_free(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free_port;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    free_port = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0)
        close(fd);
    return free_port;
}

/* The next free port, in turn: one that was just used may still be known to somebody. */
static int choose_port(struct daemon *daemon, unsigned *ret_port, struct err *err)
{
    unsigned first = daemon->config.migration_port_first, count = daemon->config.migration_port_last - first + 1;

    for (unsigned i = 0; i < count; i++) {
        daemon->migration_port = (daemon->migration_port + 1) % count;
        if (port_is_free(first + daemon->migration_port)) {
            *ret_port = first + daemon->migration_port;
            return 0;
        }
    }
    return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "no port from %u to %u is free for a migration", first, first + count - 1);
}

/* Where the VM listens, and what the source is told. */
static int choose_address(struct daemon *daemon, const struct migration_request *request, char *listen_at, char *ret_uri,
                          size_t size, struct err *err)
{
    const char *host = daemon->config.migration_host != NULL ? daemon->config.migration_host : daemon->host->name;
    const char *given = request->uri, *port = NULL;
    char text[16] = "";
    unsigned number = 0;
    int r = 0;

    if (given != NULL) {
        if (!text_starts_with(given, "tcp:"))
            return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "migration URI '%.200s': there is tcp only, as in tcp://HOST[:PORT]",
                           given);
        port = strrchr(given, ':');
        if (port == NULL || port[1] == '/' || strchr(port, ']') != NULL || strlen(port) < 2)
            port = NULL;
    }
    if (port == NULL)
        r = choose_port(daemon, &number, err);
    if (r < 0)
        return r;
    if (port == NULL)
        text_format(text, sizeof(text), "%u", number);
    text_format(listen_at, size, "%s:%s:%s", (request->flags & MIGRATE_TLS) != 0 ? "tls" : "tcp",
                request->listen_address != NULL ? request->listen_address : "", port != NULL ? port + 1 : text);
    if (given != NULL && port == NULL)
        text_format(ret_uri, size, "%s:%u", given, number);
    else if (given != NULL)
        text_format(ret_uri, size, "%s", given);
    else
        text_format(ret_uri, size, strchr(host, ':') != NULL ? "tcp:[%s]:%u" : "tcp:%s:%u", host, number);
    return 0;
}

/* A guest moves between engines: the type becomes what this host offers. Another name is given here. */
static int adapt(const struct daemon *daemon, const struct migration_request *request, const char *xml,
                 struct definition **ret_definition, struct err *err)
{
    struct buffer text = BUFFER_INIT(XDR_STRING_MAX);
    xmlDoc *doc = NULL;
    int r = xml_read(xml, "domain", &doc, err);

    if (r < 0)
        return RPC_FAULT(RPC_XML_ERROR);
    if (tree_is(xml_root(doc), "type", "kvm") && !daemon->host->kvm)
        tree_set((xmlNode *)xml_root(doc), "type", "qemu");
    if (request->name != NULL && tree_first(xml_root(doc), "name") != NULL)
        tree_set_text(tree_first(xml_root(doc), "name"), "%s", request->name);
    tree_remove(tree_first(tree_first(xml_root(doc), "devices"), "emulator")); /* each host has its own */
    r = tree_format(xml_root(doc), 0, &text);
    xmlFreeDoc(doc);
    if (r == 0)
        r = definition_parse((const char *)text.data, daemon->host, ret_definition, err);
    buffer_fini(&text);
    return r;
}

static void make_persistent(struct domain *domain)
{
    struct err err = ERR_INIT;

    if (domain->config != NULL)
        return;
    domain->config = domain->migration->persistent;
    domain->migration->persistent = NULL;
    if (domain->config == NULL && definition_copy(domain->live, &domain->config) < 0)
        return;
    if (domain_write_config(domain, &err) < 0)
        log_error("domain '%s' came, and could not be defined: %s", domain_name(domain), err.message);
    domain_send_event(domain, EVENT_DEFINED, DEFINED_ADDED);
}

/* The guest runs here already, and the rest of its memory comes behind; lost: it does not for now. */
static void note_postcopy(struct domain *domain, bool lost)
{
    int reason = lost ? (int)PAUSED_POSTCOPY_FAILED : (int)RUNNING_POSTCOPY;
    enum domain_state state = lost ? DOMAIN_PAUSED : DOMAIN_RUNNING;
    bool first = domain->state != DOMAIN_RUNNING && domain->reason == PAUSED_MIGRATION;

    if (domain->state == state && domain->reason == reason)
        return;
    domain_set_state(domain, state, reason);
    if (first)
        domain_send_event(domain, EVENT_STARTED, STARTED_MIGRATED);
    domain_send_event(domain, lost ? EVENT_SUSPENDED : EVENT_RESUMED, lost ? SUSPENDED_POSTCOPY_FAILED : RESUMED_POSTCOPY);
}

static bool runs(struct domain *domain, bool *ret_paused)
{
    json_t *status = NULL;
    bool running = monitor_call(domain->monitor, "query-status", NULL, &status, NULL) == 0 &&
                   json_is_true(json_object_get(status, "running"));

    *ret_paused = text_equal(json_string_value(json_object_get(status, "status")), "paused");
    json_decref(status);
    return running;
}

/* The guest is here. If it was suspended only for the migration to come to an end, as virsh's --timeout does, it runs. */
static void arrived(struct domain *domain)
{
    bool paused, running = runs(domain, &paused);

    if (paused && (domain->migration->flags & MIGRATE_PAUSED) == 0)
        running = monitor_call(domain->monitor, "cont", NULL, NULL, NULL) == 0;
    if (!domain_active(domain))
        return;
    if (domain->reason == PAUSED_MIGRATION && domain->state == DOMAIN_PAUSED)
        domain_send_event(domain, EVENT_STARTED, STARTED_MIGRATED);
    if ((domain->migration->flags & MIGRATE_PERSIST_DEST) != 0)
        make_persistent(domain);
    domain->migration->result = MIGRATION_DONE; /* before it is written down: what is left is done again */
    domain_set_state(domain, running ? DOMAIN_RUNNING : DOMAIN_PAUSED, running ? RUNNING_MIGRATED : PAUSED_MIGRATION);
    if (running)
        domain_send_event(domain, EVENT_RESUMED, RESUMED_MIGRATED);
    else
        domain_send_event(domain, EVENT_SUSPENDED, SUSPENDED_PAUSED);
}

/* Whether nobody will send the guest any more: whoever conducts the migration has gone, and no source has come for a while. */
static bool orphaned(const struct domain *domain, const char *status, int64_t *since_ns)
{
    bool waiting = text_equal(status, "none") || text_equal(status, "setup");

    if (domain->migration->client_gone && waiting) {
        if (*since_ns == 0)
            *since_ns = host_monotonic_ns();
        return host_monotonic_ns() - *since_ns > ORPHAN_NS;
    }
    *since_ns = 0;
    return false;
}

static void end_waiting(struct domain *domain, const char *why)
{
    err_set(&domain->migration->err, RPC_FAULT(RPC_OPERATION_FAILED), "%s", why);
    domain->migration->result = MIGRATION_NOT_DONE;
    if (domain_active(domain))
        lifecycle_destroy(domain, SHUTOFF_FAILED, STOPPED_FAILED, NULL);
}

/* The VM says itself that the guest did not come. */
static void refused(struct domain *domain, const char *why)
{
    domain->migration->never_ran = true;
    end_waiting(domain, why);
}

static void watch(void *ctx)
{
    struct domain *domain = ctx;
    struct err why = ERR_INIT;
    int64_t orphan_ns = 0;
    char status[32] = "none";

    while (domain->migration->result == MIGRATION_UNDER_WAY) {
        if (!domain_active(domain) || migration_query(domain, status, &why) < 0)
            end_waiting(domain, why.message[0] != 0 ? why.message : "the destination's VM has ended; its log tells why");
        else if (text_equal(status, "completed"))
            arrived(domain);
        else if (text_equal(status, "failed") || text_equal(status, "cancelled"))
            refused(domain, why.message);
        else if (orphaned(domain, status, &orphan_ns))
            end_waiting(domain, "whoever conducted the migration has gone");
        else {
            if (text_equal(status, "postcopy-active") || text_equal(status, "postcopy-paused"))
                note_postcopy(domain, text_equal(status, "postcopy-paused"));
            wait_queue_wait(&domain->changed, domain->daemon->scheduler, LOOK_NS);
        }
    }
    domain_end_job(domain);
    domain_release(domain);
}

/* Under the job, which the watcher ends. */
static int start_watching(struct domain *domain)
{
    int r;

    domain_hold(domain);
    r = coroutine_start(domain->daemon->scheduler, watch, domain);
    if (r < 0)
        domain_release(domain);
    return r;
}

int migration_watch_incoming(struct domain *domain)
{
    int r = domain->migration != NULL && domain->migration->incoming ? 0 : migration_record(domain, NULL, true, 0, NULL);

    if (r < 0)
        return r;
    domain->migration->client_gone = true;
    domain->job = JOB_MIGRATE_IN;
    domain->job_start_ns = host_monotonic_ns();
    return start_watching(domain);
}

/* domain->live is there; the job is held. persistent (may be NULL) is taken over. */
static int wait_for_guest(struct domain *domain, const struct client *client, const struct migration_request *request,
                          struct definition *persistent, const char *listen_at, struct err *err)
{
    const struct process_options options = {.incoming = listen_at,
                                            .paused = (request->flags & MIGRATE_PAUSED) != 0,
                                            .postcopy = (request->flags & MIGRATE_POSTCOPY) != 0};
    int r = migration_record(domain, client, true, request->flags, err);

    if (r < 0)
        definition_free(persistent);
    else
        domain->migration->persistent = persistent;
    if (r == 0) {
        r = lifecycle_prepare(domain, err);
        domain->migration->result = r < 0 ? MIGRATION_NOT_DONE : MIGRATION_UNDER_WAY;
    }
    if (r < 0)
        return r;
    r = process_start(domain, &options, err);
    if (r < 0) {
        domain->migration->result = MIGRATION_NOT_DONE;
        lifecycle_unprepare(domain, SHUTOFF_FAILED);
        return r;
    }
    domain_set_state(domain, DOMAIN_PAUSED, PAUSED_MIGRATION);
    return start_watching(domain);
}

/* It is known here that the guest is to come, or came. */
static bool comes(const struct domain *domain)
{
    return domain->migration != NULL && domain->migration->incoming;
}

/* The VM may learn that its connection is lost somewhat later than the source. */
static int await_loss(struct domain *domain, struct err *err)
{
    int64_t end = host_monotonic_ns() + LOSS_NS;
    char status[32] = "none";
    int r;

    do {
        r = domain_need_active(domain, err);
        if (r == 0)
            r = migration_query(domain, status, NULL);
        if (r < 0 || text_equal(status, "postcopy-paused"))
            return r;
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, LOOK_NS);
    } while (comes(domain) && text_equal(status, "postcopy-active") && host_monotonic_ns() < end);
    return err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: domain '%s' is not in post-copy to here whose "
                   "connection is lost: its migration is '%s'", domain_name(domain), status);
}

/* The VM is there, and waits at another address from now on. definition is taken over. */
static int prepare_again(struct daemon *daemon, struct definition *definition, const char *listen_at, struct err *err)
{
    struct domain *domain = inventory_find_uuid(daemon, definition->uuid);
    char address[512];
    int r;

    if (domain == NULL) {
        r = err_set(err, RPC_FAULT(RPC_NO_DOMAIN), "there is no domain '%s' here whose post-copy could go on", definition->name);
        definition_free(definition);
        return r;
    }
    definition_free(definition);
    domain_hold(domain);
    r = await_loss(domain, err);
    if (r == 0) {
        migration_vmm_address(listen_at, comes(domain) ? domain->migration->flags : 0, address); /* by TLS, if it began so */
        r = monitor_call(domain->monitor, "migrate-recover", json_pack("{s:s}", "uri", address), NULL, err);
    }
    domain_release(domain);
    return r;
}

int migration_prepare(struct daemon *daemon, const struct client *client, const struct migration_request *request, const void *cookie,
                      size_t cookie_size, char *ret_uri, size_t uri_size, struct err *err)
{
    struct definition *definition = NULL, *persistent = NULL;
    struct domain *domain;
    char listen_at[512];
    int r = check_cookie(daemon, cookie, cookie_size, err);

    if (r == 0 && request->xml == NULL)
        r = err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "destination_xml is missing");
    if (r == 0)
        r = choose_address(daemon, request, listen_at, ret_uri, uri_size < sizeof(listen_at) ? uri_size : sizeof(listen_at), err);
    if (r == 0)
        r = adapt(daemon, request, request->xml, &definition, err);
    if (r == 0 && (request->flags & MIGRATE_POSTCOPY_RESUME) != 0)
        return prepare_again(daemon, definition, listen_at, err);
    if (r == 0 && request->persistent_xml != NULL)
        r = adapt(daemon, request, request->persistent_xml, &persistent, err);
    if (r == 0 && persistent != NULL && !uuid_equal(persistent->uuid, definition->uuid))
        r = err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "the persistent document is of another domain: its uuid differs");
    if (r == 0 && (request->flags & MIGRATE_COPY) != 0)
        r = migration_make_disks(daemon, definition, cookie, cookie_size, err);
    if (r < 0) {
        definition_free(definition);
        definition_free(persistent);
        return r;
    }
    r = inventory_add_live(daemon, definition, &domain, err);
    if (r < 0) {
        definition_free(persistent);
        return r;
    }
    migration_forget_given_up(daemon, domain_name(domain));
    domain_hold(domain);
    r = domain_begin_job(domain, JOB_MIGRATE_IN, err);
    if (r == 0) {
        r = wait_for_guest(domain, client, request, persistent, listen_at, err);
        if (r < 0)
            domain_end_job(domain);
    } else {
        definition_free(persistent);
    }
    domain_release(domain);
    return r;
}

/* The source could not give the guest away, as far as its conductor knows. If it is here all the same, it stays; else the VM is told that
 * it never will be: only behind that the source may be told so. */
static int give_up(struct domain *domain, struct err *err)
{
    struct migration *migration = domain->migration;

    while (migration->result == MIGRATION_UNDER_WAY) {
        if (domain->state == DOMAIN_PAUSED && domain->reason == PAUSED_POSTCOPY_FAILED)
            return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "domain '%s' is here and lacks memory that is on the source",
                           domain_name(domain));
        if (domain_active(domain) && monitor_call(domain->monitor, "x-ferry-migrate-settle", json_pack("{s:s}", "outcome", "discard"),
                                                  NULL, NULL) == 0) {
            migration->never_ran = true;
            end_waiting(domain, "migration was cancelled");
        } else {
            wait_queue_wait(&domain->changed, domain->daemon->scheduler, LOOK_NS); /* it is taking the guest over, or has ended */
        }
    }
    if (migration->result == MIGRATION_DONE)
        return 0;
    if (migration->never_ran)
        migration_note_given_up(domain->daemon, domain_name(domain));
    return err_set(err, RPC_FAULT(migration->never_ran ? RPC_MIGRATE_FINISH_OK : RPC_OPERATION_FAILED), "%s", migration->err.message);
}

/* The source has given it away: it is here, or just coming. */
static int await(struct domain *domain, struct err *err)
{
    char status[32];
    struct err why = ERR_INIT;

    while (domain->migration->result == MIGRATION_UNDER_WAY) {
        if (domain_active(domain) && migration_query(domain, status, &why) == 0 && text_equal(status, "x-ferry-unsettled"))
            monitor_call(domain->monitor, "x-ferry-migrate-settle", json_pack("{s:s}", "outcome", "run"), NULL, NULL);
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, LOOK_NS);
    }
    if (domain->migration->result == MIGRATION_DONE)
        return 0;
    return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "the guest did not arrive: %s", domain->migration->err.message);
}

/* A guest that came before this ferryd was started: its VM knows. */
static bool came_before(struct domain *domain)
{
    char status[32] = "none";
    json_t *machine = NULL;
    bool here;

    if (!domain_active(domain) || migration_query(domain, status, NULL) < 0 ||
        monitor_call(domain->monitor, "query-status", NULL, &machine, NULL) < 0)
        return false;
    here = text_equal(status, "completed") && !text_equal(json_string_value(json_object_get(machine, "status")), "postmigrate");
    json_decref(machine);
    return here;
}

int migration_finish(struct daemon *daemon, const struct migration_request *request, bool cancelled, struct domain **ret_domain,
                     struct err *err)
{
    struct domain *domain = request->name != NULL ? inventory_find_name(daemon, request->name) : NULL;
    int r;

    if (cancelled && request->name != NULL && migration_was_given_up(daemon, request->name) && (domain == NULL || !domain_active(domain)))
        return err_set(err, RPC_FAULT(RPC_MIGRATE_FINISH_OK), "migration was cancelled");
    if (domain != NULL && !comes(domain) && came_before(domain)) {
        domain_hold(domain);
        *ret_domain = domain;
        return 0;
    }
    if (domain == NULL || !comes(domain))
        return err_set(err, RPC_FAULT(RPC_NO_DOMAIN), "no domain '%.200s' is expected here, or it could not come; its VM's log may tell "
                       "why", request->name != NULL ? request->name : "");
    domain_hold(domain);
    r = cancelled ? give_up(domain, err) : 0;
    if (r == 0)
        r = await(domain, err);
    if (r == 0)
        *ret_domain = domain;
    else
        domain_release(domain);
    return r;
}
