/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes of a <network> document, each with a sentence for what it can't be. */
#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

int copy_text(const xmlNode *node, const char *what, const char *text, char *out, size_t size, struct err *err)
{
    if (text == NULL)
        return 0;
    if (strlen(text) >= size)
        return err_set(err, -EINVAL, "%s of <%s> is longer than %zu bytes", what, xml_name(node), size - 1);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

int read_text(const xmlNode *node, const char *attribute, char *out, size_t size, struct err *err)
{
    return copy_text(node, attribute, xml_attribute(node, attribute), out, size, err);
}

int read_address(const xmlNode *node, const char *attribute, struct ip_address *ret_address, struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL || ip_parse(text, ret_address) == 0)
        return 0;
    return err_set(err, -EINVAL, "%s '%s' of <%s> is not an IP address", attribute, text, xml_name(node));
}

int need_address(const xmlNode *node, const char *attribute, struct ip_address *ret_address, struct err *err)
{
    if (xml_attribute(node, attribute) == NULL)
        return err_set(err, -EINVAL, "<%s> in line %ld has no attribute %s", xml_name(node), xmlGetLineNo(node),
                       attribute);
    return read_address(node, attribute, ret_address, err);
}

int read_number(const xmlNode *node, const char *attribute, unsigned max, unsigned *ret_value, struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    uint64_t value;
    if (text == NULL)
        return 0;
    if (text_parse_u64(text, &value) < 0 || value > max)
        return err_set(err, -EINVAL, "%s '%s' of <%s> is not a number from 0 to %u", attribute, text, xml_name(node),
                       max);
    *ret_value = (unsigned)value;
    return 0;
}

int read_choice(const xmlNode *node, const char *attribute, const char *yes, const char *no, bool *ret_value,
                       struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL)
        return 0;
    if (!text_equal(text, yes) && !text_equal(text, no))
        return err_set(err, -EINVAL, "%s of <%s> is '%s', neither %s nor %s", attribute, xml_name(node), text, yes, no);
    *ret_value = text_equal(text, yes);
    return 0;
}

int read_mac(const xmlNode *node, const char *attribute, bool *ret_has, uint8_t ret_mac[static 6],
                    struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL)
        return 0;
    if (text_parse_mac(text, ret_mac) < 0)
        return err_set(err, -EINVAL, "%s '%s' of <%s> is not a MAC address such as 52:54:00:12:34:56", attribute, text,
                       xml_name(node));
    *ret_has = true;
    return 0;
}
