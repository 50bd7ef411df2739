/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that a migration copies: the destination's daemon makes the files that are not there yet, as large as the source's. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/definition.h"
#include "daemon/domain.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"
#include "daemon/storage.h"
#include "daemon/tree.h"
#include "event/coroutine.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"
#include "storage/image.h"
#include "storage/place.h"

/* What the guest sees of the disk with that alias; 0: not known. */
static uint64_t capacity_of(const json_t *list, const char *alias)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const json_t *inserted = json_object_get(item, "inserted");
        const char *node = json_string_value(json_object_get(inserted, "node-name"));

        if (node != NULL && text_equal(node, alias))
            return (uint64_t)json_integer_value(json_object_get(json_object_get(inserted, "image"), "virtual-size"));
    }
    return 0;
}

/* Whether the request leaves the disk with that target to be copied. */
static bool chosen(const struct migration_request *request, const char *target)
{
    for (unsigned i = 0; i < request->disks; i++)
        if (text_equal(request->disk[i], target))
            return true;
    return request->disks == 0;
}

static const xmlNode *find_target(const struct definition *definition, const char *target)
{
    const xmlNode *disk = xml_first(definition_devices(definition), "disk");

    while (disk != NULL && !tree_is(xml_first(disk, "target"), "dev", target))
        disk = xml_next(disk, "disk");
    return disk;
}

int migration_choose_disks(const struct domain *domain, const struct migration_request *request, json_t **ret_list, struct err *err)
{
    json_t *list = request->disks > 0 ? json_array() : NULL;

    for (unsigned i = 0; i < request->disks; i++) {
        const xmlNode *disk = find_target(domain->live, request->disk[i]);
        const char *alias = xml_attribute(xml_first(disk, "alias"), "name");

        if (alias == NULL) {
            json_decref(list);
            return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "invalid argument: disk target %.80s not found", request->disk[i]);
        }
        json_array_append_new(list, json_string(alias));
    }
    *ret_list = list;
    return 0;
}

int migration_describe_disks(struct domain *domain, const struct migration_request *request, struct buffer *out, struct err *err)
{
    json_t *list = NULL;
    int r = monitor_call(domain->monitor, "query-block", NULL, &list, err);

    if (r < 0)
        return r;
    for (const xmlNode *disk = xml_first(definition_devices(domain->live), "disk"); r == 0 && disk != NULL;
         disk = xml_next(disk, "disk")) {
        const char *alias = xml_attribute(xml_first(disk, "alias"), "name");
        const char *target = xml_attribute(xml_first(disk, "target"), "dev");
        uint64_t capacity = alias != NULL ? capacity_of(list, alias) : 0;

        if (capacity > 0 && target != NULL && chosen(request, target) && strpbrk(target, "'<&") == NULL)
            r = buffer_printf(out, "<disk target='%s' capacity='%" PRIu64 "'/>", target, capacity);
    }
    json_decref(list);
    return r < 0 ? err_set(err, r, "cannot describe the disks for the destination: %s", strerror(-r)) : 0;
}

/* A file to be made, by a worker. */
struct making {
    const char *path; /* as the document has it */
    char directory[PATH_MAX], name[NAME_MAX + 1];
    bool nfs, qcow2;
    uint64_t capacity;
    struct err *err;
    int result;
};

static int fill(struct making *making, struct storage_place *place)
{
    const struct storage_new file = {.name = making->name, .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1,
                                     .size = making->qcow2 ? image_qcow2_size(making->capacity) : making->capacity};
    struct storage_handle *handle;
    int r = file.size == 0 ? -EFBIG : place_create(place, &file, &handle, making->err);

    if (r < 0)
        return r;
    if (making->qcow2)
        r = image_write_qcow2(handle, making->capacity, NULL, VOLUME_RAW);
    if (r == 0)
        r = handle_publish(handle, making->name);
    if (r < 0)
        handle_discard(handle, place, making->name);
    else
        handle_close(handle);
    return r;
}

static void make(void *ctx)
{
    struct making *making = ctx;
    struct storage_place *place;
    struct storage_file file;
    int r = making->nfs ? place_open_nfs(making->directory, &place, making->err)
                        : place_open_directory(making->directory, &place, making->err);

    making->result = r;
    if (r < 0)
        return;
    if (place_look(place, making->name, &file) == -ENOENT) {
        r = fill(making, place);
        making->result = r == 0 || r == -EEXIST
                             ? 0
                             : err_set(making->err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot make disk image %.200s of %" PRIu64
                                       " bytes for the copy: %s", making->path, making->capacity, strerror(-r));
    }
    place_close(place);
}

static int split(const struct daemon *daemon, struct making *making, struct err *err)
{
    char whole[PATH_MAX], *slash;
    size_t tail;

    making->nfs = daemon_storage_resolve(daemon, making->path, whole, sizeof(whole)) == 0;
    if (!making->nfs && text_format(whole, sizeof(whole), "%s", making->path) < 0)
        return err_set(err, -ENAMETOOLONG, "the path of disk image %.200s is too long", making->path);
    tail = strcspn(whole, making->nfs ? "?" : "");
    slash = memrchr(whole, '/', tail);
    if (slash == NULL || text_format(making->name, sizeof(making->name), "%.*s", (int)(whole + tail - slash - 1), slash + 1) < 0)
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "'%.200s' is no path of a disk image", making->path);
    if (text_format(making->directory, sizeof(making->directory), "%.*s%s", slash == whole ? 1 : (int)(slash - whole), whole,
                    whole + tail) < 0)
        return err_set(err, -ENAMETOOLONG, "the path of disk image %.200s is too long", making->path);
    return 0;
}

static int make_disk(struct daemon *daemon, const xmlNode *disk, uint64_t capacity, struct err *err)
{
    const char *format = xml_attribute(xml_first(disk, "driver"), "type");
    struct making making = {.path = xml_attribute(xml_first(disk, "source"), "file"), .capacity = capacity, .err = err};
    int r;

    if (making.path == NULL || tree_is(disk, "type", "block") || xml_first(disk, "readonly") != NULL)
        return 0;
    making.qcow2 = format != NULL && text_equal(format, "qcow2");
    r = split(daemon, &making, err);
    if (r == 0)
        r = coroutine_work(daemon->scheduler, make, &making);
    return r < 0 ? r : making.result;
}

static uint64_t told_capacity(const xmlNode *cookie, const char *target)
{
    uint64_t capacity = 0;

    for (const xmlNode *told = xml_first(cookie, "disk"); told != NULL; told = xml_next(told, "disk"))
        if (target != NULL && tree_is(told, "target", target) && tree_number(told, "capacity", &capacity))
            return capacity;
    return 0;
}

int migration_make_disks(struct daemon *daemon, const struct definition *definition, const void *cookie, size_t size, struct err *err)
{
    xmlDoc *doc = migration_read_cookie(cookie, size);
    int r = 0;

    if (doc == NULL)
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "the source does not say how large the disks are that are to be copied");
    for (const xmlNode *disk = xml_first(definition_devices(definition), "disk"); r == 0 && disk != NULL; disk = xml_next(disk, "disk")) {
        uint64_t capacity = told_capacity(xml_root(doc), xml_attribute(xml_first(disk, "target"), "dev"));

        if (capacity > 0)
            r = make_disk(daemon, disk, capacity, err);
    }
    xmlFreeDoc(doc);
    return r;
}
