/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All domains: found in files at the start, looked up, added, removed. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/files.h"
#include "daemon/lifecycle.h"
#include "daemon/migration.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

#define DEFINITION_MAX (4u << 20)
#define STATUS_MAX (8u << 20)

struct domain *inventory_find_uuid(const struct daemon *daemon, const uint8_t uuid[16])
{
    struct domain *domain = daemon->inventory->domains;

    while (domain != NULL && !uuid_equal(domain_uuid(domain), uuid))
        domain = domain->next;
    return domain;
}

struct domain *inventory_find_name(const struct daemon *daemon, const char *name)
{
    struct domain *domain = daemon->inventory->domains;

    while (domain != NULL && !text_equal(domain_name(domain), name))
        domain = domain->next;
    return domain;
}

static struct domain *new_domain(struct daemon *daemon)
{
    struct domain *domain = calloc(1, sizeof(*domain));
    struct domain **last = &daemon->inventory->domains;

    if (domain == NULL)
        return NULL;
    *domain = (struct domain){.daemon = daemon, .references = 1, .id = -1, .state = DOMAIN_SHUTOFF, .pid = -1, .pidfd = -1,
                              .lock_fd = -1};
    while (*last != NULL)
        last = &(*last)->next;
    *last = domain;
    daemon->inventory->count++;
    return domain;
}

int inventory_check(const struct daemon *daemon, const struct definition *definition, struct domain **ret_domain, struct err *err)
{
    struct domain *by_uuid = inventory_find_uuid(daemon, definition->uuid), *by_name = inventory_find_name(daemon, definition->name);
    char uuid[UUID_TEXT_SIZE];

    if (by_uuid != NULL && by_uuid != by_name) {
        uuid_format(definition->uuid, uuid);
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: domain '%s' is already defined with uuid %s",
                       domain_name(by_uuid), uuid);
    }
    if (by_name != NULL && by_name != by_uuid) {
        uuid_format(domain_uuid(by_name), uuid);
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: domain '%s' already exists with uuid %s",
                       definition->name, uuid);
    }
    *ret_domain = by_uuid;
    return 0;
}

int inventory_add(struct daemon *daemon, struct definition *definition, bool transient, struct domain **ret_domain, struct err *err)
{
    struct domain *domain = new_domain(daemon);

    if (domain == NULL) {
        definition_free(definition);
        return err_set(err, -ENOMEM, "out of memory");
    }
    if (transient)
        domain->live = definition;
    else
        domain->config = definition;
    *ret_domain = domain;
    return 0;
}

int inventory_add_live(struct daemon *daemon, struct definition *definition, struct domain **ret_domain, struct err *err)
{
    struct domain *domain = NULL;
    int r = inventory_check(daemon, definition, &domain, err);

    if (r == 0 && domain != NULL && domain_active(domain))
        r = err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "domain '%s' is already running", domain_name(domain));
    if (r < 0) {
        definition_free(definition);
        return r;
    }
    if (domain == NULL)
        return inventory_add(daemon, definition, true, ret_domain, err);
    definition_free(domain->live);
    domain->live = definition;
    *ret_domain = domain;
    return 0;
}

void inventory_remove(struct domain *domain)
{
    struct inventory *inventory = domain->daemon->inventory;
    struct domain **link = &inventory->domains;

    if (domain->gone)
        return;
    while (*link != domain)
        link = &(*link)->next;
    *link = domain->next;
    inventory->count--;
    domain->gone = true;
    wait_queue_wake_all(&domain->job_free);
    domain_release(domain);
}

int inventory_undefine(struct domain *domain, struct err *err)
{
    char path[PATH_MAX];
    int r;

    domain_path(domain, FILE_AUTOSTART, path);
    file_remove(path);
    domain_path(domain, FILE_CONFIG, path);
    r = file_remove(path);
    if (r < 0)
        return err_set(err, r, "cannot remove %s: %s", path, strerror(-r));
    domain_send_event(domain, EVENT_UNDEFINED, 0);
    domain->autostart = false;
    if (domain_active(domain)) {
        definition_free(domain->config);
        domain->config = NULL;
    } else {
        inventory_remove(domain);
    }
    return 0;
}

struct domain *call_domain(struct call *call, const struct rpc_object *object)
{
    struct domain *domain = inventory_find_uuid(call->daemon, object->uuid);
    char uuid[UUID_TEXT_SIZE];

    if (domain == NULL) {
        uuid_format(object->uuid, uuid);
        err_set(&call->err, RPC_FAULT(RPC_NO_DOMAIN), "Domain not found: no domain with matching uuid '%s' (%.200s)", uuid, object->name);
        return NULL;
    }
    domain_hold(domain);
    if (call->domain != NULL)
        domain_release(call->domain);
    call->domain = domain;
    return domain;
}

/* Reading what is there. */

static void read_config(void *ctx, const char *name)
{
    struct daemon *daemon = ctx;
    struct definition *definition;
    struct err err = ERR_INIT;
    struct domain *domain = NULL;
    char path[PATH_MAX];
    char *text = NULL;

    text_format(path, sizeof(path), "%s/domains/%s", daemon->config.state_dir, name);
    if (files_read(path, DEFINITION_MAX, &text, &err) < 0 || definition_parse(text, daemon->host, &definition, &err) < 0) {
        log_error("%s is left alone: %s", path, err.message);
        free(text);
        return;
    }
    free(text);
    if (inventory_check(daemon, definition, &domain, &err) < 0 || domain != NULL) {
        log_error("%s is left alone: %s", path, err.message);
        definition_free(definition);
    } else if (inventory_add(daemon, definition, false, &domain, &err) == 0) {
        domain_path(domain, FILE_AUTOSTART, path);
        domain->autostart = access(path, F_OK) == 0;
    }
}

