/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the definition files. */
#ifndef FERRY_DAEMON_DEFINITION_PRIVATE_H
#define FERRY_DAEMON_DEFINITION_PRIVATE_H

#include "daemon/definition.h"

/* Completes the document by the facts and by defaults, and refuses what contradicts itself. emulator: NULL keeps what is there. */
int definition_fill(struct definition *definition, const char *emulator, struct err *err);

/* virt-install adds USB controllers to every machine, asked or not. The machine has none, and the document says so afterwards: one
 * controller of model none stands for them all, and domain messages (dominfo) tell why. Devices on a USB bus are refused. */
void definition_leave_out_usb(xmlNode *root);

/* Of one disk or interface: defaults, and what it must have. */
int device_fill(xmlNode *device, struct err *err);

#endif
