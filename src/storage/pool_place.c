/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a pool's files are: its directory; of a netfs pool the mounted export, or the export itself. */
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "storage/pool_private.h"

#define DIRECTORY_MODE 0711 /* libvirt's: images are found by who knows their names */

int pool_make_directory(const struct pool_definition *definition, struct err *err)
{
    const struct permissions *permissions = &definition->permissions;
    const char *path = definition->target;
    int r = directory_make(path, permissions->has_mode ? permissions->mode : DIRECTORY_MODE);

    if (r == 0 && permissions->has_mode && chmod(path, permissions->mode) < 0)
        r = -errno;
    if (r == 0 && (permissions->has_owner || permissions->has_group) &&
        chown(path, permissions->has_owner ? permissions->owner : (uid_t)-1,
              permissions->has_group ? permissions->group : (gid_t)-1) < 0)
        r = -errno;
    return r < 0 ? err_set(err, r, "cannot make directory '%s': %s", path, strerror(-r)) : 0;
}

/* The kernel wants the server's address with the options. */
static int mount_options(const char *host, char options[static 256])
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char address[NI_MAXHOST];
    int r = getaddrinfo(host, "2049", &hints, &found);

    if (r != 0)
        return -EHOSTUNREACH;
    r = getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return r != 0 ? -EHOSTUNREACH : text_format(options, 256, "hard,vers=4.2,addr=%s", address);
}

/* Whether the kernel can't do this here at all, so that the server is spoken to without it. */
static bool can_not_mount(int error)
{
    return error == ENODEV || error == EPERM || error == EACCES || error == ENOSYS || error == EINVAL ||
           error == EPROTONOSUPPORT;
}

static int mount_export(const struct pool_definition *definition, bool *ret_mounted, struct err *err)
{
    char source[PATH_MAX + 300], options[256];
    int r = mount_options(definition->host, options);

    if (r == 0)
        r = text_format(source, sizeof(source), "%s:%s", definition->host, definition->directory);
    if (r < 0)
        return err_set(err, r, "cannot find the NFS server %s of pool %s", definition->host, definition->name);
    if (directory_make(definition->target, DIRECTORY_MODE) < 0)
        return 0; /* then it has no place in the file system, which the rest does not need */
    if (mount(source, definition->target, "nfs4", MS_NODEV | MS_NOSUID, options) == 0)
        *ret_mounted = true;
    else if (!can_not_mount(errno))
        return err_set(err, -errno, "cannot mount %s at %s: %s", source, definition->target, strerror(errno));
    return 0;
}

int pool_unmount(const struct pool_definition *definition, struct err *err)
{
    if (umount2(definition->target, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL) /* EINVAL: not mounted any more */
        return 0;
    return err_set(err, -errno, "cannot unmount %s: %s", definition->target, strerror(errno));
}

static int open_netfs(const struct pool *pool, bool already_mounted, struct storage_place **ret_place,
                      bool *ret_mounted, struct err *err)
{
    const struct pool_definition *definition = pool->definition;
    bool mounted = already_mounted;
    char url[2048];
    int r = 0;

    if (!mounted && !pool->pools->options.no_mount)
        r = mount_export(definition, &mounted, err);
    if (r == 0 && !mounted && pool_url(definition, url, sizeof(url)) < 0)
        r = err_set(err, -EINVAL, "the directory %s of pool %s can't be reached without mounting it",
                    definition->directory, definition->name);
    if (r == 0)
        r = mounted ? place_open_directory(definition->target, ret_place, err) : place_open_nfs(url, ret_place, err);
    if (r == 0)
        *ret_mounted = mounted;
    else if (mounted && !already_mounted)
        pool_unmount(definition, NULL);
    return r;
}

int pool_open_place(const struct pool *pool, bool build, bool already_mounted, struct storage_place **ret_place,
                    bool *ret_mounted, struct err *err)
{
    int r;

    *ret_mounted = false;
    if (pool->definition->kind == POOL_NETFS)
        return open_netfs(pool, already_mounted, ret_place, ret_mounted, err);
    r = build ? pool_make_directory(pool->definition, err) : 0;
    return r < 0 ? r : place_open_directory(pool->definition->target, ret_place, err);
}
