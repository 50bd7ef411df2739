/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: XML trees that are changed and written. */
#include "check.h"

#include "base/buffer.h"
#include "base/err.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

static xmlDoc *read_document(const char *text)
{
    xmlDoc *doc = NULL;
    struct err err = ERR_INIT;
    if (xml_read(text, NULL, &doc, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return doc;
}

static void assert_written(const xmlDoc *doc, const char *wanted)
{
    struct buffer out = BUFFER_INIT(1 << 16);
    assert_int_equal(tree_format(xml_root(doc), 0, &out), 0);
    assert_string_equal((char *)out.data, wanted);
    buffer_fini(&out);
}

static void test_changes(void **state)
{
    xmlDoc *doc = read_document("<a><b x='1'/><c>t</c><b x='2'/></a>");
    xmlNode *root = (xmlNode *)xml_root(doc), *b = tree_first(root, "b");
    uint64_t number = 7;
    assert_true(tree_is(b, "x", "1"));
    assert_true(tree_is(tree_next(b, "b"), "x", "2"));
    assert_true(tree_number(b, "x", &number));
    assert_int_equal(number, 1);
    assert_false(tree_number(b, "y", &number));
    tree_set(b, "y", "%d<", 5);
    tree_unset(b, "x");
    tree_remove(tree_next(b, "b"));
    tree_remove(NULL);
    tree_set_text(tree_first(root, "c"), "a & b");
    assert_ptr_equal(tree_child(root, "c"), tree_first(root, "c"));
    tree_set(tree_child(root, "d"), "z", "'");
    tree_graft(root, b);
    tree_set(NULL, "x", "%d", 1);
    tree_set_text(NULL, "x");
    assert_written(doc, "<a>\n  <b y='5&lt;'/>\n  <c>a &amp; b</c>\n  <d z='&apos;'/>\n  <b y='5&lt;'/>\n</a>\n");
    xmlFreeDoc(doc);
}

/* What is somebody else's comes out as it came in, namespaces declared where they are used. */
static void test_foreign_elements(void **state)
{
    xmlDoc *doc = read_document("<a xmlns:p='urn:p'><p:m p:n='1'>mixed <p:o/> <p:q>\n </p:q>text</p:m></a>");
    struct buffer out = BUFFER_INIT(1 << 16);
    xmlDoc *again;
    assert_int_equal(tree_format(xml_root(doc), 0, &out), 0);
    assert_non_null(strstr((char *)out.data, "<p:m p:n='1'>mixed <p:o/> <p:q>\n </p:q>text</p:m>"));
    assert_non_null(strstr((char *)out.data, "xmlns:p='urn:p'"));
    again = read_document((char *)out.data);
    assert_written(again, (char *)out.data);
    buffer_fini(&out);
    xmlFreeDoc(again);
    xmlFreeDoc(doc);
}

static void test_a_full_buffer_is_told(void **state)
{
    xmlDoc *doc = read_document("<a><b/></a>");
    struct buffer out = BUFFER_INIT(8);
    assert_true(tree_format(xml_root(doc), 0, &out) < 0);
    buffer_fini(&out);
    xmlFreeDoc(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes), cmocka_unit_test(test_foreign_elements),
                                       cmocka_unit_test(test_a_full_buffer_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
