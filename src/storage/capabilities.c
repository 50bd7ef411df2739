/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which types of pools and which formats there are, as clients ask for it. */
#include "storage/capabilities.h"

#include <stdbool.h>

#include "base/bits.h"
#include "protocol/xml.h"

static void write_enum(struct xml_writer *w, const char *name, const char *const values[])
{
    xml_open(w, "defaultFormat");
    xml_put(w, "type", "%s", values[0]);
    xml_close(w);
    xml_open(w, "enum");
    xml_put(w, "name", "%s", name);
    for (unsigned i = 0; values[i] != NULL; i++)
        xml_text(w, "value", "%s", values[i]);
    xml_close(w);
}

int storage_capabilities(struct buffer *out)
{
    static const struct {
        const char *type;
        bool supported, has_source;
    } types[] = {{"dir", true, false},      {"fs", false, false},      {"netfs", true, true},  {"logical", false, false},
                 {"disk", false, false},    {"iscsi", false, false},   {"scsi", false, false}, {"mpath", false, false},
                 {"rbd", false, false},     {"sheepdog", false, false}, {"gluster", false, false}, {"zfs", false, false},
                 {"vstorage", false, false}, {"iscsi-direct", false, false}};
    struct xml_writer w;

    xml_writer_init(&w, out);
    xml_open(&w, "storagepoolCapabilities");
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        xml_open(&w, "pool");
        xml_put(&w, "type", "%s", types[i].type);
        xml_put(&w, "supported", "%s", types[i].supported ? "yes" : "no");
        if (types[i].has_source) {
            xml_open(&w, "poolOptions");
            write_enum(&w, "sourceFormatType", (const char *const[]){"auto", "nfs", NULL});
            xml_close(&w);
        }
        if (types[i].supported) {
            xml_open(&w, "volOptions");
            write_enum(&w, "targetFormatType", (const char *const[]){"raw", "qcow2", NULL});
            xml_close(&w);
        }
        xml_close(&w);
    }
    xml_close(&w);
    return xml_writer_end(&w);
}
