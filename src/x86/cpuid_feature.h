/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID feature bits by name: the words that hold them, and sets of them. Names are those of /proc/cpuinfo. */
#ifndef FERRY_X86_CPUID_FEATURE_H
#define FERRY_X86_CPUID_FEATURE_H

#include <stddef.h>

#include "x86/cpuid.h"

enum cpuid_word {
    WORD_1_EDX, WORD_1_ECX, WORD_7_EBX, WORD_7_ECX, WORD_7_EDX, WORD_7_1_EAX, WORD_D_1_EAX, WORD_80000001_EDX,
    WORD_80000001_ECX, WORD_80000007_EDX, WORD_80000008_EBX, WORD_80000021_EAX, WORD_6_EAX, CPUID_WORDS,
};

struct cpuid_features {
    uint32_t word[CPUID_WORDS];
};

/* One bit of a set. */
struct cpuid_feature {
    enum cpuid_word word;
    unsigned bit;
};

/* Finds a feature by name (case and - versus _ matter as in /proc/cpuinfo); false: no such name. */
bool cpuid_feature_find(const char *name, unsigned length, struct cpuid_feature *ret_feature);

/* Name of a bit, or NULL if it has none. */
const char *cpuid_feature_name(enum cpuid_word word, unsigned bit);

static inline bool cpuid_features_have(const struct cpuid_features *set, enum cpuid_word word, unsigned bit)
{
    return set->word[word] >> bit & 1;
}

/* The names of a set's features, separated by blanks, cut with "and N more" to fit. Bits without a name are told by leaf. */
void cpuid_features_print(const struct cpuid_features *set, char *out, size_t size);

/* Whether a register of CPUID holds feature bits (reg: 0 EAX .. 3 EDX). */
bool cpuid_features_hold(uint32_t leaf, uint32_t subleaf, unsigned reg);

/* Level number `index` of x86-64, from 0; false: there is none. */
struct cpuid_level {
    const char *name;
    struct cpuid_features features; /* of this level and those below it */
};
bool cpuid_level(unsigned index, struct cpuid_level *ret_level);

/* Takes the feature words out of a table, and puts them into one (creating entries that lack). */
void cpuid_features_get(const struct cpuid_table *table, struct cpuid_features *ret_set);
void cpuid_features_put(struct cpuid_table *table, const struct cpuid_features *set);

/* The features named in a text, separated by blanks; names must exist. */
void cpuid_features_add(struct cpuid_features *set, const char *names);

/* Clears features that need one that is absent (AVX2 without AVX, ...). */
void cpuid_features_settle(struct cpuid_features *set);

/* Appends an entry; more than CPUID_ENTRIES_MAX are dropped. */
void cpuid_add(struct cpuid_table *table, const struct cpuid_entry *entry);

bool cpuid_is_intel(const struct cpuid_table *table);

#endif
