/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads and writes <volume> documents. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "protocol/xml.h"
#include "storage/definition_private.h"
#include "storage/place.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define MODE_DEFAULT 0600
#define CLUSTER 65536u /* bytes, of qcow2 images made here */

static const char *const format_names[] = {[VOLUME_RAW] = "raw", [VOLUME_QCOW2] = "qcow2", [VOLUME_ISO] = "iso"};

const char *volume_format_name(enum volume_format format)
{
    return format_names[format];
}

/* -ENOTSUP: another, or none. */
static int parse_format(const char *name, enum volume_format *ret_format)
{
    for (unsigned i = 0; i < ARRAY_SIZE(format_names); i++) {
        if (text_equal(name, format_names[i])) {
            *ret_format = (enum volume_format)i;
            return 0;
        }
    }
    return -ENOTSUP;
}

static int check(const xmlNode *node, const char *const *attributes, const char *const *elements, struct err *err)
{
    const struct xml_allowed allowed = {.attributes = attributes, .elements = elements, .once = elements};

    return node == NULL ? 0 : xml_check(node, &allowed, err);
}

/* Units as libvirt has them: of 1024 unless they end in B (KB, not KiB). */
static bool unit_of(const char *unit, uint64_t *ret_unit)
{
    static const char letters[] = "KMGTPE";
    const char *letter = unit != NULL && unit[0] != 0 ? strchr(letters, unit[0]) : NULL;
    uint64_t value = 1, base;

    *ret_unit = 1;
    if (unit == NULL || text_equal(unit, "bytes") || text_equal(unit, "B") || text_equal(unit, "byte") || text_equal(unit, "b"))
        return true;
    if (letter == NULL || !(unit[1] == 0 || text_equal(unit + 1, "iB") || text_equal(unit + 1, "B")))
        return false;
    base = text_equal(unit + 1, "B") ? 1000 : 1024;
    for (const char *c = letters; c <= letter; c++)
        value *= base;
    *ret_unit = value;
    return true;
}

