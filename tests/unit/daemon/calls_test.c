/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: every procedure of the table has a handler, or a sentence that says why not; never both. */
#include "check.h"

#include "base/err.h"
#include "daemon/absent.h"
#include "daemon/call.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static const struct {
    uint32_t program;
    const struct call_handler *handlers;
} tables[] = {
    {RPC_PROGRAM_REMOTE, connect_calls},    {RPC_PROGRAM_REMOTE, host_calls},     {RPC_PROGRAM_REMOTE, event_calls},
    {RPC_PROGRAM_REMOTE, network_calls},    {RPC_PROGRAM_REMOTE, storage_calls},  {RPC_PROGRAM_REMOTE, volume_calls},
    {RPC_PROGRAM_REMOTE, domain_calls},     {RPC_PROGRAM_REMOTE, lifecycle_calls}, {RPC_PROGRAM_REMOTE, device_calls},
    {RPC_PROGRAM_REMOTE, update_calls},     {RPC_PROGRAM_REMOTE, block_calls},    {RPC_PROGRAM_REMOTE, limits_calls},
    {RPC_PROGRAM_REMOTE, statistics_calls}, {RPC_PROGRAM_REMOTE, save_calls},     {RPC_PROGRAM_REMOTE, metadata_calls},
    {RPC_PROGRAM_REMOTE, cpu_calls},        {RPC_PROGRAM_REMOTE, migrate_calls},  {RPC_PROGRAM_REMOTE, console_calls},
    {RPC_PROGRAM_QEMU, monitor_calls},      {RPC_PROGRAM_QEMU, monitor_event_calls},
};

/* What clients try first and fall back from, and what belongs to objects that there are none of. */
static const int32_t falls_back[] = {
    REMOTE_DOMAIN_MIGRATE_PREPARE, REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, REMOTE_AUTH_SASL_INIT, REMOTE_AUTH_SASL_START,
    REMOTE_AUTH_SASL_STEP, REMOTE_AUTH_POLKIT, REMOTE_CONNECT_FIND_STORAGE_POOL_SOURCES, REMOTE_SECRET_DEFINE_XML, REMOTE_SECRET_SET_VALUE,
    REMOTE_SECRET_UNDEFINE, REMOTE_INTERFACE_IS_ACTIVE, REMOTE_NWFILTER_LOOKUP_BY_NAME, REMOTE_NWFILTER_LOOKUP_BY_UUID,
    REMOTE_NWFILTER_GET_XML_DESC, REMOTE_NWFILTER_DEFINE_XML, REMOTE_DOMAIN_SNAPSHOT_LIST_ALL_CHILDREN, REMOTE_DOMAIN_SNAPSHOT_IS_CURRENT,
    REMOTE_DOMAIN_SNAPSHOT_HAS_METADATA, REMOTE_DOMAIN_GET_SECURITY_LABEL_LIST, REMOTE_NODE_DEVICE_LOOKUP_SCSI_HOST_BY_WWN,
    REMOTE_CONNECT_SET_IDENTITY, REMOTE_NODE_DEVICE_IS_ACTIVE, REMOTE_DOMAIN_SAVE_PARAMS, REMOTE_DOMAIN_RESTORE_PARAMS,
    REMOTE_DOMAIN_ABORT_JOB_FLAGS,
};

static unsigned count_handlers(const struct remote_call *type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct call_handler *handler = tables[i].handlers; handler->number != 0; handler++)
            count += tables[i].program == type->program && handler->number == type->number;
    }
    return count;
}

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
    bool has_reason = absent_refuse(type, &err) != RPC_FAULT(RPC_NO_SUPPORT);
    unsigned handlers = count_handlers(type);
    assert_true(err.message[0] != 0);
    if (type->access == REMOTE_EVENT)
        assert_int_equal(handlers, 0);
    else if (handlers + has_reason != 1 && !(handlers + has_reason == 0 && may_fall_back(type)))
        fail_msg("%s has %u handlers and %s sentence", type->name, handlers, has_reason ? "a" : "no");
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
