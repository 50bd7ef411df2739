/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions of what hosts can offer, and what they share. */
#include "x86/cpuid_baseline.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "x86/cpuid_tsc.h"

/* Instructions, and what systems use for themselves, that a guest may have beyond its level: the same on CPUs of either vendor. */
#define BEYOND                                                                                                         \
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 rdtscp avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq "    \
    "rdrand fsgsbase smep xsaveopt avx512f avx512bw avx512cd avx512dq avx512vl adx smap rdseed clflushopt clwb "       \
    "xsavec xgetbv1 sha_ni gfni vaes vpclmulqdq avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg "         \
    "avx512_vpopcntdq avx512_bf16 avx_vnni erms fsrm umip pku rdpid pcid invpcid pdpe1gb tsc_adjust 3dnowprefetch"

/* Registers that XSAVE puts somewhere else on other CPUs, and the feature that goes with them. */
static const struct {
    unsigned component;
    const char *feature;
} layouts[] = {{2, "avx"}, {5, "avx512f"}, {6, "avx512f"}, {7, "avx512f"}, {9, "pku"}};

#define PHYSICAL_BITS_DEFAULT 40u

void cpuid_describe(const struct cpuid_table *supported, const char *engine, struct cpuid_description *ret_description)
{
    const struct cpuid_entry *sizes = cpuid_find(supported, 0x80000008, 0);
    struct cpuid_description d = {.physical_bits = sizes != NULL ? sizes->eax & 0xff : PHYSICAL_BITS_DEFAULT};

    text_format(d.engine, sizeof(d.engine), "%s", engine);
    text_format(d.vendor, sizeof(d.vendor), "%s", cpuid_is_intel(supported) ? "GenuineIntel" : "AuthenticAMD");
    cpuid_features_get(supported, &d.features);
    cpuid_features_settle(&d.features);
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        const struct cpuid_entry *e = cpuid_find(supported, 0xd, i);

        if (e != NULL)
            d.xstate[i] = (struct x86_xstate_component){.offset = (uint16_t)e->ebx, .size = (uint16_t)e->eax};
    }
    *ret_description = d;
}

int cpuid_description_print(const struct cpuid_description *description, struct buffer *out)
{
    int r = buffer_printf(out, "ferry-cpu 1\nengine %s\nvendor %s\nphysical-bits %u\nfeatures", description->engine,
                          description->vendor, description->physical_bits);

    for (unsigned w = 0; r == 0 && w < CPUID_WORDS; w++) {
        for (unsigned bit = 0; r == 0 && bit < 32; bit++) {
            const char *name = cpuid_feature_name((enum cpuid_word)w, bit);

            if (name != NULL && cpuid_features_have(&description->features, (enum cpuid_word)w, bit))
                r = buffer_printf(out, " %s", name);
        }
    }
    r = r < 0 ? r : buffer_append(out, "\n", 1);
    if (r == 0 && description->tsc_khz != 0)
        r = buffer_printf(out, "tsc %u %s\n", description->tsc_khz, description->tsc_fixed ? "fixed" : "scaled");
    for (unsigned i = 0; r == 0 && i < X86_XSTATE_COMPONENTS; i++)
        if (description->xstate[i].size != 0)
            r = buffer_printf(out, "xstate %u %u %u\n", i, description->xstate[i].size, description->xstate[i].offset);
    return r;
}

/* A line's next word, or NULL; words are cut out of the line. */
static char *next_word(char **rest)
{
    char *word = *rest + strspn(*rest, " \t\r");
    size_t length = strcspn(word, " \t\r");

    *rest = word + length;
    if (length == 0)
        return NULL;
    if (**rest != 0)
        *(*rest)++ = 0;
    return word;
}

static int parse_number(char **rest, uint64_t max, uint64_t *ret_value)
{
    char *word = next_word(rest);
    uint64_t value;

    if (word == NULL || text_parse_u64(word, &value) < 0 || value > max)
        return -EBADMSG;
    *ret_value = value;
    return 0;
}