static int read_size(const xmlNode *root, const char *name, uint64_t *ret_bytes, bool *ret_has, struct err *err)
{
    const xmlNode *node = xml_first(root, name);
    uint64_t unit, number;
    char *text;
    int r = check(node, NAMES("unit"), NULL, err);

    if (r < 0 || node == NULL)
        return r;
    if (!unit_of(xml_attribute(node, "unit"), &unit))
        return err_set(err, -EINVAL, "unit '%.20s' of <%s> is unknown", xml_attribute(node, "unit"), name);
    text = storage_copy_trimmed(xml_content(node));
    if (text == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    r = text_parse_u64(text, &number) < 0 || __builtin_mul_overflow(number, unit, ret_bytes) || *ret_bytes > INT64_MAX
            ? err_set(err, -EINVAL, "<%s> '%.40s' is no size that a volume can have", name, text)
            : 0;
    free(text);
    *ret_has = r == 0;
    return r;
}

static int read_format(const xmlNode *parent, enum volume_format *ret_format, struct err *err)
{
    const xmlNode *node = xml_first(parent, "format");
    const char *type = xml_attribute(node, "type");
    int r = check(node, NAMES("type"), NULL, err);

    if (r == 0 && type != NULL && parse_format(type, ret_format) < 0)
        r = err_set(err, -ENOTSUP, "volumes of format '%.40s' are not made here; there are: raw, qcow2", type);
    return r;
}

static int read_backing(const xmlNode *root, struct volume_definition *definition, struct err *err)
{
    const xmlNode *node = xml_first(root, "backingStore");
    const char *path = xml_child_content(node, "path");
    int r = check(node, NULL, NAMES("path", "format", "permissions"), err);

    if (r < 0 || path == NULL || path[0] == 0)
        return r;
    definition->backing = storage_copy_trimmed(path);
    if (definition->backing == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (definition->backing[0] != '/')
        return err_set(err, -EINVAL, "<path> '%.200s' of <backingStore> is not absolute", definition->backing);
    if (definition->format != VOLUME_QCOW2)
        return err_set(err, -ENOTSUP, "a volume with a <backingStore> must be of format qcow2");
    return read_format(node, &definition->backing_format, err);
}

static int read_name(const xmlNode *root, struct volume_definition *definition, struct err *err)
{
    const char *text = xml_child_content(root, "name");
    char *name = text != NULL ? storage_copy_trimmed(text) : NULL;
    int r = 0;

    if (text == NULL)
        return err_set(err, -EINVAL, "the <volume> has no <name>");
    if (name == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (!place_name_valid(name) || text_format(definition->name, sizeof(definition->name), "%s", name) < 0)
        r = err_set(err, -EINVAL, "'%.100s' can't be the name of a volume: it is a file's name, without a slash", name);
    free(name);
    return r;
}

/* What new images of qcow2 are: version 3, clusters of 64 KiB, no features. */
static int check_qcow2(const xmlNode *target, struct err *err)
{
    const char *compat = xml_child_content(target, "compat"), *feature;
    const xmlNode *features = xml_first(target, "features");
    uint64_t cluster = CLUSTER;
    bool given;
    int r = read_size(target, "clusterSize", &cluster, &given, err);

    if (r < 0)
        return r;
    if (cluster != CLUSTER)
        return err_set(err, -ENOTSUP, "<clusterSize>: images of format qcow2 are made with clusters of 64 KiB");
    if (compat != NULL && !text_equal(compat, "1.1"))
        return err_set(err, -ENOTSUP, "<compat> is '%.20s'; images of format qcow2 are made with 1.1", compat);
    feature = xml_first(features, NULL) != NULL ? xml_name(xml_first(features, NULL)) : NULL;
    if (feature != NULL)
        return err_set(err, -ENOTSUP, "<%.40s> of <features>: images of format qcow2 are made without it", feature);
    return 0;
}

static int read_target(const xmlNode *root, struct volume_definition *definition, struct err *err)
{
    const xmlNode *target = xml_first(root, "target");
    struct permissions *permissions = &definition->permissions;
    int r = check(target, NULL, NAMES("path", "format", "permissions", "timestamps", "compat", "features", "clusterSize"), err);

    if (r == 0)
        r = read_format(target, &definition->format, err);
    if (r == 0)
        r = storage_read_permissions(target, permissions, err);
    permissions->mode = permissions->has_mode ? permissions->mode & 0777 : MODE_DEFAULT;
    return r < 0 ? r : check_qcow2(target, err);
}

static int read_volume(const xmlNode *root, struct volume_definition *definition, struct err *err)
{
    bool has_capacity = false;
    int r = check(root, NAMES("type"), NAMES("name", "key", "capacity", "allocation", "physical", "source", "target", "backingStore"), err);

    if (r == 0 && xml_attribute(root, "type") != NULL && !text_equal(xml_attribute(root, "type"), "file"))
        r = err_set(err, -ENOTSUP, "volumes of type '%.40s' are not made here; there is: file", xml_attribute(root, "type"));
    if (r == 0)
        r = read_name(root, definition, err);
    if (r == 0)
        r = read_size(root, "capacity", &definition->capacity, &has_capacity, err);
    if (r == 0)
        r = read_size(root, "allocation", &definition->allocation, &definition->has_allocation, err);
    if (r == 0)
        r = read_target(root, definition, err);
    if (r == 0)
        r = read_backing(root, definition, err);
    if (r == 0 && !has_capacity && definition->backing == NULL)
        r = err_set(err, -EINVAL, "the <volume> has no <capacity>");
    return r;
}

int volume_definition_parse(const char *xml, struct volume_definition *ret_definition, struct err *err)
{
    struct volume_definition definition = {0};
    xmlDoc *doc;
    int r = xml_read(xml, "volume", &doc, err);

    if (r < 0)
        return r;
    r = read_volume(xml_root(doc), &definition, err);
    xmlFreeDoc(doc);
    if (r < 0)
        volume_definition_fini(&definition);
    else
        *ret_definition = definition;
    return r;
}

void volume_definition_fini(struct volume_definition *definition)
{
    free(definition->backing);
    definition->backing = NULL;
}

static void write_bytes(struct xml_writer *w, const char *name, uint64_t bytes)
{
    xml_open(w, name);
    xml_put(w, "unit", "bytes");
    xml_close_text(w, "%llu", (unsigned long long)bytes);
}

static void write_target(struct xml_writer *w, const struct volume_facts *facts)
{
    const struct storage_file *file = facts->file;

    xml_open(w, "target");
    xml_text(w, "path", "%s", facts->path);
    xml_open(w, "format");
    xml_put(w, "type", "%s", volume_format_name(facts->format));
    xml_close(w);
    xml_open(w, "permissions");
    xml_text(w, "mode", "0%o", file->mode);
    xml_text(w, "owner", "%u", file->uid);
    xml_text(w, "group", "%u", file->gid);
    xml_close(w);
    xml_open(w, "timestamps");
    xml_text(w, "mtime", "%lld.%09u", (long long)file->modified_s, file->modified_ns);
    xml_close(w);
    xml_close(w);
}

int volume_format_xml(const struct volume_facts *facts, struct buffer *out)
{
    struct xml_writer w;

    xml_writer_init(&w, out);
    xml_open(&w, "volume");
    xml_put(&w, "type", "file");
    xml_text(&w, "name", "%s", facts->file->name);
    xml_text(&w, "key", "%s", facts->path);
    write_bytes(&w, "capacity", facts->capacity);
    write_bytes(&w, "allocation", facts->file->allocated);
    write_bytes(&w, "physical", facts->file->size);
    write_target(&w, facts);
    if (facts->backing != NULL) {
        xml_open(&w, "backingStore");
        xml_text(&w, "path", "%s", facts->backing);
        xml_close(&w);
    }
    xml_close(&w);
    return xml_writer_end(&w);
}
