/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the definition files. */
#ifndef FERRY_DAEMON_DEFINITION_PRIVATE_H
#define FERRY_DAEMON_DEFINITION_PRIVATE_H

#include "daemon/definition.h"

/* Completes the document by the facts and by defaults, and refuses what contradicts itself. emulator: NULL keeps what is there. */
int definition_fill(struct definition *definition, const char *emulator, struct err *err);

/* Of one disk or interface: defaults, and what it must have. */
int device_fill(xmlNode *device, struct err *err);

#endif
