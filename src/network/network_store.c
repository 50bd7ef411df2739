/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of networks: configurations that last, and the status of what is active. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "network/definition_private.h"
#include "network/network_private.h"

static const char *const phase_names[] = {"starting", "active", "stopping"};

static int path_in(const char *directory, const char *below, const char *name, char ret_path[static PATH_MAX])
{
    return text_format(ret_path, PATH_MAX, "%s/%s%s.xml", directory, below, name);
}

static int store(const char *directory, const char *name, const struct buffer *text, int result, struct err *err)
{
    char path[PATH_MAX];
    int r = result < 0 ? result : path_in(directory, "", name, path);
    if (r == 0)
        r = file_write_atomic(path, text->data, text->size, 0600);
    return r < 0 ? err_set(err, r, "cannot store network %s in %s: %s", name, directory, strerror(-r)) : 0;
}

static int forget(const char *directory, const char *below, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int r = path_in(directory, below, name, path);
    if (r == 0)
        r = file_remove(path);
    return r < 0 ? err_set(err, r, "cannot remove network %s from %s: %s", name, directory, strerror(-r)) : 0;
}

int store_config(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    int r = buffer_printf(&text, "<!-- Written by ferryd; changes are lost. Use virsh net-edit %s. -->\n",
                          definition->name);
    if (r == 0)
        r = network_definition_format(definition, &text);
    r = store(networks->options.config_directory, definition->name, &text, r, err);
    buffer_fini(&text);
    return r;
}

int forget_config(const struct networks *networks, const char *name, struct err *err)
{
    int r = forget(networks->options.config_directory, "autostart/", name, err);
    return r < 0 ? r : forget(networks->options.config_directory, "", name, err);
}

int store_autostart(const struct networks *networks, const char *name, bool autostart, struct err *err)
{
    char path[PATH_MAX], target[NETWORK_NAME_SIZE + 16];
    const char *directory = networks->options.config_directory;
    if (!autostart)
        return forget(directory, "autostart/", name, err);
    int r = path_in(directory, "autostart/", name, path);
    if (r == 0)
        r = text_format(target, sizeof(target), "../%s.xml", name);
    if (r == 0 && symlink(target, path) < 0 && errno != EEXIST)
        r = -errno;
    return r < 0 ? err_set(err, r, "cannot mark network %s for autostart in %s: %s", name, directory, strerror(-r)) : 0;
}

int store_status(const struct networks *networks, const struct network_definition *definition, enum network_phase phase,
                 struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    struct xml_writer writer;
    xml_writer_init(&writer, &text);
    xml_open(&writer, "networkstatus");
    xml_put(&writer, "phase", "%s", phase_names[phase]);
    network_definition_write(definition, &writer);
    xml_close(&writer);
    int r = store(networks->options.run_directory, definition->name, &text, xml_writer_end(&writer), err);
    buffer_fini(&text);
    return r;
}

int forget_status(const struct networks *networks, const char *name, struct err *err)
{
    return forget(networks->options.run_directory, "", name, err);
}

static int load(const char *directory, const char *name, const char *root, xmlDoc **ret_doc, struct err *err)
{
    char path[PATH_MAX];
    void *text;
    size_t size;
    int r = path_in(directory, "", name, path);
    if (r == 0)
        r = fd_read_file(path, XML_SIZE_MAX, &text, &size);
    if (r < 0)
        return err_set(err, r, "cannot read network %s from %s: %s", name, directory, strerror(-r));
    r = xml_read(text, root, ret_doc, err);
    free(text);
    if (r < 0)
        err_prefix(err, "network %s in %s", name, directory);
    return r;
}

static int read_definition(const xmlNode *node, const char *name, struct network_definition **ret_definition,
                           struct err *err)
{
    struct network_definition *definition;
    int r = node == NULL ? err_set(err, -EINVAL, "the file has no <network>")
                         : network_definition_read(node, &definition, err);
    if (r == 0 && (!text_equal(definition->name, name) || !definition->has_uuid)) {
        r = err_set(err, -EINVAL, "the file is not that of network %s, or has no <uuid>", name);
        network_definition_free(definition);
    }
    if (r < 0)
        err_prefix(err, "network %s", name);
    else
        *ret_definition = definition;
    return r;
}

int load_config(const struct networks *networks, const char *name, struct network_definition **ret_definition,
                bool *ret_autostart, struct err *err)
{
    char path[PATH_MAX];
    struct stat status;
    xmlDoc *doc;
    int r = load(networks->options.config_directory, name, "network", &doc, err);
    if (r < 0)
        return r;
    r = read_definition(xml_root(doc), name, ret_definition, err);
    xmlFreeDoc(doc);
    if (r == 0 && path_in(networks->options.config_directory, "autostart/", name, path) == 0)
        *ret_autostart = lstat(path, &status) == 0;
    return r;
}

int load_status(const struct networks *networks, const char *name, struct network_definition **ret_definition,
                enum network_phase *ret_phase, struct err *err)
{
    xmlDoc *doc;
    int r = load(networks->options.run_directory, name, "networkstatus", &doc, err);
    if (r < 0)
        return r;
    const char *phase = xml_attribute(xml_root(doc), "phase");
    enum network_phase found = PHASE_STARTING;
    while (found < PHASE_STOPPING && (phase == NULL || !text_equal(phase, phase_names[found])))
        found++;
    r = read_definition(xml_first(xml_root(doc), "network"), name, ret_definition, err);
    xmlFreeDoc(doc);
    if (r == 0)
        *ret_phase = found;
    return r;
}

int for_each_stored(const char *directory, void (*fn)(void *ctx, const char *name), void *ctx, struct err *err)
{
    DIR *entries = opendir(directory);
    if (entries == NULL)
        return err_set(err, -errno, "cannot read directory %s: %s", directory, strerror(errno));
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || length < 5 || strcmp(entry->d_name + length - 4, ".xml") != 0)
            continue;
        entry->d_name[length - 4] = '\0';
        fn(ctx, entry->d_name);
    }
    closedir(entries);
    return 0;
}

int make_directories(struct networks *networks, struct err *err)
{
    char autostart[PATH_MAX];
    struct stat status;
    const char *const config = networks->options.config_directory;
    int r = text_format(autostart, sizeof(autostart), "%s/autostart", config);
    const char *const directories[] = {config, autostart, networks->options.run_directory,
                                       networks->options.lease_directory};
    networks->fresh = stat(config, &status) < 0 && errno == ENOENT;
    for (size_t i = 0; r == 0 && i < sizeof(directories) / sizeof(directories[0]); i++) {
        r = directory_make(directories[i], 0755);
        if (r < 0)
            return err_set(err, r, "cannot make directory %s: %s", directories[i], strerror(-r));
    }
    return r;
}