static int parse_xstate(struct cpuid_description *d, char *rest)
{
    uint64_t number, size, offset;

    if (parse_number(&rest, UINT16_MAX, &number) < 0 || parse_number(&rest, UINT16_MAX, &size) < 0 ||
        parse_number(&rest, UINT16_MAX, &offset) < 0)
        return -EBADMSG;
    if (number < X86_XSTATE_COMPONENTS)
        d->xstate[number] = (struct x86_xstate_component){.offset = (uint16_t)offset, .size = (uint16_t)size};
    return 0;
}

static int parse_tsc(struct cpuid_description *d, char *rest)
{
    uint64_t khz;
    const char *word;

    if (parse_number(&rest, CPUID_TSC_KHZ_MAX, &khz) < 0 || khz < CPUID_TSC_KHZ_MIN)
        return -EBADMSG;
    word = next_word(&rest);
    if (word == NULL || (!text_equal(word, "fixed") && !text_equal(word, "scaled")))
        return -EBADMSG;
    d->tsc_khz = (uint32_t)khz;
    d->tsc_fixed = text_equal(word, "fixed");
    return 0;
}

static int parse_word(char *out, size_t size, char *rest)
{
    char *word = next_word(&rest);

    return word == NULL || text_format(out, size, "%s", word) < 0 ? -EBADMSG : 0;
}

static int parse_line(struct cpuid_description *d, char *line)
{
    char *key = next_word(&line), *name;
    uint64_t bits;
    int r = 0;

    if (key == NULL || key[0] == '#')
        return 0;
    if (text_equal(key, "engine"))
        return parse_word(d->engine, sizeof(d->engine), line);
    if (text_equal(key, "vendor"))
        return parse_word(d->vendor, sizeof(d->vendor), line);
    if (text_equal(key, "xstate"))
        return parse_xstate(d, line);
    if (text_equal(key, "tsc"))
        return parse_tsc(d, line);
    if (text_equal(key, "features"))
        while ((name = next_word(&line)) != NULL)
            cpuid_features_add(&d->features, name);
    if (text_equal(key, "physical-bits")) {
        r = parse_number(&line, 52, &bits);
        d->physical_bits = r == 0 ? (uint32_t)bits : 0;
        r = r == 0 && bits < 32 ? -EBADMSG : r;
    }
    return r;
}

int cpuid_description_parse(const char *text, size_t size, struct cpuid_description *ret_description, struct err *err)
{
    static const char first[] = "ferry-cpu 1";
    struct cpuid_description d = {.physical_bits = PHYSICAL_BITS_DEFAULT};
    unsigned number = 0;
    char line[4096];

    if (size > CPUID_DESCRIPTION_MAX)
        return err_set(err, -EBADMSG, "it is longer than %u bytes", CPUID_DESCRIPTION_MAX);
    if (size < sizeof(first) || memcmp(text, first, sizeof(first) - 1) != 0 || text[sizeof(first) - 1] != '\n')
        return err_set(err, -EBADMSG, "its first line is not \"%s\": it is not what \"ferry cpu describe\" prints", first);
    for (const char *end = text + size; text < end; number++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline != NULL ? newline : end) - text);

        if (length >= sizeof(line) || memchr(text, 0, length) != NULL)
            return err_set(err, -EBADMSG, "line %u is no text of at most %zu bytes", number + 1, sizeof(line) - 1);
        memcpy(line, text, length);
        line[length] = 0;
        if (parse_line(&d, line) < 0)
            return err_set(err, -EBADMSG, "line %u lacks its value, or that is out of range: %.80s", number + 1, line);
        text += length + 1;
    }
    cpuid_features_settle(&d.features);
    *ret_description = d;
    return 0;
}

static void take_away(struct cpuid_features *set, const char *name)
{
    struct cpuid_feature f;

    if (cpuid_feature_find(name, (unsigned)strlen(name), &f))
        set->word[f.word] &= ~(1u << f.bit);
}

static struct cpuid_features shared_by(const struct cpuid_description *list, unsigned count)
{
    struct cpuid_features shared = list[0].features;

    for (unsigned i = 1; i < count; i++) {
        for (unsigned w = 0; w < CPUID_WORDS; w++)
            shared.word[w] &= list[i].features.word[w];
        for (unsigned j = 0; j < ARRAY_SIZE(layouts); j++) {
            const struct x86_xstate_component *a = &list[0].xstate[layouts[j].component];
            const struct x86_xstate_component *b = &list[i].xstate[layouts[j].component];

            if (a->offset != b->offset || a->size != b->size)
                take_away(&shared, layouts[j].feature);
        }
    }
    cpuid_features_settle(&shared);
    return shared;
}

