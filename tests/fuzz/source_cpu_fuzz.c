/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: CPU and time base in what a hostile source says of its machine, up to where they would become the VM's. */
#include <stdlib.h>

#include "base/bits.h"
#include "base/err.h"
#include "fuzz.h"
#include "vmm/describe_cpu.h"
#include "x86/cpuid_compare.h"
#include "x86/cpuid_tsc.h"
#include "x86/cpuid_xsave.h"

/* AMD's place for PKRU; a CPU of 32 bits; and neither. */
static const char of_amd[] =
    "{\"tsc-khz\":2596136,\"clock\":1764000000000000000,\"long-mode\":true,\"cpuid\":[[0,0,false,13,1752462657,1145913699,1769238117],"
    "[1,0,false,10555153,134352896,2147483648,395049983],[13,0,true,519,2440,2440,0],[13,1,true,15,0,0,0],[13,2,true,256,576,0,0],"
    "[13,9,true,8,2432,0,0],[1073741840,0,false,2596136,1000000,0,0],[2147483650,0,false,1920099654,1981837945,1970565737,1126197345],"
    "[2147483649,0,false,10555153,0,1,802421759],[2147483656,0,false,12328,0,0,0]]}";
static const char of_32_bits[] =
    "{\"tsc-khz\":2000000,\"clock\":0,\"long-mode\":false,\"cpuid\":[[0,0,false,1,1970169159,1818588270,1231384169],"
    "[1,0,false,1729,2048,0,529]]}";
static const char of_neither[] =
    "{\"tsc-khz\":1,\"cpuid\":[[13,2,true,256,576,0,0]]}";
static const char *const seeds[] = {of_amd, of_32_bits, of_neither};

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return fuzz_text_seed(seeds, ARRAY_SIZE(seeds), index, out, max);
}

/* Once the layout is followed, nothing that is left may lie outside of an XSAVE image. */
static void follow(const struct cpuid_table *source, struct cpuid_table *own)
{
    struct cpuid_xsave_layout layout;

    cpuid_get_xsave_layout(source, &layout);
    if (cpuid_set_xsave_layout(own, &layout, NULL) < 0)
        return;
    cpuid_get_xsave_layout(own, &layout);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++)
        if (layout.offset[i] != 0 && (layout.offset[i] < X86_XSAVE_HEADER_END || layout.offset[i] + x86_xstate_components[i].size > 4096))
            abort();
}

static void look(const json_t *object)
{
    static struct describe_cpu own;
    struct describe_cpu source;
    struct cpuid_table table;
    struct err err = ERR_INIT;
    json_t *mine = json_loads(of_amd, 0, NULL);

    if (describe_read_cpu(mine, &own, NULL) < 0)
        abort();
    json_decref(mine);
    if (describe_read_cpu(object, &source, &err) < 0) {
        if (err.message[0] == 0)
            abort();
        return;
    }
    table = own.cpuid;
    follow(&source.cpuid, &table);
    if (cpuid_compare(&source.cpuid, &table, source.long_mode, &err) < 0 && err.message[0] == 0)
        abort();
    cpuid_compare(&table, &source.cpuid, source.long_mode, &err);
    for (uint32_t leaf = 0; leaf < 0x20; leaf++) {
        uint32_t registers[4];

        cpuid_query(&source.cpuid, leaf, leaf & 3, registers);
    }
    cpuid_set_tsc_khz(&source.cpuid, source.tsc_khz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(object))
        look(object);
    json_decref(object);
    return 0;
}
