/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of networks: configurations that last, and the status of what is active. */
#include <errno.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/store.h"
#include "base/text.h"
#include "network/definition_private.h"
#include "network/network_private.h"

static const char *const phase_names[] = {"starting", "active", "stopping"};

static int write_network(const char *directory, const char *name, const struct buffer *text, int result, struct err *err)
{
    int r = result < 0 ? result : store_write(directory, name, text->data, text->size);
    return r < 0 ? err_set(err, r, "cannot store network %s in %s: %s", name, directory, strerror(-r)) : 0;
}

static int remove_network(const char *directory, const char *name, struct err *err)
{
    int r = store_remove(directory, name);
    return r < 0 ? err_set(err, r, "cannot remove network %s from %s: %s", name, directory, strerror(-r)) : 0;
}

int store_config(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    int r = buffer_printf(&text, "<!-- Written by ferryd; changes are lost. Use virsh net-edit %s. -->\n",
                          definition->name);
    if (r == 0)
        r = network_definition_format(definition, &text);
    r = write_network(networks->options.config_directory, definition->name, &text, r, err);
    buffer_fini(&text);
    return r;
}

int forget_config(const struct networks *networks, const char *name, struct err *err)
{
    return remove_network(networks->options.config_directory, name, err);
}

int store_autostart(const struct networks *networks, const char *name, bool autostart, struct err *err)
{
    const char *directory = networks->options.config_directory;
    int r = store_mark(directory, name, autostart);
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
    int r = write_network(networks->options.run_directory, definition->name, &text, xml_writer_end(&writer), err);
    buffer_fini(&text);
    return r;
}

int forget_status(const struct networks *networks, const char *name, struct err *err)
{
    return remove_network(networks->options.run_directory, name, err);
}

static int load(const char *directory, const char *name, const char *root, xmlDoc **ret_doc, struct err *err)
{
    char *text;
    int r = store_read(directory, name, XML_SIZE_MAX, &text);
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
    xmlDoc *doc;
    int r = load(networks->options.config_directory, name, "network", &doc, err);
    if (r < 0)
        return r;
    r = read_definition(xml_root(doc), name, ret_definition, err);
    xmlFreeDoc(doc);
    if (r == 0)
        *ret_autostart = store_marked(networks->options.config_directory, name);
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

int make_directories(struct networks *networks, struct err *err)
{
    const char *const config = networks->options.config_directory;
    const char *const directories[] = {config, networks->options.run_directory, networks->options.lease_directory};
    struct stat status;
    networks->fresh = stat(config, &status) < 0 && errno == ENOENT;
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        int r = store_make(directories[i], i == 0);
        if (r < 0)
            return err_set(err, r, "cannot make directory %s: %s", directories[i], strerror(-r));
    }
    return 0;
}
