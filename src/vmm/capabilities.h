/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this program can do on this host, for those who choose: ferry-vmm --capabilities. */
#ifndef FERRY_VMM_CAPABILITIES_H
#define FERRY_VMM_CAPABILITIES_H

#include <stdio.h>

/* One JSON object: {"engines": {NAME: {"usable", "native", "reason"}}, "cpu-models": [{"name", "usable"}...], "cpus-max": N}. A few
 * milliseconds: the engines are probed. */
void capabilities_print(FILE *out);

#endif
