/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: what the XML reader refuses, and that what the writer writes is read back as it was. */
#include "check.h"

#include <errno.h>

#include "base/err.h"
#include "protocol/xml.h"

static xmlDoc *read_good(const char *text, const char *root)
{
    struct err err = ERR_INIT;
    xmlDoc *doc = NULL;
    if (xml_read(text, root, &doc, &err) < 0)
        fail_msg("%s", err.message);
    return doc;
}

static void refused(const char *text, const char *sentence)
{
    struct err err = ERR_INIT;
    xmlDoc *doc = NULL;
    assert_int_equal(xml_read(text, "network", &doc, &err), -EINVAL);
    assert_null(doc);
    if (strstr(err.message, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, sentence);
}

static void test_refused(void **state)
{
    refused("", "broken in line");
    refused("<network>", "broken in line 1");
    refused("<network>\n<a>\n</b></network>", "broken in line 3");
    refused("<domain/>", "is a <domain>, not a <network>");
    refused("<n:network xmlns:n='urn:n'/>", "not a <network>");
    refused("<!DOCTYPE network [<!ENTITY a 'aaaa'>]><network>&a;</network>", "document type");
    refused("<!DOCTYPE network SYSTEM 'file:///etc/passwd'><network/>", "document type");
    refused("<network>&a;</network>", "broken in line 1");
}

static void test_too_large(void **state)
{
    struct err err = ERR_INIT;
    xmlDoc *doc = NULL;
    char *text = malloc(XML_SIZE_MAX + 2);
    memset(text, ' ', XML_SIZE_MAX + 1);
    text[XML_SIZE_MAX + 1] = '\0';
    assert_int_equal(xml_read(text, "network", &doc, &err), -E2BIG);
    free(text);
}

static void test_look_up(void **state)
{
    xmlDoc *doc = read_good(
        "<network><!-- x --><name>a<!-- y -->&amp;<![CDATA[<b>]]></name><x:ip xmlns:x='urn:x'/><ip a='1 &lt; 2'/>"
        "<ip/></network>",
        "network");
    const xmlNode *root = xml_root(doc);
    assert_string_equal(xml_child_content(root, "name"), "a&<b>");
    assert_null(xml_child_content(root, "none"));
    const xmlNode *ip = xml_first(root, "ip");
    assert_string_equal(xml_attribute(ip, "a"), "1 < 2");
    assert_null(xml_attribute(ip, "b"));
    assert_non_null(ip = xml_next(ip, "ip"));
    assert_null(xml_attribute(ip, "a"));
    assert_string_equal(xml_content(ip), "");
    assert_null(xml_next(ip, NULL));
    xmlFreeDoc(doc);
}

static int check(const char *text, struct err *err)
{
    static const char *const attributes[] = {"a", NULL}, *const elements[] = {"b", "c", NULL},
                             *const once[] = {"b", NULL};
    xmlDoc *doc = read_good(text, "n");
    int r = xml_check(xml_root(doc), &(struct xml_allowed){attributes, elements, once}, err);
    xmlFreeDoc(doc);
    return r;
}

static void test_check(void **state)
{
    struct err err = ERR_INIT;
    assert_int_equal(check("<n a='1'><b/><c/><c/><x:d xmlns:x='urn:x'/></n>", &err), 0);
    assert_int_equal(check("<n z='1'/>", &err), -ENOTSUP);
    assert_string_equal(err.message, "attribute z of element <n> in line 1 is not supported");
    assert_int_equal(check("<n>\n<d/></n>", &err), -ENOTSUP);
    assert_string_equal(err.message, "element <d> in <n> in line 2 is not supported");
    assert_int_equal(check("<n><b/><b/></n>", &err), -ENOTSUP);
    assert_string_equal(err.message, "element <b> in <n> may be there once only");
}

static void test_write(void **state)
{
    struct buffer out = BUFFER_INIT(4096);
    struct xml_writer writer;
    xml_writer_init(&writer, &out);
    xml_open(&writer, "network");
    xml_text(&writer, "name", "%s", "a<&>'\x01\"b");
    xml_open(&writer, "ip");
    xml_put(&writer, "address", "%s", "it's");
    xml_put(&writer, "prefix", "%u", 24u);
    xml_close(&writer);
    xml_open(&writer, "metadata");
    xml_raw(&writer, "<x/>");
    xml_raw(&writer, NULL);
    xml_close(&writer);
    xml_close(&writer);
    assert_int_equal(xml_writer_end(&writer), 0);
    assert_string_equal(out.data, "<network>\n"
                                  "  <name>a&lt;&amp;&gt;&apos;\"b</name>\n"
                                  "  <ip address='it&apos;s' prefix='24'/>\n"
                                  "  <metadata>\n"
                                  "    <x/>\n"
                                  "  </metadata>\n"
                                  "</network>\n");
    xmlDoc *doc = read_good((const char *)out.data, "network");
    assert_string_equal(xml_child_content(xml_root(doc), "name"), "a<&>'\"b");
    xmlFreeDoc(doc);
    buffer_fini(&out);
}

static void test_write_too_much(void **state)
{
    struct buffer out = BUFFER_INIT(16);
    struct xml_writer writer;
    xml_writer_init(&writer, &out);
    for (unsigned i = 0; i <= XML_DEPTH_MAX; i++)
        xml_open(&writer, "a");
    for (unsigned i = 0; i <= XML_DEPTH_MAX; i++)
        xml_close(&writer);
    assert_int_equal(xml_writer_end(&writer), -ENOBUFS);
    buffer_fini(&out);
}

static void test_dump_keeps_namespaces(void **state)
{
    struct buffer out = BUFFER_INIT(4096);
    xmlDoc *doc = read_good("<n xmlns:m='urn:m'><metadata><m:a k='v'>t</m:a></metadata></n>", "n");
    const xmlNode *element = xml_first(xml_root(doc), "metadata")->children;
    assert_int_equal(xml_dump(element, &out), 0);
    assert_string_equal(out.data, "<m:a xmlns:m=\"urn:m\" k=\"v\">t</m:a>");
    xmlFreeDoc(doc);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_look_up),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_too_much),
        cmocka_unit_test(test_dump_keeps_namespaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
