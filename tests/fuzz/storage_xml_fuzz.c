/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: documents of pools and volumes. What is taken must come back the same. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"
#include "fuzz.h"
#include "protocol/xml.h"
#include "storage/definition.h"

static const char *const seeds[] = {
    "<pool "
    "type='dir'><name>p</name><target><path>/a/b</path><permissions><mode>0711</mode></permissions></target></pool>",
    "<pool type='netfs'><name>n</name><source><host name='h'/><dir path='/d'/><format "
    "type='auto'/></source><target><path>/t</path></target>"
    "</pool>",
    "<volume><name>v</name><capacity unit='G'>1</capacity><allocation>0</allocation><target><format "
    "type='qcow2'/></target>"
    "<backingStore><path>/x</path><format type='raw'/></backingStore></volume>",
};

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return fuzz_text_seed(seeds, sizeof(seeds) / sizeof(seeds[0]), index, out, max);
}

static void check_pool(const char *text)
{
    struct pool_definition *definition, *again;
    struct buffer out = BUFFER_INIT(XML_SIZE_MAX);

    if (pool_definition_parse(text, &definition, NULL) < 0)
        return;
    if (pool_definition_format(definition, NULL, &out) < 0 ||
        pool_definition_parse((const char *)out.data, &again, NULL) < 0)
        abort();
    if (!text_equal(definition->name, again->name) || !text_equal(definition->target, again->target))
        abort();
    pool_definition_free(again);
    pool_definition_free(definition);
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct volume_definition volume;
    char *text = fuzz_text(data, size);

    if (text == NULL)
        return 0;
    check_pool(text);
    if (volume_definition_parse(text, &volume, NULL) == 0) {
        if (strchr(volume.name, '/') != NULL)
            abort();
        volume_definition_fini(&volume);
    }
    free(text);
    return 0;
}
