/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that change a device in its place, detach one by its alias, or say what follows on the end of a guest. */
#include <errno.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/change.h"
#include "daemon/domain.h"
#include "daemon/plug.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

/* The lasting definition with the device in place of the one that it describes; what the new one leaves out (its PCI address) it keeps. */
static int replaced_config(const struct domain *domain, const xmlNode *device, struct definition **ret_changed, struct err *err)
{
    struct definition *copy;
    xmlNode *found, *added;
    int r;

    if (definition_copy(domain->config, &copy) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    r = definition_find_device(copy, device, &found, err);
    added = r == 0 ? xmlDocCopyNode((xmlNode *)device, copy->doc, 1) : NULL;
    if (r == 0 && added == NULL)
        r = err_set(err, -ENOMEM, "out of memory");
    if (r == 0) {
        if (tree_first(added, "address") == NULL && tree_first(found, "address") != NULL)
            tree_graft(added, tree_first(found, "address"));
        xmlAddNextSibling(found, added);
        tree_remove(found);
        definition_drop_live_facts(copy);
        r = definition_update(copy, err);
    }
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    *ret_changed = copy;
    return 0;
}

static int update_device(struct domain *domain, const xmlNode *device, uint32_t flags, struct err *err)
{
    struct definition *changed = NULL;
    int r = change_settle_flags(domain, &flags, err);

    if (r == 0 && (flags & AFFECT_CONFIG) != 0)
        r = replaced_config(domain, device, &changed, err);
    if (r == 0 && (flags & AFFECT_LIVE) != 0)
        r = plug_update(domain, device, err);
    if (r < 0) {
        definition_free(changed);
        return r;
    }
    return changed != NULL ? change_commit(domain, changed, err) : 0;
}

static int update_device_flags(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    xmlDoc *doc = NULL;
    int r = domain == NULL ? call->err.code : call_check_flags(call, call->arg[2].u, AFFECT_LIVE | AFFECT_CONFIG | AFFECT_FORCE);

    if (r == 0)
        r = definition_parse_device(call->arg[1].s, true, &doc, &call->err);
    if (r == 0)
        r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r == 0) {
        r = update_device(domain, xml_root(doc), call->arg[2].u, &call->err);
        domain_end_job(domain);
    }
    xmlFreeDoc(doc);
    return r;
}

/* A copy of the device in a document of its own: what waits must not hold on to a definition. */
static xmlDoc *copy_by_alias(const struct definition *definition, const char *alias)
{
    const xmlNode *at = xml_first(definition_devices(definition), NULL);
    xmlDoc *doc;

    while (at != NULL && !tree_is(xml_first(at, "alias"), "name", alias))
        at = xml_next(at, NULL);
    doc = at != NULL ? xmlNewDoc((const xmlChar *)"1.0") : NULL;
    if (doc != NULL)
        xmlDocSetRootElement(doc, xmlDocCopyNode((xmlNode *)at, doc, 1));
    return doc;
}

static int detach_alias(struct domain *domain, const char *alias, uint32_t flags, struct err *err)
{
    int r = change_settle_flags(domain, &flags, err);
    xmlDoc *doc = NULL;

    if (r == 0) {
        doc = copy_by_alias((flags & AFFECT_LIVE) != 0 ? domain->live : domain->config, alias);
        r = doc == NULL ? err_set(err, RPC_FAULT(RPC_DEVICE_MISSING), "device not found: no device has the alias '%.100s'", alias)
                        : change_device(domain, xml_root(doc), false, flags, err);
    }
    xmlFreeDoc(doc);
    return r;
}

static int detach_device_alias(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : call_check_flags(call, call->arg[2].u, AFFECT_LIVE | AFFECT_CONFIG);

    if (r == 0)
        r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r == 0) {
        r = detach_alias(domain, call->arg[1].s, call->arg[2].u, &call->err);
        domain_end_job(domain);
    }
    return r;
}

static int set_action(struct domain *domain, const char *element, const char *action, struct err *err)
{
    struct definition *copy = NULL;
    int r;

    if (definition_copy(domain->config, &copy) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    tree_set_text(tree_first(definition_root(copy), element), "%s", action);
    r = schema_check(definition_root(copy), "domain", err);
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    return change_commit(domain, copy, err);
}

static int set_lifecycle_action(struct call *call)
{
    static const char *const elements[] = {"on_poweroff", "on_reboot", "on_crash"};
    static const char *const actions[] = {"destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart"};
    struct domain *domain = call_domain(call, call->arg[0].object);
    uint32_t flags = call->arg[3].u;
    int r = domain == NULL ? call->err.code : call_check_flags(call, flags, AFFECT_LIVE | AFFECT_CONFIG);

    if (r == 0)
        r = change_settle_flags(domain, &flags, &call->err);
    if (r < 0)
        return r;
    if (call->arg[1].u >= ARRAY_SIZE(elements) || call->arg[2].u >= ARRAY_SIZE(actions))
        return err_set(&call->err, -EINVAL, "there is no such action of a domain's life");
    if ((flags & AFFECT_LIVE) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "what follows on the end of a running guest was settled when it "
                       "started: use --config, and start it anew");
    r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r == 0) {
        r = set_action(domain, elements[call->arg[1].u], actions[call->arg[2].u], &call->err);
        domain_end_job(domain);
    }
    return r;
}

const struct call_handler update_calls[] = {
    {REMOTE_DOMAIN_UPDATE_DEVICE_FLAGS, update_device_flags},
    {REMOTE_DOMAIN_DETACH_DEVICE_ALIAS, detach_device_alias},
    {REMOTE_DOMAIN_SET_LIFECYCLE_ACTION, set_lifecycle_action},
    {0, NULL},
};
