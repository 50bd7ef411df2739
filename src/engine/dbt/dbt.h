/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator engine as the rest of Ferry sees it: one engine_type. */
#ifndef FERRY_ENGINE_DBT_DBT_H
#define FERRY_ENGINE_DBT_DBT_H

struct engine_type;

extern const struct engine_type dbt_engine_type;

#endif
