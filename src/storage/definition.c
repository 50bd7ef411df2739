/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads and writes <pool> documents. */
#include "storage/definition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "protocol/xml.h"
#include "storage/definition_private.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static int check(const xmlNode *node, const char *const *attributes, const char *const *elements, struct err *err)
{
    const struct xml_allowed allowed = {.attributes = attributes, .elements = elements, .once = elements};

    return node == NULL ? 0 : xml_check(node, &allowed, err);
}

/* A copy without the white space around it; NULL: out of memory. */
char *storage_copy_trimmed(const char *text)
{
    static const char blanks[] = " \t\r\n";
    size_t length;

    text += strspn(text, blanks);
    length = strlen(text);
    while (length > 0 && strchr(blanks, text[length - 1]) != NULL)
        length--;
    return strndup(text, length);
}

static int read_name(const xmlNode *root, char **ret_name, struct err *err)
{
    const char *text = xml_child_content(root, "name");
    char *name = text != NULL ? storage_copy_trimmed(text) : NULL;

    if (text == NULL)
        return err_set(err, -EINVAL, "the <%s> has no <name>", xml_name(root));
    if (name == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (name[0] == 0 || strlen(name) > STORAGE_NAME_MAX || strchr(name, '/') != NULL || name[0] == '.' || strchr(name, '\n') != NULL) {
        err_set(err, -EINVAL, "'%.60s' can't be the name of a pool: it has 1 to %d bytes, no slash, and no dot in front", name,
                STORAGE_NAME_MAX);
        free(name);
        return -EINVAL;
    }
    *ret_name = name;
    return 0;
}

static int read_number(const xmlNode *node, const char *name, unsigned base, unsigned long max, bool *ret_has, unsigned long *ret_value,
                       struct err *err)
{
    const char *text = xml_child_content(node, name);
    char *end;

    if (text == NULL || text_equal(text, "-1")) /* libvirt's "leave it" */
        return 0;
    errno = 0;
    *ret_value = strtoul(text, &end, (int)base);
    if (errno != 0 || end == text || *end != 0 || *ret_value > max || text[0] == '-')
        return err_set(err, -EINVAL, "<%s> '%.20s' of <permissions> is no number that it can have", name, text);
    *ret_has = true;
    return 0;
}

int storage_read_permissions(const xmlNode *target, struct permissions *permissions, struct err *err)
{
    const xmlNode *node = xml_first(target, "permissions");
    unsigned long mode = 0, owner = 0, group = 0;
    int r = check(node, NULL, NAMES("mode", "owner", "group", "label"), err);

    if (r < 0 || node == NULL)
        return r;
    r = read_number(node, "mode", 8, 07777, &permissions->has_mode, &mode, err);
    if (r == 0)
        r = read_number(node, "owner", 10, UINT32_MAX - 1, &permissions->has_owner, &owner, err);
    if (r == 0)
        r = read_number(node, "group", 10, UINT32_MAX - 1, &permissions->has_group, &group, err);
    permissions->mode = (mode_t)mode;
    permissions->owner = (uid_t)owner;
    permissions->group = (gid_t)group;
    return r;
}

/* Absolute, one slash between parts, none at the end, nothing that leads back up. */
static int read_path(const char *text, const char *what, char **ret_path, struct err *err)
{
    char *path = text != NULL ? storage_copy_trimmed(text) : NULL;

    if (path == NULL)
        return text == NULL ? err_set(err, -EINVAL, "the pool has no %s", what) : err_set(err, -ENOMEM, "out of memory");
    if (path[0] != '/') {
        err_set(err, -EINVAL, "%s '%.200s' is not an absolute path", what, path);
        free(path);
        return -EINVAL;
    }
    if (strchr(path, '\n') != NULL || !text_clean_path(path)) {
        err_set(err, -EINVAL, "%s '%.200s' has a part that leads elsewhere", what, text);
        free(path);
        return -EINVAL;
    }
    *ret_path = path;
    return 0;
}

static int read_netfs_source(const xmlNode *source, struct pool_definition *definition, struct err *err)
{
    const xmlNode *host = xml_first(source, "host"), *directory = xml_first(source, "dir"), *format = xml_first(source, "format");
    const char *type = xml_attribute(format, "type");
    int r = check(source, NULL, NAMES("host", "dir", "format", "vendor", "product"), err);

    if (r == 0)
        r = check(host, NAMES("name"), NULL, err);
    if (r == 0)
        r = check(directory, NAMES("path"), NULL, err);
    if (r < 0)
        return r;
    if (type != NULL && !text_equal(type, "auto") && !text_equal(type, "nfs"))
        return err_set(err, -ENOTSUP, "a pool of type netfs can't have format '%.40s'; there are: auto, nfs", type);
    if (xml_attribute(host, "name") == NULL || xml_attribute(host, "name")[0] == 0)
        return err_set(err, -EINVAL, "a pool of type netfs needs <source><host name='...'/></source>");
    definition->host = strdup(xml_attribute(host, "name"));
    if (definition->host == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    if (strpbrk(definition->host, "/?% \n") != NULL)
        return err_set(err, -EINVAL, "'%.100s' is no name or address of a host", definition->host);
    return read_path(xml_attribute(directory, "path"), "<dir path='...'/> in its <source>", &definition->directory, err);
}

static int read_source(const xmlNode *root, struct pool_definition *definition, struct err *err)
{
    const xmlNode *source = xml_first(root, "source");

    if (definition->kind == POOL_NETFS)
        return read_netfs_source(source, definition, err);
    return check(source, NULL, NULL, err);
}

static int read_root(const xmlNode *root, struct pool_definition *definition, struct err *err)
{
    const char *type = xml_attribute(root, "type"), *uuid = xml_child_content(root, "uuid");
    int r = check(root, NAMES("type"), NAMES("name", "uuid", "capacity", "allocation", "available", "source", "target"), err);

    if (r < 0)
        return r;
    if (type == NULL || (!text_equal(type, "dir") && !text_equal(type, "netfs")))
        return err_set(err, -ENOTSUP, "pools of type '%.40s' are not there; there are: dir, netfs", type != NULL ? type : "");
    definition->kind = text_equal(type, "dir") ? POOL_DIRECTORY : POOL_NETFS;
    if (uuid == NULL)
        uuid_random(definition->uuid);
    else if (uuid_parse(uuid, definition->uuid) < 0)
        return err_set(err, -EINVAL, "'%.60s' is not a UUID", uuid);
    return read_name(root, &definition->name, err);
}

static int read_pool(const xmlNode *root, struct pool_definition *definition, struct err *err)
{
    const xmlNode *target = xml_first(root, "target");
    int r = read_root(root, definition, err);

    if (r == 0)
        r = read_source(root, definition, err);
    if (r == 0)
        r = check(target, NULL, NAMES("path", "permissions"), err);
    if (r == 0)
        r = read_path(xml_child_content(target, "path"), "<path> in its <target>", &definition->target, err);
    return r < 0 ? r : storage_read_permissions(target, &definition->permissions, err);
}

int pool_definition_parse(const char *xml, struct pool_definition **ret_definition, struct err *err)
{
    struct pool_definition *definition = calloc(1, sizeof(*definition));
    xmlDoc *doc = NULL;
    int r = definition == NULL ? err_set(err, -ENOMEM, "out of memory") : xml_read(xml, "pool", &doc, err);

    if (r == 0) {
        r = read_pool(xml_root(doc), definition, err);
        xmlFreeDoc(doc);
    }
    if (r < 0)
        pool_definition_free(definition);
    else
        *ret_definition = definition;
    return r;
}

void pool_definition_free(struct pool_definition *definition)
{
    if (definition == NULL)
        return;
    free(definition->name);
    free(definition->host);
    free(definition->directory);
    free(definition->target);
    free(definition);
}

static void write_bytes(struct xml_writer *w, const char *name, uint64_t bytes)
{
    xml_open(w, name);
    xml_put(w, "unit", "bytes");
    xml_close_text(w, "%llu", (unsigned long long)bytes);
}

static void write_source(struct xml_writer *w, const struct pool_definition *definition)
{
    xml_open(w, "source");
    if (definition->kind == POOL_NETFS) {
        xml_open(w, "host");
        xml_put(w, "name", "%s", definition->host);
        xml_close(w);
        xml_open(w, "dir");
        xml_put(w, "path", "%s", definition->directory);
        xml_close(w);
        xml_open(w, "format");
        xml_put(w, "type", "auto");
        xml_close(w);
    }
    xml_close(w);
}

static void write_permissions(struct xml_writer *w, const struct permissions *permissions)
{
    if (!permissions->has_mode && !permissions->has_owner && !permissions->has_group)
        return;
    xml_open(w, "permissions");
    if (permissions->has_mode)
        xml_text(w, "mode", "0%o", permissions->mode);
    if (permissions->has_owner)
        xml_text(w, "owner", "%u", permissions->owner);
    if (permissions->has_group)
        xml_text(w, "group", "%u", permissions->group);
    xml_close(w);
}

int pool_definition_format(const struct pool_definition *definition, const struct pool_numbers *numbers, struct buffer *out)
{
    static const struct pool_numbers none;
    char uuid[UUID_TEXT_SIZE];
    struct xml_writer w;

    numbers = numbers != NULL ? numbers : &none;
    uuid_format(definition->uuid, uuid);
    xml_writer_init(&w, out);
    xml_open(&w, "pool");
    xml_put(&w, "type", definition->kind == POOL_NETFS ? "netfs" : "dir");
    xml_text(&w, "name", "%s", definition->name);
    xml_text(&w, "uuid", "%s", uuid);
    write_bytes(&w, "capacity", numbers->capacity);
    write_bytes(&w, "allocation", numbers->allocation);
    write_bytes(&w, "available", numbers->available);
    write_source(&w, definition);
    xml_open(&w, "target");
    xml_text(&w, "path", "%s", definition->target);
    write_permissions(&w, &definition->permissions);
    xml_close(&w);
    xml_close(&w);
    return xml_writer_end(&w);
}

int pool_url(const struct pool_definition *definition, char *out, size_t size)
{
    const char *colon = strchr(definition->host, ':'), *mark = colon != NULL && strchr(colon + 1, ':') != NULL ? "[" : "";

    if (strpbrk(definition->directory, "%?") != NULL)
        return -EINVAL;
    return text_format(out, size, "nfs://%s%s%s%s", mark, definition->host, mark[0] != 0 ? "]" : "", definition->directory);
}
