/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One table: the call, and what is missing. What stands in neither this table nor a handler's is a call that clients fall back from. */
#include "daemon/absent.h"

#include "base/bits.h"
#include "base/err.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

#define AGENT "the guest can't be asked: there is no channel to a guest agent in Ferry's machines"
#define SNAPSHOT "domains have no snapshots: save the domain, or copy its disks as volumes (vol-clone) while it is off"
#define CHECKPOINT "there are no checkpoints and no backups of running domains: copy its disks as volumes (vol-clone) while it is off"
#define BLOCK_JOB "disks are not copied, pulled or committed while the domain runs: do it while it is off (vol-clone, qemu-img)"
#define IO_THREAD "there are no I/O threads to add, set or pin: the kernel does a disk's work beside the VM's event loop"
#define PINNING "CPUs are not pinned: each CPU of a domain may run on every CPU of the host"
#define LIMITS "the host's scheduler and memory are not divided among domains: each may use what the host has"
#define SEV "guests' memory is not encrypted: there is no launch security"
#define SLEEP "the machine has no sleep states that could be asked for: suspend the domain, or save it"
#define FILES "descriptors of a client's can't be handed to a domain: name files by their paths"
#define DISPLAY "the machine has no display: use the console"
#define QEMU_COMMAND "there is no QEMU here: no command line to convert, and no process to attach to"

