/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the translator engine can offer its guests. */
#ifndef FERRY_ENGINE_DBT_CPUID_H
#define FERRY_ENGINE_DBT_CPUID_H

struct cpuid_table;

/* A host's features as far as the engine implements them, with those that it adds on any host. host: cpuid_host(), there. */
void dbt_cpuid_offered(const struct cpuid_table *host, struct cpuid_table *ret_table);

#endif
