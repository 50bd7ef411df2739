/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that save and restore domains. */
#include <errno.h>
#include <limits.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/lifecycle.h"
#include "daemon/save.h"

enum { SAVE_BYPASS_CACHE = 1, SAVE_RUNNING = 2, SAVE_PAUSED = 4, SAVE_KNOWN = 7 };

static int resume_of(struct call *call, uint32_t flags, int *ret_resume)
{
    int r = call_check_flags(call, flags, SAVE_KNOWN);

    if (r == 0 && (flags & SAVE_RUNNING) != 0 && (flags & SAVE_PAUSED) != 0)
        r = err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT), "running and paused exclude each other");
    if (r == 0)
        *ret_resume = (flags & SAVE_RUNNING) != 0 ? RESUME_RUNNING : (flags & SAVE_PAUSED) != 0 ? RESUME_PAUSED : RESUME_AS_SAVED;
    return r;
}

/* path NULL: the managed save. */
static int save(struct call *call, const char *path, const char *xml, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char managed[PATH_MAX];
    int resume = RESUME_AS_SAVED, r = domain == NULL ? call->err.code : resume_of(call, flags, &resume);

    if (r == 0)
        r = domain_need_active(domain, &call->err);
    if (r == 0 && path == NULL && domain->config == NULL)
        r = err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "cannot do managed save for transient domain");
    if (r == 0)
        r = domain_begin_job(domain, JOB_SAVE, &call->err);
    if (r < 0)
        return r;
    domain_path(domain, FILE_MANAGED_SAVE, managed);
    r = domain_need_active(domain, &call->err);
    if (r == 0)
        r = save_domain(domain, path != NULL ? path : managed, resume, xml, &call->err);
    domain_end_job(domain);
    return r;
}

static int save_plain(struct call *call)
{
    return save(call, call->arg[1].s, NULL, 0);
}

static int save_flags(struct call *call)
{
    return save(call, call->arg[1].s, call->arg[2].s, call->arg[3].u);
}

static int managed_save(struct call *call)
{
    return save(call, NULL, NULL, call->arg[1].u);
}

static int managed_save_remove(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char path[PATH_MAX];

    if (domain == NULL)
        return call->err.code;
    domain_path(domain, FILE_MANAGED_SAVE, path);
    return file_remove(path);
}

static int restore(struct call *call)
{
    return save_restore(call->daemon, call->arg[0].s, NULL, RESUME_AS_SAVED, &call->err);
}

static int restore_flags(struct call *call)
{
    int resume = RESUME_AS_SAVED, r = resume_of(call, call->arg[2].u, &resume);

    return r < 0 ? r : save_restore(call->daemon, call->arg[0].s, call->arg[1].s, resume, &call->err);
}

static int put_document(struct call *call, const char *path)
{
    struct definition *definition = NULL;
    struct buffer text = BUFFER_INIT(XDR_STRING_MAX);
    bool paused;
    int r = save_read(call->daemon, path, &definition, &paused, &call->err);

    if (r == 0)
        r = definition_format(definition, -1, &text);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)text.data);
    buffer_fini(&text);
    definition_free(definition);
    return r;
}

static int image_get_xml_desc(struct call *call)
{
    return put_document(call, call->arg[0].s);
}

static int managed_save_get_xml_desc(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char path[PATH_MAX];

    if (domain == NULL)
        return call->err.code;
    if (!domain_has_managed_save(domain))
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "domain does not have managed save image");
    domain_path(domain, FILE_MANAGED_SAVE, path);
    return put_document(call, path);
}

static int image_define_xml(struct call *call)
{
    int resume = RESUME_AS_SAVED, r = resume_of(call, call->arg[2].u, &resume);

    return r < 0 ? r : save_define(call->daemon, call->arg[0].s, call->arg[1].s, resume, &call->err);
}

static int managed_save_define_xml(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char path[PATH_MAX];
    int resume = RESUME_AS_SAVED, r = domain == NULL ? call->err.code : resume_of(call, call->arg[2].u, &resume);

    if (r < 0)
        return r;
    if (!domain_has_managed_save(domain))
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "domain does not have managed save image");
    if (call->arg[1].s == NULL)
        return err_set(&call->err, -EINVAL, "the document is missing");
    domain_path(domain, FILE_MANAGED_SAVE, path);
    r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r == 0) {
        r = save_define(call->daemon, path, call->arg[1].s, resume, &call->err);
        domain_end_job(domain);
    }
    return r;
}

const struct call_handler save_calls[] = {
    {REMOTE_DOMAIN_SAVE_IMAGE_DEFINE_XML, image_define_xml},
    {REMOTE_DOMAIN_MANAGED_SAVE_DEFINE_XML, managed_save_define_xml},
    {REMOTE_DOMAIN_SAVE, save_plain},
    {REMOTE_DOMAIN_SAVE_FLAGS, save_flags},
    {REMOTE_DOMAIN_MANAGED_SAVE, managed_save},
    {REMOTE_DOMAIN_MANAGED_SAVE_REMOVE, managed_save_remove},
    {REMOTE_DOMAIN_MANAGED_SAVE_GET_XML_DESC, managed_save_get_xml_desc},
    {REMOTE_DOMAIN_RESTORE, restore},
    {REMOTE_DOMAIN_RESTORE_FLAGS, restore_flags},
    {REMOTE_DOMAIN_SAVE_IMAGE_GET_XML_DESC, image_get_xml_desc},
    {0, NULL},
};