static const struct reason {
    int32_t number;
    enum rpc_error_code code;
    const char *sentence;
} remote_reasons[] = {
    {REMOTE_DOMAIN_GET_SCHEDULER_TYPE, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_GET_SCHEDULER_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_GET_SCHEDULER_PARAMETERS_FLAGS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_SET_SCHEDULER_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_SET_SCHEDULER_PARAMETERS_FLAGS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_SET_MEMORY_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_SET_BLKIO_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_GET_BLKIO_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_DOMAIN_SET_NUMA_PARAMETERS, RPC_OPERATION_UNSUPPORTED, LIMITS},
    {REMOTE_NODE_SET_MEMORY_PARAMETERS, RPC_OPERATION_UNSUPPORTED,
     "the host's own page sharing is not Ferry's to set: see /sys/kernel/mm/ksm"},
    {REMOTE_NODE_GET_MEMORY_PARAMETERS, RPC_OPERATION_UNSUPPORTED,
     "the host's own page sharing is not Ferry's: see /sys/kernel/mm/ksm"},
    {REMOTE_DOMAIN_SET_BLOCK_IO_TUNE, RPC_OPERATION_UNSUPPORTED, "disks have no limits of their own: none can be set"},
    {REMOTE_DOMAIN_SET_INTERFACE_PARAMETERS, RPC_OPERATION_UNSUPPORTED,
     "interfaces have no limits of their own: none can be set"},
    {REMOTE_DOMAIN_PIN_VCPU, RPC_OPERATION_UNSUPPORTED, PINNING},
    {REMOTE_DOMAIN_PIN_VCPU_FLAGS, RPC_OPERATION_UNSUPPORTED, PINNING},
    {REMOTE_DOMAIN_PIN_EMULATOR, RPC_OPERATION_UNSUPPORTED, PINNING},
    {REMOTE_DOMAIN_SET_VCPU, RPC_OPERATION_UNSUPPORTED,
     "CPUs are not added or taken away while the domain runs: setvcpus --config, and start it anew"},
    {REMOTE_DOMAIN_PIN_IOTHREAD, RPC_OPERATION_UNSUPPORTED, IO_THREAD},
    {REMOTE_DOMAIN_ADD_IOTHREAD, RPC_OPERATION_UNSUPPORTED, IO_THREAD},
    {REMOTE_DOMAIN_DEL_IOTHREAD, RPC_OPERATION_UNSUPPORTED, IO_THREAD},
    {REMOTE_DOMAIN_SET_IOTHREAD_PARAMS, RPC_OPERATION_UNSUPPORTED, IO_THREAD},
    {REMOTE_DOMAIN_BLOCK_PULL, RPC_OPERATION_UNSUPPORTED, BLOCK_JOB},
    {REMOTE_DOMAIN_BLOCK_REBASE, RPC_OPERATION_UNSUPPORTED, BLOCK_JOB},
    {REMOTE_DOMAIN_BLOCK_COMMIT, RPC_OPERATION_UNSUPPORTED, BLOCK_JOB},
    {REMOTE_DOMAIN_BLOCK_COPY, RPC_OPERATION_UNSUPPORTED, BLOCK_JOB},
    {REMOTE_DOMAIN_BLOCK_JOB_ABORT, RPC_OPERATION_INVALID, "there is no job on the disk"},
    {REMOTE_DOMAIN_BLOCK_JOB_SET_SPEED, RPC_OPERATION_INVALID, "there is no job on the disk"},
    {REMOTE_DOMAIN_BLOCK_RESIZE, RPC_OPERATION_UNSUPPORTED,
     "a disk keeps its size while the domain runs: vol-resize it while it is off"},
    {REMOTE_DOMAIN_BLOCK_PEEK, RPC_OPERATION_UNSUPPORTED, "a domain's disk is not read for others: use vol-download"},
    {REMOTE_DOMAIN_MEMORY_PEEK, RPC_OPERATION_UNSUPPORTED, "a domain's memory is not read for others"},
    {REMOTE_DOMAIN_SET_BLOCK_THRESHOLD, RPC_OPERATION_UNSUPPORTED, "nobody watches how full an image becomes: see domblkinfo"},
    {REMOTE_DOMAIN_CORE_DUMP, RPC_OPERATION_UNSUPPORTED,
     "a guest's memory is not dumped for debuggers: save keeps the whole domain"},
    {REMOTE_DOMAIN_CORE_DUMP_WITH_FORMAT, RPC_OPERATION_UNSUPPORTED,
     "a guest's memory is not dumped for debuggers: save keeps the whole domain"},
    {REMOTE_DOMAIN_INJECT_NMI, RPC_OPERATION_UNSUPPORTED, "the machine has no button for a non-maskable interrupt"},
    {REMOTE_DOMAIN_SEND_KEY, RPC_OPERATION_UNSUPPORTED,
     "the machine's keyboard has no keys that could be pressed: use the console"},
    {REMOTE_DOMAIN_SCREENSHOT, RPC_OPERATION_UNSUPPORTED, DISPLAY},
    {REMOTE_DOMAIN_OPEN_GRAPHICS, RPC_OPERATION_UNSUPPORTED, DISPLAY},
    {REMOTE_DOMAIN_OPEN_GRAPHICS_FD, RPC_OPERATION_UNSUPPORTED, DISPLAY},
    {REMOTE_DOMAIN_OPEN_CHANNEL, RPC_OPERATION_UNSUPPORTED, "the machine has no channels: use the console"},
    {REMOTE_DOMAIN_SEND_PROCESS_SIGNAL, RPC_OPERATION_UNSUPPORTED,
     "processes of a guest are its own: nobody outside can signal them"},
    {REMOTE_DOMAIN_SET_MEMORY_STATS_PERIOD, RPC_OPERATION_UNSUPPORTED,
     "the balloon tells its size alone, and at once: there is no period to set"},
    {REMOTE_DOMAIN_START_DIRTY_RATE_CALC, RPC_OPERATION_UNSUPPORTED,
     "the rate of dirty pages is measured by migrations alone: see domjobinfo"},
    {REMOTE_DOMAIN_SET_PERF_EVENTS, RPC_OPERATION_UNSUPPORTED,
     "the host's performance counters are not read for domains: use perf on the VM's process"},
    {REMOTE_DOMAIN_MIGRATE_GET_COMPRESSION_CACHE, RPC_OPERATION_UNSUPPORTED,
     "pages are packed without a cache, so there is none of any size"},
    {REMOTE_DOMAIN_MIGRATE_SET_COMPRESSION_CACHE, RPC_OPERATION_UNSUPPORTED,
     "pages are packed without a cache, so there is none of any size"},
    {REMOTE_DOMAIN_PM_SUSPEND_FOR_DURATION, RPC_OPERATION_UNSUPPORTED, SLEEP},
    {REMOTE_DOMAIN_PM_WAKEUP, RPC_OPERATION_UNSUPPORTED, SLEEP},
    {REMOTE_DOMAIN_CREATE_WITH_FILES, RPC_OPERATION_UNSUPPORTED, FILES},
    {REMOTE_DOMAIN_CREATE_XML_WITH_FILES, RPC_OPERATION_UNSUPPORTED, FILES},
    {REMOTE_DOMAIN_FD_ASSOCIATE, RPC_OPERATION_UNSUPPORTED, FILES},
    {REMOTE_DOMAIN_GET_LAUNCH_SECURITY_INFO, RPC_OPERATION_UNSUPPORTED, SEV},
    {REMOTE_DOMAIN_SET_LAUNCH_SECURITY_STATE, RPC_OPERATION_UNSUPPORTED, SEV},
    {REMOTE_NODE_GET_SEV_INFO, RPC_OPERATION_UNSUPPORTED, SEV},
    {REMOTE_DOMAIN_FSFREEZE, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_FSTHAW, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_FSTRIM, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_GET_FSINFO, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_GET_TIME, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_SET_TIME, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_GET_GUEST_INFO, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_GET_GUEST_VCPUS, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_SET_GUEST_VCPUS, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_SET_USER_PASSWORD, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_AUTHORIZED_SSH_KEYS_GET, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_AUTHORIZED_SSH_KEYS_SET, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_AGENT_SET_RESPONSE_TIMEOUT, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {REMOTE_DOMAIN_SNAPSHOT_CREATE_XML, RPC_OPERATION_UNSUPPORTED, SNAPSHOT},
    {REMOTE_DOMAIN_SNAPSHOT_LOOKUP_BY_NAME, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_SNAPSHOT_CURRENT, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_SNAPSHOT_GET_XML_DESC, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_SNAPSHOT_GET_PARENT, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_SNAPSHOT_DELETE, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_REVERT_TO_SNAPSHOT, RPC_NO_SNAPSHOT, SNAPSHOT},
    {REMOTE_DOMAIN_CHECKPOINT_CREATE_XML, RPC_OPERATION_UNSUPPORTED, CHECKPOINT},
    {REMOTE_DOMAIN_CHECKPOINT_LOOKUP_BY_NAME, RPC_OPERATION_UNSUPPORTED, CHECKPOINT},
    {REMOTE_DOMAIN_BACKUP_BEGIN, RPC_OPERATION_UNSUPPORTED, CHECKPOINT},
    {REMOTE_DOMAIN_BACKUP_GET_XML_DESC, RPC_OPERATION_UNSUPPORTED, CHECKPOINT},
    {REMOTE_CONNECT_DOMAIN_XML_TO_NATIVE, RPC_OPERATION_UNSUPPORTED, QEMU_COMMAND},
    {REMOTE_CONNECT_DOMAIN_XML_FROM_NATIVE, RPC_OPERATION_UNSUPPORTED, QEMU_COMMAND},
    {REMOTE_NODE_SUSPEND_FOR_DURATION, RPC_OPERATION_UNSUPPORTED,
     "the host is not put to sleep under its domains: use systemctl suspend"},
    {REMOTE_NODE_ALLOC_PAGES, RPC_OPERATION_UNSUPPORTED, "domains take no huge pages from a pool: there is nothing to allocate"},
    {REMOTE_INTERFACE_CHANGE_BEGIN, RPC_OPERATION_UNSUPPORTED, "the host's own interfaces are not Ferry's to configure"},
}, qemu_reasons[] = {
    {QEMU_DOMAIN_ATTACH, RPC_OPERATION_UNSUPPORTED, QEMU_COMMAND},
    {QEMU_DOMAIN_AGENT_COMMAND, RPC_ARGUMENT_UNSUPPORTED, AGENT},
    {QEMU_DOMAIN_MONITOR_COMMAND_WITH_FILES, RPC_OPERATION_UNSUPPORTED, FILES},
};

static const struct reason *find(const struct reason *reasons, unsigned count, int32_t number)
{
    for (unsigned i = 0; i < count; i++) {
        if (reasons[i].number == number)
            return &reasons[i];
    }
    return NULL;
}

int absent_refuse(const struct remote_call *type, struct err *err)
{
    const struct reason *reason = NULL;

    if (type != NULL && type->program == RPC_PROGRAM_REMOTE)
        reason = find(remote_reasons, ARRAY_SIZE(remote_reasons), type->number);
    else if (type != NULL)
        reason = find(qemu_reasons, ARRAY_SIZE(qemu_reasons), type->number);
    if (reason != NULL)
        return err_set(err, RPC_FAULT(reason->code), "%s", reason->sentence);
    return err_set(err, RPC_FAULT(RPC_NO_SUPPORT), "this function is not supported by the hypervisor: %s",
                   type != NULL ? type->name : "unknown procedure");
}
