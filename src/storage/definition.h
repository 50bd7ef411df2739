/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools and volumes as libvirt's XML has them (libvirt.org/formatstorage.html). What we can't do is refused by a sentence that
 * names the element. */
#ifndef FERRY_STORAGE_DEFINITION_H
#define FERRY_STORAGE_DEFINITION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/uuid.h"

struct buffer;
struct err;
struct xml_writer;
struct storage_file;

#define STORAGE_NAME_MAX 200 /* bytes of a pool's name */

enum pool_kind { POOL_DIRECTORY, POOL_NETFS };

struct permissions {
    bool has_mode, has_owner, has_group;
    mode_t mode;
    uid_t owner;
    gid_t group;
};

struct pool_definition {
    char *name;
    uint8_t uuid[UUID_SIZE];
    enum pool_kind kind;
    char *host, *directory; /* of POOL_NETFS: the server, and what it exports */
    char *target;           /* absolute path where volumes are seen, without a slash at its end */
    struct permissions permissions; /* of the directory, when the pool is built */
};

struct pool_numbers {
    uint64_t capacity, allocation, available; /* bytes */
};

/* A missing UUID is made up. */
int pool_definition_parse(const char *xml, struct pool_definition **ret_definition, struct err *err);
void pool_definition_free(struct pool_definition *definition); /* accepts NULL */

/* numbers may be NULL. */
int pool_definition_format(const struct pool_definition *definition, const struct pool_numbers *numbers, struct buffer *out);

/* Appends the URL of the pool's directory: of POOL_NETFS only. */
int pool_url(const struct pool_definition *definition, char *out, size_t size);

enum volume_format { VOLUME_RAW, VOLUME_QCOW2, VOLUME_ISO };
const char *volume_format_name(enum volume_format format);

struct volume_definition { /* what a client wishes for */
    char name[256];
    uint64_t capacity;    /* bytes that the guest sees */
    bool has_allocation;
    uint64_t allocation;  /* bytes to be reserved at once */
    enum volume_format format;
    struct permissions permissions; /* the mode is always there */
    char *backing;        /* path of the image below; NULL: none */
    enum volume_format backing_format;
};

int volume_definition_parse(const char *xml, struct volume_definition *ret_definition, struct err *err);
void volume_definition_fini(struct volume_definition *definition);

/* A volume that is there. */
struct volume_facts {
    const struct storage_file *file;
    const char *path;
    enum volume_format format;
    uint64_t capacity;
    const char *backing; /* NULL: none */
};
int volume_format_xml(const struct volume_facts *facts, struct buffer *out);

#endif
