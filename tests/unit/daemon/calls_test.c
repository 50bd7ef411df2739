/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: every procedure of the table has a handler, or a sentence that says why not; never both. */
#include "check.h"

#include "base/err.h"
#include "daemon/absent.h"
#include "daemon/dispatch.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

/* What clients try first and fall back from, and what belongs to objects that there are none of. */
static const int32_t falls_back[] = {
    REMOTE_DOMAIN_MIGRATE_PREPARE, REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, REMOTE_AUTH_SASL_INIT, REMOTE_AUTH_SASL_START,
    REMOTE_AUTH_SASL_STEP, REMOTE_AUTH_POLKIT, REMOTE_CONNECT_FIND_STORAGE_POOL_SOURCES, REMOTE_SECRET_DEFINE_XML, REMOTE_SECRET_SET_VALUE,
    REMOTE_SECRET_UNDEFINE, REMOTE_INTERFACE_IS_ACTIVE, REMOTE_NWFILTER_LOOKUP_BY_NAME, REMOTE_NWFILTER_LOOKUP_BY_UUID,
    REMOTE_NWFILTER_GET_XML_DESC, REMOTE_NWFILTER_DEFINE_XML, REMOTE_DOMAIN_SNAPSHOT_LIST_ALL_CHILDREN, REMOTE_DOMAIN_SNAPSHOT_IS_CURRENT,
    REMOTE_DOMAIN_SNAPSHOT_HAS_METADATA, REMOTE_DOMAIN_GET_SECURITY_LABEL_LIST, REMOTE_NODE_DEVICE_LOOKUP_SCSI_HOST_BY_WWN,
    REMOTE_CONNECT_SET_IDENTITY, REMOTE_NODE_DEVICE_IS_ACTIVE, REMOTE_DOMAIN_SAVE_PARAMS, REMOTE_DOMAIN_RESTORE_PARAMS,
    REMOTE_DOMAIN_ABORT_JOB_FLAGS, REMOTE_NETWORK_PORT_GET_PARAMETERS, REMOTE_CONNECT_GET_STORAGE_POOL_CAPABILITIES,
};

static bool may_fall_back(const struct remote_call *type)
{
    for (unsigned i = 0; i < sizeof(falls_back) / sizeof(falls_back[0]); i++) {
        if (falls_back[i] == type->number)
            return true;
    }
    return false;
}

static void check(const struct remote_call *type)
{
    struct err err = ERR_INIT;
    bool has_reason = absent_refuse(type, &err) != RPC_FAULT(RPC_NO_SUPPORT), has_handler = dispatch_has_handler(type);
    assert_true(err.message[0] != 0);
    if (type->access == REMOTE_EVENT)
        assert_false(has_handler);
    else if (has_handler == has_reason && (has_handler || !may_fall_back(type)))
        fail_msg("%s has %s handler and %s sentence (absent.c); what clients fall back from stands above", type->name,
                 has_handler ? "a" : "no", has_reason ? "a" : "no");
}

static void test_every_procedure_has_an_answer(void **state)
{
    for (int32_t number = 1; number < 1000; number++) {
        const struct remote_call *remote = remote_find(RPC_PROGRAM_REMOTE, number), *qemu = remote_find(RPC_PROGRAM_QEMU, number);
        if (remote != NULL)
            check(remote);
        if (qemu != NULL)
            check(qemu);
    }
}

static void test_unknown_procedures(void **state)
{
    struct err err = ERR_INIT;
    assert_int_equal(absent_refuse(NULL, &err), RPC_FAULT(RPC_NO_SUPPORT));
    assert_non_null(strstr(err.message, "unknown procedure"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_procedure_has_an_answer), cmocka_unit_test(test_unknown_procedures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
