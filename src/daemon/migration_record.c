/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ferryd remembers of a migration, also over its own restart: a part of the domain's status file. Besides, guests that certainly did
 * not run here. */
#include <errno.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

#define GIVEN_UP_MAX 32

int migration_record(struct domain *domain, const struct client *client, bool incoming, uint32_t flags, struct err *err)
{
    struct migration *migration = calloc(1, sizeof(*migration));

    if (migration == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    migration->client = client;
    migration->incoming = incoming;
    migration->flags = flags;
    migration_free(domain->migration);
    domain->migration = migration;
    return 0;
}

void migration_free(struct migration *migration)
{
    if (migration != NULL)
        definition_free(migration->persistent);
    free(migration);
}

/* Whether anybody will ask for it: an outgoing one is not over before the VM here has ended. */
static bool matters(const struct migration *migration)
{
    return migration != NULL &&
           (migration->result == MIGRATION_UNDER_WAY || (migration->result == MIGRATION_DONE && !migration->incoming));
}

int migration_format(const struct migration *migration, struct buffer *out)
{
    xmlNode *node = matters(migration) ? xmlNewNode(NULL, (const xmlChar *)"migration") : NULL;
    int r;

    if (node == NULL)
        return matters(migration) ? -ENOMEM : 0;
    tree_set(node, "direction", migration->incoming ? "in" : "out");
    tree_set(node, "flags", "%u", migration->flags);
    tree_set(node, "address", "%s", migration->address);
    tree_set(node, "peer", "%s", migration->peer);
    tree_set(node, "name", "%s", migration->peer_name);
    tree_set(node, "held", migration->held ? "yes" : "no");
    if (migration->persistent != NULL)
        tree_graft(node, definition_root(migration->persistent));
    r = tree_format(node, 0, out);
    xmlFreeNode(node);
    return r;
}

static void read_text(const xmlNode *node, const char *name, char *out, size_t size)
{
    const char *text = xml_attribute(node, name);

    text_format(out, size, "%s", text != NULL ? text : "");
}

static int read_persistent(const xmlNode *node, struct migration *migration, struct err *err)
{
    if (node == NULL)
        return 0;
    migration->persistent = calloc(1, sizeof(*migration->persistent));
    return migration->persistent != NULL ? definition_from_node(node, migration->persistent, err) : err_set(err, -ENOMEM, "out of memory");
}

int migration_read(const xmlNode *node, struct migration **ret_migration, struct err *err)
{
    struct migration *migration = calloc(1, sizeof(*migration));
    uint64_t flags = 0;
    int r = migration != NULL ? 0 : err_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    tree_number(node, "flags", &flags);
    migration->flags = (uint32_t)flags;
    migration->incoming = tree_is(node, "direction", "in");
    migration->held = tree_is(node, "held", "yes");
    migration->client_gone = true;
    read_text(node, "address", migration->address, sizeof(migration->address));
    read_text(node, "peer", migration->peer, sizeof(migration->peer));
    read_text(node, "name", migration->peer_name, sizeof(migration->peer_name));
    r = read_persistent(xml_first(node, "domain"), migration, err);
    if (r < 0)
        migration_free(migration);
    else
        *ret_migration = migration;
    return r;
}

/* --- guests that did not run here --------------------------------------------------------------------------- */

struct given_up {
    struct given_up *next;
    char name[DOMAIN_NAME_MAX + 1];
};

void migration_forget_given_up(struct daemon *daemon, const char *name)
{
    struct given_up **link = &daemon->given_up;

    while (*link != NULL) {
        struct given_up *one = *link;

        if (name == NULL || text_equal(one->name, name)) {
            *link = one->next;
            free(one);
        } else {
            link = &one->next;
        }
    }
}

void migration_note_given_up(struct daemon *daemon, const char *name)
{
    struct given_up *one = calloc(1, sizeof(*one)), **link = &daemon->given_up;

    migration_forget_given_up(daemon, name);
    if (one == NULL)
        return;
    text_format(one->name, sizeof(one->name), "%s", name);
    one->next = daemon->given_up;
    daemon->given_up = one;
    for (unsigned i = 0; i < GIVEN_UP_MAX && *link != NULL; i++)
        link = &(*link)->next;
    free(*link); /* one too many at most, the oldest */
    *link = NULL;
}

bool migration_was_given_up(const struct daemon *daemon, const char *name)
{
    for (const struct given_up *one = daemon->given_up; one != NULL; one = one->next)
        if (text_equal(one->name, name))
            return true;
    return false;
}
