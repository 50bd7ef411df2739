/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the definition files. */
#ifndef FERRY_STORAGE_DEFINITION_PRIVATE_H
#define FERRY_STORAGE_DEFINITION_PRIVATE_H

#include <libxml/tree.h>

#include "storage/definition.h"

char *storage_copy_trimmed(const char *text);
int storage_read_permissions(const xmlNode *target, struct permissions *permissions, struct err *err);

#endif
