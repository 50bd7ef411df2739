/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: XML from clients, read and written again. */
#include <libxml/parser.h>

#include "base/err.h"
#include "fuzz.h"
#include "protocol/xml.h"

static void walk(const xmlNode *node, unsigned depth)
{
    struct err err = ERR_INIT;
    xml_check(node, &(struct xml_allowed){0}, &err);
    xml_attribute(node, "a");
    xml_content(node);
    for (const xmlNode *child = xml_first(node, NULL); child != NULL && depth < 100; child = xml_next(child, NULL))
        walk(child, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct buffer out = BUFFER_INIT(1u << 20);
    xmlDoc *doc;
    char *text = fuzz_text(data, size);
    if (text != NULL && xml_read(text, "n", &doc, &err) == 0) {
        walk(xml_root(doc), 0);
        xml_dump(xml_root(doc), &out);
        xmlFreeDoc(doc);
    }
    buffer_fini(&out);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const char *const seeds[] = {
        "<n a='1'><b>text</b><c/></n>",
        "<n xmlns:x='urn:x'><metadata><x:y z='&lt;'/></metadata></n>",
        "<!DOCTYPE n [<!ENTITY e 'e'>]><n>&e;</n>",
        "<?xml version='1.0' encoding='UTF-8'?><n><![CDATA[<]]>&#65;<!-- c --></n>",
    };
    return fuzz_text_seed(seeds, sizeof(seeds) / sizeof(seeds[0]), index, out, max);
}
