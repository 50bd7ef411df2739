/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain documents in, and what becomes of them: tests/golden/domain/NAME.in.xml and NAME.out.xml. The inputs are what virt-install and
 * virt-manager send, the least there may be, and everything there is. What comes out stays as it is when it comes in again.
 *
 * After a change that is meant, run with REGENERATE=1 and look at the difference before committing it. */
#include "check.h"

#include "base/buffer.h"
#include "base/err.h"
#include "daemon/definition.h"
#include "daemon/host.h"

#define DOCUMENT_MAX (1 << 20)

static const char *const names[] = {"minimal", "everything", "virt-install-import", "virt-install-options", "virt-manager-no-display"};
static const struct host host = {.vmm = "/usr/bin/ferry-vmm", .kvm = true, .cpus_max = 64, .models = {(char *)"x86-64-v2"},
                                 .model_usable = {true}};

static void path_of(const char *name, const char *kind, char path[static 512])
{
    snprintf(path, 512, "%s/%s.%s.xml", GOLDEN_DIRECTORY, name, kind);
}

static char *read_document(const char *name, const char *kind)
{
    char path[512];
    char *text = calloc(1, DOCUMENT_MAX + 1);
    path_of(name, kind, path);
    FILE *file = fopen(path, "re");
    if (file == NULL || text == NULL)
        fail_msg("cannot read %s", path);
    text[fread(text, 1, DOCUMENT_MAX, file)] = 0;
    fclose(file);
    return text;
}

static void write_document(const char *name, const char *text)
{
    char path[512];
    path_of(name, "out", path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

/* The document as it is kept; the caller frees the buffer. */
static struct buffer complete(const char *name, const char *xml)
{
    struct definition *definition = NULL;
    struct buffer out = BUFFER_INIT(DOCUMENT_MAX);
    struct err err = ERR_INIT;
    if (definition_parse(xml, &host, &definition, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    assert_int_equal(definition_format(definition, -1, &out), 0);
    definition_free(definition);
    return out;
}

static void test_documents(void **state)
{
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *in = read_document(names[i], "in");
        struct buffer out = complete(names[i], in);
        if (getenv("REGENERATE") != NULL)
            write_document(names[i], (char *)out.data);
        char *wanted = read_document(names[i], "out");
        if (strcmp(wanted, (char *)out.data) != 0)
            fail_msg("%s becomes\n%s", names[i], (char *)out.data);
        struct buffer again = complete(names[i], wanted);
        assert_string_equal((char *)again.data, wanted);
        buffer_fini(&again);
        buffer_fini(&out);
        free(wanted);
        free(in);
    }
}

/* virt-manager's wizard asks for a display, which pulls in eight devices: the first thing said is about the display. */
static void test_the_wizard_is_told_of_the_display(void **state)
{
    char *in = read_document("virt-manager-wizard", "refused");
    struct definition *definition = NULL;
    struct err err = ERR_INIT;
    assert_true(definition_parse(in, &host, &definition, &err) < 0);
    assert_non_null(strstr(err.message, "<graphics> in line 56: the machine has no display"));
    assert_null(definition);
    free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_documents), cmocka_unit_test(test_the_wizard_is_told_of_the_display)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
