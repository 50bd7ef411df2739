/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What "live" and "config" mean, and devices that come and go by them. */
#include "daemon/change.h"

#include <errno.h>

#include "base/err.h"
#include "daemon/definition.h"
#include "daemon/domain.h"
#include "daemon/plug.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"

int change_settle_flags(const struct domain *domain, uint32_t *flags, struct err *err)
{
    if ((*flags & (AFFECT_LIVE | AFFECT_CONFIG)) == 0)
        *flags |= domain_active(domain) ? AFFECT_LIVE : AFFECT_CONFIG;
    if ((*flags & AFFECT_LIVE) != 0 && !domain_active(domain))
        return domain_need_active(domain, err);
    if ((*flags & AFFECT_CONFIG) != 0 && domain->config == NULL)
        return err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "transient domains do not have any persistent config");
    return 0;
}

int change_commit(struct domain *domain, struct definition *changed, struct err *err)
{
    struct definition *before = domain->config;
    int r;

    domain->config = changed;
    r = domain_write_config(domain, err);
    if (r < 0) {
        domain->config = before;
        definition_free(changed);
        return r;
    }
    definition_free(before);
    return 0;
}

/* A changed copy of the lasting definition, not yet in force. */
static int changed_config(const struct domain *domain, const xmlNode *device, bool attach, struct definition **ret_changed,
                          struct err *err)
{
    struct definition *copy;
    xmlNode *found;
    int r;

    if (definition_copy(domain->config, &copy) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    r = attach ? definition_add_device(copy, device, &found, err) : definition_find_device(copy, device, &found, err);
    if (r == 0 && !attach)
        tree_remove(found);
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    *ret_changed = copy;
    return 0;
}

/* The lasting definition is prepared first, and comes into force when the VM has obeyed. */
int change_device(struct domain *domain, const xmlNode *device, bool attach, uint32_t flags, struct err *err)
{
    struct definition *changed = NULL;
    int r = change_settle_flags(domain, &flags, err);

    if (r == 0 && (flags & AFFECT_CONFIG) != 0)
        r = changed_config(domain, device, attach, &changed, err);
    if (r == 0 && (flags & AFFECT_LIVE) != 0)
        r = attach ? plug_attach(domain, device, err) : plug_detach(domain, device, err);
    if (r < 0) {
        definition_free(changed);
        return r;
    }
    return changed != NULL ? change_commit(domain, changed, err) : 0;
}
