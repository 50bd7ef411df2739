/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of the control socket: one table. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "devices/virtio/balloon.h"
#include "protocol/qmp.h"
#include "vmm/board.h"
#include "vmm/control.h"
#include "vmm/control_migrate.h"
#include "vmm/control_plug.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/migrate.h"
#include "vmm/statistics.h"
#include "vmm/version.h"

typedef int command_fn(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err);

struct command {
    const char *name;
    command_fn *run;
    const char *argument; /* the one mandatory argument; NULL: none */
    json_type type;       /* of the argument */
    bool free_form;       /* it checks its arguments itself */
    bool changes;         /* what a migration counts on: refused meanwhile, and where the guest is not here */
    bool alone;           /* needs neither the loop's thread nor the machine's lock */
};

static int query_status(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    *ret_value = json_pack("{s:s, s:b, s:b}", "status", machine_status_name(machine), "running",
                           machine->status == MACHINE_RUNNING, "singlestep", 0);
    return 0;
}

static int query_version(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    *ret_value = qmp_version(FERRY_PROGRAM, FERRY_VERSION);
    return 0;
}

static int query_name(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    *ret_value = json_pack("{s:s}", "name", machine->config->name);
    return 0;
}

static int query_kvm(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    *ret_value = json_pack("{s:b, s:b}", "enabled", text_equal(machine->engine_type->name, "kvm"), "present",
                           access("/dev/kvm", R_OK | W_OK) == 0);
    return 0;
}

static int query_cpus(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < machine->cpu_count; i++) {
        char path[32];

        snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
        json_array_append_new(list, json_pack("{s:i, s:s, s:i, s:s, s:{s:i}}", "cpu-index", i, "qom-path", path,
                                              "thread-id", (int)machine->cpu[i].thread_id, "target", "x86_64", "props",
                                              "core-id", i));
    }
    *ret_value = list;
    return 0;
}

static json_t *describe_character(const char *label, const char *spec, const char *pty)
{
    char name[128];

    text_format(name, sizeof(name), "pty:%s", pty);
    return json_pack("{s:s, s:s, s:b}", "label", label, "filename", pty[0] != 0 ? name : spec, "frontend-open", 1);
}

static int query_chardev(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    json_t *list = json_array();

    json_array_append_new(list, describe_character("serial0", machine->config->serial, board_pty(machine->board, false)));
    if (machine->config->console != NULL)
        json_array_append_new(list, describe_character("console0", machine->config->console, board_pty(machine->board, true)));
    *ret_value = list;
    return 0;
}

static int query_balloon(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    uint64_t given = virtio_balloon_actual(board_balloon(machine->board));

    *ret_value = json_pack("{s:I}", "actual", (json_int_t)(machine->config->memory - given));
    return 0;
}

static int balloon(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    json_int_t value = json_integer_value(json_object_get(arguments, "value"));

    if (value <= 0)
        return err_set(err, -EINVAL, "Parameter 'value' expects a size");
    if ((uint64_t)value > machine->config->memory)
        value = machine->config->memory;
    virtio_balloon_set_target(board_balloon(machine->board), machine->config->memory - value);
    return 0;
}

static int stop(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    if (migrate_lacks_memory(machine)) /* a CPU may wait for a page that does not come */
        return err_set(err, -EBUSY, "memory of this VM is still on its way from another host: wait for it");
    if (machine->status == MACHINE_HELD) /* whether it is to run is on its way there, or there */
        return err_set(err, -EBUSY, "the VM is being handed over: stop it where it is in a moment");
    if (machine->status == MACHINE_INMIGRATE)
        machine->stays_paused = true;
    machine_pause(machine);
    return 0;
}

static int cont(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    if (machine->unusable)
        return err_set(err, -EINVAL, "the VM's state is incomplete since a load failed: use system_reset, x-ferry-load or "
                                     "quit");
    if (machine->status == MACHINE_INMIGRATE) {
        machine->stays_paused = false;
        return 0;
    }
    if (machine->status == MACHINE_HELD || machine->status == MACHINE_POSTMIGRATE)
        return err_set(err, -EINVAL, "the VM can't go on: it is %s: %s", machine_status_name(machine),
                       machine->status == MACHINE_HELD ? "it is being handed over" : "it has gone to another host");
    if (machine->status > MACHINE_PAUSED)
        return err_set(err, -EINVAL, "the VM can't go on: it is %s", machine_status_name(machine));
    machine_resume(machine);
    return 0;
}

static int system_powerdown(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    board_power_button(machine->board);
    machine_send_event(machine, MACHINE_EVENT_POWERDOWN);
    return 0;
}

static int system_reset(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    if (machine->config->kernel == NULL)
        return err_set(err, -EINVAL, "the VM was started without a kernel, so it cannot start anew");
    machine->by_guest = false;
    if (machine->config->no_reboot) {
        machine_request(machine, MACHINE_RESET, false);
        return 0;
    }
    return machine_reset(machine, err);
}

static int quit(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    machine_exit(machine, MACHINE_EXIT_POWER_OFF, false);
    return 0;
}

static int save(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    if (machine->unusable)
        return err_set(err, -EINVAL, "the VM's state is incomplete since a load failed");
    return machine_save(machine, json_string_value(json_object_get(arguments, "file")), err);
}

static int load(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    if (machine->status == MACHINE_RUNNING)
        return err_set(err, -EBUSY, "the VM is running: stop it first");
    return machine_load(machine, json_string_value(json_object_get(arguments, "file")), err);
}