/* Of `wanted`, what `have` lacks; false: nothing. */
static bool lacks(const struct cpuid_features *have, const struct cpuid_features *wanted, struct cpuid_features *ret_missing)
{
    bool any = false;

    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        ret_missing->word[w] = wanted->word[w] & ~have->word[w];
        any |= ret_missing->word[w] != 0;
    }
    return any;
}

static int nothing_shared(const struct cpuid_description *list, const char *const *names, unsigned count, struct err *err)
{
    struct cpuid_features missing;
    struct cpuid_level level;
    char text[240];

    cpuid_level(0, &level);
    for (unsigned i = 0; i < count; i++) {
        if (!lacks(&list[i].features, &level.features, &missing))
            continue;
        cpuid_features_print(&missing, text, sizeof(text));
        return err_set(err, -ENOTSUP, "%s has not even model %s: it lacks %s", names[i], level.name, text);
    }
    return err_set(err, -ENOTSUP, "they have not even model %s in common", level.name);
}

static bool same_tsc(const struct cpuid_description *a, const struct cpuid_description *b)
{
    return cpuid_tsc_is_within(b->tsc_khz, a->tsc_khz, CPUID_TSC_TOLERANCE_PPM);
}

/* ret_khz: what VMs must be made with; 0: it doesn't matter. */
static int common_tsc(const struct cpuid_description *list, const char *const *names, unsigned count, uint32_t *ret_khz,
                      struct err *err)
{
    const struct cpuid_description *fixed = NULL;

    *ret_khz = 0;
    for (unsigned i = 0; i < count; i++) {
        if (list[i].tsc_khz == 0 || !list[i].tsc_fixed)
            continue;
        if (fixed != NULL && !same_tsc(fixed, &list[i]))
            return err_set(err, -ENOTSUP, "the time stamp counter of %s runs at %u kHz and that of %s at %u kHz, and their engine %s can "
                           "scale neither, so that no VM can move between them: use --engine dbt on one of them",
                           names[fixed - list], fixed->tsc_khz, names[i], list[i].tsc_khz, list[i].engine);
        fixed = fixed != NULL ? fixed : &list[i];
    }
    for (unsigned i = 0; fixed != NULL && i < count; i++)
        if (list[i].tsc_khz != 0 && !same_tsc(fixed, &list[i]))
            *ret_khz = fixed->tsc_khz;
    return 0;
}

int cpuid_baseline(const struct cpuid_description *list, const char *const *names, unsigned count,
                   char ret_model[static CPUID_MODEL_MAX], struct err *err)
{
    struct cpuid_features shared = shared_by(list, count), beyond = {0}, missing;
    struct cpuid_level level, best = {0};
    uint32_t bits = PHYSICAL_BITS_DEFAULT, khz;
    size_t used;
    int r = common_tsc(list, names, count, &khz, err);

    if (r < 0)
        return r;
    for (unsigned i = 0; cpuid_level(i, &level); i++)
        if (!lacks(&shared, &level.features, &missing))
            best = level;
    if (best.name == NULL)
        return nothing_shared(list, names, count, err);
    cpuid_features_add(&beyond, BEYOND);
    for (unsigned i = 0; i < count; i++)
        bits = list[i].physical_bits < bits ? list[i].physical_bits : bits;
    text_format(ret_model, CPUID_MODEL_MAX, "%s", best.name);
    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (!(beyond.word[w] & shared.word[w] & ~best.features.word[w] & 1u << bit))
                continue;
            used = strlen(ret_model);
            text_format(ret_model + used, CPUID_MODEL_MAX - used, ",+%s", cpuid_feature_name((enum cpuid_word)w, bit));
        }
    }
    used = strlen(ret_model);
    if (bits < PHYSICAL_BITS_DEFAULT)
        text_format(ret_model + used, CPUID_MODEL_MAX - used, ",phys-bits=%u", bits);
    used = strlen(ret_model);
    if (khz != 0)
        text_format(ret_model + used, CPUID_MODEL_MAX - used, ",tsc-frequency=%llu", khz * 1000ull);
    return 0;
}