/* A status file holds the definition inside of an element that says how it was. */
static int parse_status(struct daemon *daemon, const char *text, struct domain **ret_domain, struct err *err)
{
    struct definition *definition;
    struct migration *migration = NULL;
    uint64_t state = 0, reason = 0, id = 0;
    bool rebooting;
    xmlDoc *doc = NULL;
    int r = xml_read(text, "domstatus", &doc, err);

    if (r < 0)
        return r;
    definition = calloc(1, sizeof(*definition));
    if (definition == NULL) {
        xmlFreeDoc(doc);
        return -ENOMEM;
    }
    tree_number(xml_root(doc), "state", &state);
    tree_number(xml_root(doc), "reason", &reason);
    tree_number(xml_root(doc), "id", &id);
    rebooting = tree_is(xml_root(doc), "rebooting", "yes");
    r = definition_from_node(xml_first(xml_root(doc), "domain"), definition, err);
    if (r == 0 && xml_first(xml_root(doc), "migration") != NULL)
        r = migration_read(xml_first(xml_root(doc), "migration"), &migration, err);
    xmlFreeDoc(doc);
    if (r < 0) {
        definition_free(definition);
        return r;
    }
    *ret_domain = inventory_find_uuid(daemon, definition->uuid);
    if (*ret_domain == NULL)
        r = inventory_add(daemon, definition, true, ret_domain, err);
    else
        (*ret_domain)->live = definition;
    if (r < 0) {
        migration_free(migration);
        return r;
    }
    (*ret_domain)->migration = migration;
    (*ret_domain)->state = (enum domain_state)state;
    (*ret_domain)->reason = (int)reason;
    (*ret_domain)->id = (int)id;
    (*ret_domain)->rebooting = rebooting;
    if ((int)id > daemon->inventory->last_id)
        daemon->inventory->last_id = (int)id;
    return 0;
}

static void read_status(void *ctx, const char *name)
{
    struct daemon *daemon = ctx;
    struct domain *domain = NULL;
    struct err err = ERR_INIT;
    char path[PATH_MAX];
    char *text = NULL;

    text_format(path, sizeof(path), "%s/domains/%s", daemon->config.run_dir, name);
    if (files_read(path, STATUS_MAX, &text, &err) < 0 || parse_status(daemon, text, &domain, &err) < 0)
        log_error("%s: %s", path, err.message);
    free(text);
}

/* Connects to all that ran, then starts what the host's boot is to start. */
static void bring_up(void *ctx)
{
    struct daemon *daemon = ctx;
    struct domain *next;
    char path[PATH_MAX];

    for (struct domain *domain = daemon->inventory->domains; domain != NULL; domain = next) {
        domain_hold(domain);
        if (domain_active(domain))
            lifecycle_adopt(domain);
        next = domain->next;
        domain_release(domain);
    }
    daemon->ready = true;
    wait_queue_wake_all(&daemon->became_ready);
    text_format(path, sizeof(path), "%s/autostarted", daemon->config.run_dir);
    if (access(path, F_OK) == 0)
        return;
    files_write(path, "", 0, 0600, NULL);
    for (struct domain *domain = daemon->inventory->domains; domain != NULL; domain = next) {
        struct err err = ERR_INIT;

        domain_hold(domain);
        if (domain->autostart && !domain_active(domain) && domain_begin_job(domain, JOB_MODIFY, &err) == 0) {
            if (lifecycle_start(domain, false, false, &err) < 0)
                log_error("domain '%s' could not be started with the host: %s", domain_name(domain), err.message);
            domain_end_job(domain);
        }
        next = domain->gone ? NULL : domain->next;
        domain_release(domain);
    }
}

static int make_directories(struct daemon *daemon, struct err *err)
{
    static const char *const names[] = {"domains", "autostart", "save"};
    char path[PATH_MAX];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
        text_format(path, sizeof(path), "%s/%s", daemon->config.state_dir, names[i]);
        r = files_make_directory(path, i == 2 ? 0711 : 0700, err); /* VMs have directories of their own in save */
    }
    text_format(path, sizeof(path), "%s/domains", daemon->config.run_dir);
    if (r == 0)
        r = files_make_directory(path, 0700, err);
    text_format(path, sizeof(path), "%s/vm", daemon->config.run_dir);
    return r == 0 ? files_make_directory(path, 0711, err) : r;
}

int inventory_load(struct daemon *daemon, struct err *err)
{
    char path[PATH_MAX];
    int r = make_directories(daemon, err);

    if (r < 0)
        return r;
    daemon->inventory = calloc(1, sizeof(*daemon->inventory));
    if (daemon->inventory == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    text_format(path, sizeof(path), "%s/domains", daemon->config.state_dir);
    files_each(path, ".xml", read_config, daemon);
    text_format(path, sizeof(path), "%s/domains", daemon->config.run_dir);
    files_each(path, ".xml", read_status, daemon);
    r = coroutine_start(daemon->scheduler, bring_up, daemon);
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

void inventory_free(struct daemon *daemon)
{
    if (daemon->inventory == NULL)
        return;
    while (daemon->inventory->domains != NULL)
        inventory_remove(daemon->inventory->domains);
    free(daemon->inventory);
    daemon->inventory = NULL;
}
