/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which types of pools and which formats there are. */
#ifndef FERRY_STORAGE_CAPABILITIES_H
#define FERRY_STORAGE_CAPABILITIES_H

struct buffer;

/* Appends libvirt's <storagepoolCapabilities>. -ENOBUFS, -ENOMEM. */
int storage_capabilities(struct buffer *out);

#endif
