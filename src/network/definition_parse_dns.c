/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the <dns> of a <network> document. */
#include <errno.h>

#include "base/err.h"
#include "network/definition_private.h"

int read_txt(const xmlNode *node, struct network_dns_txt *ret_txt, struct err *err)
{
    struct network_dns_txt txt = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("name", "value"), err);
    if (r == 0)
        r = read_text(node, "name", txt.name, sizeof(txt.name), err);
    if (r == 0)
        r = read_text(node, "value", txt.value, sizeof(txt.value), err);
    if (r == 0)
        *ret_txt = txt;
    return r;
}

int read_srv(const xmlNode *node, struct network_dns_srv *ret_srv, struct err *err)
{
    struct network_dns_srv srv = {.port = 1};
    int r =
        xml_check(node, ALLOW_ATTRIBUTES("service", "protocol", "domain", "target", "port", "priority", "weight"), err);
    if (r == 0)
        r = read_text(node, "service", srv.service, sizeof(srv.service), err);
    if (r == 0)
        r = read_text(node, "protocol", srv.protocol, sizeof(srv.protocol), err);
    if (r == 0)
        r = read_text(node, "domain", srv.domain, sizeof(srv.domain), err);
    if (r == 0)
        r = read_text(node, "target", srv.target, sizeof(srv.target), err);
    if (r == 0)
        r = read_number(node, "port", 65535, &srv.port, err);
    if (r == 0)
        r = read_number(node, "priority", 65535, &srv.priority, err);
    if (r == 0)
        r = read_number(node, "weight", 65535, &srv.weight, err);
    if (r == 0)
        *ret_srv = srv;
    return r;
}

int read_dns_host(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_host host = {0};
    int r = xml_check(node, &(struct xml_allowed){NAMES("ip"), NAMES("hostname"), NULL}, err);
    if (r == 0)
        r = need_address(node, "ip", &host.ip, err);
    for (const xmlNode *name = xml_first(node, NULL); r == 0 && name != NULL; name = xml_next(name, NULL)) {
        r = xml_check(name, &(struct xml_allowed){NULL}, err);
        if (r == 0)
            r = copy_text(name, "the text", xml_content(name), host.name, sizeof(host.name), err);
        if (r == 0)
            r = LIST_APPEND(&definition->dns_hosts, &host, err);
    }
    return r;
}

static int parse_forwarder(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_forwarder forwarder = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("addr", "domain"), err);
    if (r == 0)
        r = read_address(node, "addr", &forwarder.address, err);
    if (r == 0)
        r = read_text(node, "domain", forwarder.domain, sizeof(forwarder.domain), err);
    return r < 0 ? r : LIST_APPEND(&definition->forwarders, &forwarder, err);
}

static int append_txt(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_txt txt;
    int r = read_txt(node, &txt, err);
    return r < 0 ? r : LIST_APPEND(&definition->dns_txt, &txt, err);
}

static int append_srv(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_srv srv;
    int r = read_srv(node, &srv, err);
    return r < 0 ? r : LIST_APPEND(&definition->dns_srv, &srv, err);
}

int parse_dns(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(
        node,
        &(struct xml_allowed){NAMES("enable", "forwardPlainNames"), NAMES("forwarder", "txt", "srv", "host"), NULL},
        err);
    if (r == 0)
        r = read_choice(node, "enable", "yes", "no", &definition->dns, err);
    if (r == 0)
        r = read_choice(node, "forwardPlainNames", "yes", "no", &definition->dns_forward_plain, err);
    for (const xmlNode *child = xml_first(node, NULL); r == 0 && child != NULL; child = xml_next(child, NULL)) {
        if (xml_is(child, "forwarder"))
            r = parse_forwarder(child, definition, err);
        else if (xml_is(child, "host"))
            r = read_dns_host(child, definition, err);
        else if (xml_is(child, "txt"))
            r = append_txt(child, definition, err);
        else
            r = append_srv(child, definition, err);
    }
    return r;
}
