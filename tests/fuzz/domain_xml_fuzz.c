/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: a domain's XML from a client. What is accepted must be accepted again, and stay the same, after it was written. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/err.h"
#include "daemon/definition.h"
#include "daemon/host.h"
#include "fuzz.h"

static const char *const seeds[] = {
    "<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory><os><type>hvm</type><kernel>/k</kernel></os><devices>"
    "<disk><source file='/d'/><target dev='vda'/></disk><interface type='network'><source network='n'/></interface><console/>"
    "</devices></domain>",
    "<domain type='kvm'><name>b</name><uuid>00000000-0000-0000-0000-000000000001</uuid><memory>65536</memory><vcpu>2</vcpu>"
    "<metadata><x:y xmlns:x='urn:x'>t<x:z/>u <x:z> </x:z></x:y></metadata><cpu mode='custom'><model>x86-64-v2</model></cpu></domain>",
    "<domain type='kvm'><name>c</name><memory>65536</memory><vcpu>4</vcpu><os><type>hvm</type><kernel>/k</kernel></os>"
    "<cpu mode='custom' match='exact'><model fallback='forbid'>x86-64-v2</model><topology sockets='2' cores='2' threads='1'/>"
    "<feature policy='require' name='smap'/><feature policy='disable' name='popcnt'/></cpu><clock offset='utc'><timer name='tsc' "
    "frequency='2596136000'/><timer name='hpet' present='no'/></clock></domain>",
};

static struct host host = {.vmm = "/usr/bin/ferry-vmm", .kvm = true, .cpus_max = 8};

static void check_stable(const struct definition *definition)
{
    struct buffer first = BUFFER_INIT(16 << 20), second = BUFFER_INIT(16 << 20);
    struct definition *again = NULL;
    struct err err = ERR_INIT;

    if (definition_format(definition, -1, &first) < 0)
        abort();
    if (definition_parse((const char *)first.data, &host, &again, &err) < 0 || definition_format(again, -1, &second) < 0)
        abort();
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
        abort();
    definition_free(again);
    buffer_fini(&first);
    buffer_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct definition *definition = NULL;
    struct err err = ERR_INIT;
    char *text = fuzz_text(data, size);
    xmlDoc *doc = NULL;

    if (text == NULL)
        return 0;
    if (definition_parse(text, &host, &definition, &err) == 0)
        check_stable(definition);
    definition_free(definition);
    if (definition_parse_device(text, size % 2 == 0, &doc, &err) == 0)
        xmlFreeDoc(doc);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return fuzz_text_seed(seeds, sizeof(seeds) / sizeof(seeds[0]), index, out, max);
}
