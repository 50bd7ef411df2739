/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this program is. FERRY_VERSION comes from the build. */
#ifndef FERRY_VMM_VERSION_H
#define FERRY_VMM_VERSION_H

#define FERRY_PROGRAM "ferry"

#endif