static int announce_self(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    struct announce_parameters parameters = ANNOUNCE_DEFAULT;
    const struct {
        const char *name;
        unsigned *value;
    } known[] = {{"initial", &parameters.initial_ms}, {"max", &parameters.max_ms}, {"rounds", &parameters.rounds},
                 {"step", &parameters.step_ms}};
    const char *key;
    json_t *value;

    json_object_foreach (arguments, key, value) {
        unsigned i = 0;

        while (i < ARRAY_SIZE(known) && strcmp(key, known[i].name) != 0)
            i++;
        if (i == ARRAY_SIZE(known))
            return err_set(err, -EINVAL, "Parameter '%.64s' is unexpected", key);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
            return err_set(err, -EINVAL, "Parameter '%s' expects a number that is not negative", key);
        *known[i].value = (unsigned)json_integer_value(value);
    }
    if (machine->status != MACHINE_RUNNING)
        return err_set(err, -EBUSY, "the VM does not run, so it has nothing to announce");
    return machine_announce(machine, &parameters, err);
}

static int query_statistics(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    *ret_value = statistics_json(machine);
    return 0;
}

static command_fn query_commands;

static int capabilities_again(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    return err_set(err, -EINVAL, "Capabilities negotiation is already complete, command ignored");
}

static const struct command commands[] = {
    {"add-fd", control_add_fd, .free_form = true},
    {"announce-self", announce_self, .free_form = true},
    {"balloon", balloon, "value", JSON_INTEGER},
    {"blockdev-add", control_blockdev_add, .free_form = true, .changes = true},
    {"blockdev-del", control_blockdev_del, .free_form = true, .changes = true},
    {"closefd", control_closefd, .free_form = true},
    {"cont", cont},
    {"device_add", control_device_add, .free_form = true, .changes = true},
    {"device_del", control_device_del, .free_form = true, .changes = true},
    {"getfd", control_getfd, .free_form = true},
    {"migrate", control_migrate, .free_form = true},
    {"migrate-incoming", control_migrate_incoming, "uri", JSON_STRING},
    {"migrate-set-capabilities", control_set_capabilities, "capabilities", JSON_ARRAY},
    {"migrate-set-parameters", control_set_parameters, .free_form = true},
    {"migrate-start-postcopy", control_start_postcopy},
    {"migrate-pause", control_migrate_pause},
    {"migrate-recover", control_migrate_recover, "uri", JSON_STRING, .alone = true},
    {"migrate_cancel", control_migrate_cancel},
    {"netdev_add", control_netdev_add, .free_form = true, .changes = true},
    {"netdev_del", control_netdev_del, .free_form = true, .changes = true},
    {"qmp_capabilities", capabilities_again, .alone = true},
    {"query-balloon", query_balloon},
    {"query-block", control_query_block},
    {"query-blockstats", control_query_blockstats, .free_form = true},
    {"query-chardev", query_chardev},
    {"query-commands", query_commands, .alone = true},
    {"query-cpus-fast", query_cpus},
    {"query-kvm", query_kvm},
    {"query-migrate", control_query_migrate, .alone = true},
    {"query-migrate-capabilities", control_query_capabilities},
    {"query-migrate-parameters", control_query_parameters},
    {"query-name", query_name, .alone = true},
    {"query-status", query_status, .alone = true},
    {"query-version", query_version, .alone = true},
    {"quit", quit, .alone = true},
    {"remove-fd", control_remove_fd, .free_form = true},
    {"set_link", control_set_link, .free_form = true, .changes = true},
    {"stop", stop},
    {"system_powerdown", system_powerdown},
    {"system_reset", system_reset, .changes = true},
    {"x-ferry-devices", control_query_devices},
    {"x-ferry-load", load, "file", JSON_STRING, .changes = true},
    {"x-ferry-migrate-settle", control_migrate_settle, "outcome", JSON_STRING},
    {"x-ferry-save", save, "file", JSON_STRING, .changes = true},
    {"x-ferry-statistics", query_statistics},
};

static int query_commands(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
    *ret_value = list;
    return 0;
}

static int check_arguments(const struct command *command, json_t *arguments, struct err *err)
{
    const char *key;
    json_t *value;

    if (command->free_form)
        return 0;
    json_object_foreach (arguments, key, value) {
        if (command->argument == NULL || strcmp(key, command->argument) != 0)
            return err_set(err, -EINVAL, "Parameter '%.64s' is unexpected", key);
    }
    if (command->argument == NULL)
        return 0;
    value = json_object_get(arguments, command->argument);
    if (value == NULL)
        return err_set(err, -EINVAL, "Parameter '%s' is missing", command->argument);
    if (json_typeof(value) != command->type)
        return err_set(err, -EINVAL, "Invalid parameter type for '%s', expected: %s", command->argument,
                       command->type == JSON_STRING ? "string" : command->type == JSON_ARRAY ? "array" : "integer");
    return 0;
}

int control_execute(struct machine *machine, const char *name, bool standing_in, json_t *arguments, json_t **ret_value,
                    struct err *err)
{
    int r;

    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        r = check_arguments(&commands[i], arguments, err);
        if (r == 0 && standing_in && !commands[i].alone)
            r = err_set(err, -EBUSY, "a device of this VM waits for memory that is still on its way from another host: until it has come, "
                        "only query-status, query-migrate, migrate-recover, quit and what else changes nothing of it are answered");
        if (r == 0 && standing_in && commands[i].run == quit) /* the caller's */
            return 0;
        if (r == 0 && commands[i].changes)
            r = migrate_check_idle(machine, err);
        if (r < 0)
            return r;
        /* -ENOENT is kept for commands that do not exist. */
        r = commands[i].run(machine, arguments, ret_value, err);
        return r == -ENOENT ? -EIO : r;
    }
    return -ENOENT;
}
