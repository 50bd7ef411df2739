/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools in a temporary directory: documents, states, volumes, what is found again; and images by qemu-img's word. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "storage/pool.h"

struct fixture {
    char place[64], config[96], run[96], images[96];
    struct pools_options options;
    struct pools *pools;
    unsigned events[8], warnings;
};

static void on_event(void *ctx, const struct pool *pool, enum pool_event event)
{
    ((struct fixture *)ctx)->events[event]++;
}

static void on_warning(void *ctx, const char *sentence)
{
    ((struct fixture *)ctx)->warnings++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->place, sizeof(f->place), "/tmp/ferry-pool-XXXXXX");
    assert_non_null(mkdtemp(f->place));
    snprintf(f->config, sizeof(f->config), "%s/config", f->place);
    snprintf(f->run, sizeof(f->run), "%s/run", f->place);
    snprintf(f->images, sizeof(f->images), "%s/images", f->place);
    f->options = (struct pools_options){
        .config_directory = f->config, .run_directory = f->run, .event = on_event, .warn = on_warning, .ctx = f};
    assert_int_equal(pools_open(&f->options, &f->pools, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    pools_close(f->pools);
    snprintf(command, sizeof(command), "rm -rf %s", f->place);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static struct pool *define(struct fixture *f)
{
    char xml[256];
    struct pool *pool = NULL;
    struct err err = ERR_INIT;

    snprintf(xml, sizeof(xml), "<pool type='dir'><name>p</name><target><path>%s//</path></target></pool>", f->images);
    if (pool_define(f->pools, xml, &pool, &err) < 0)
        fail_msg("%s", err.message);
    return pool;
}

static void test_states(void **state)
{
    struct fixture *f = *state;
    struct pool *pool = define(f);
    struct err err = ERR_INIT;

    assert_string_equal(pool_definition(pool)->target, f->images);
    assert_int_equal(pool_start(pool, false, &err), -ENOENT);
    assert_int_equal(pool_start(pool, true, NULL), 0);
    assert_true(pool_is_active(pool));
    assert_int_equal(pool_start(pool, true, NULL), -EISCONN);
    assert_int_equal(pool_undefine(pool, NULL), -EISCONN);
    assert_true(pool_numbers(pool).capacity > 0);
    assert_int_equal(pool_destroy(pool, NULL), 0);
    assert_int_equal(pool_destroy(pool, NULL), -ENOTCONN);
    assert_int_equal(pool_undefine(pool, NULL), 0);
    assert_int_equal(pools_count(f->pools), 0);
    assert_int_equal(f->events[POOL_DEFINED], 1);
    assert_int_equal(f->events[POOL_STARTED], 1);
    assert_int_equal(f->events[POOL_STOPPED], 1);
    assert_int_equal(f->events[POOL_UNDEFINED], 1);
}

/* An active pool that is redefined takes the new definition when it starts anew. */
static void test_redefinition(void **state)
{
    struct fixture *f = *state;
    struct pool *pool = define(f), *again;
    char uuid[UUID_TEXT_SIZE], xml[400];

    assert_int_equal(pool_start(pool, true, NULL), 0);
    uuid_format(pool_definition(pool)->uuid, uuid);
    snprintf(xml, sizeof(xml),
             "<pool type='dir'><name>p</name><uuid>%s</uuid><target><path>%s/other</path></target></pool>", uuid,
             f->place);
    assert_int_equal(pool_define(f->pools, xml, &again, NULL), 0);
    assert_ptr_equal(pool, again);
    assert_string_equal(pool_definition(pool)->target, f->images);
    pools_close(f->pools);
    assert_int_equal(pools_open(&f->options, &f->pools, NULL), 0);
    pool = pools_find(f->pools, "p");
    assert_true(pool_is_active(pool));
    assert_string_equal(pool_definition(pool)->target, f->images);
    assert_int_equal(pool_destroy(pool, NULL), 0);
    assert_non_null(strstr(pool_definition(pool)->target, "/other"));
}

static void test_damaged_files_are_warned_of(void **state)
{
    struct fixture *f = *state;
    char path[128];
    FILE *file;

    define(f);
    snprintf(path, sizeof(path), "%s/broken.xml", f->config);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("<pool", file);
    fclose(file);
    pools_close(f->pools);
    assert_int_equal(pools_open(&f->options, &f->pools, NULL), 0);
    assert_int_equal(f->warnings, 1);
    assert_int_equal(pools_count(f->pools), 1);
    assert_int_equal(access(path, F_OK), 0);
}

static const struct volume *make(struct pool *pool, const char *name, const char *format, const char *more)
{
    const struct volume *volume = NULL;
    struct err err = ERR_INIT;
    char xml[512];

    snprintf(
        xml, sizeof(xml),
        "<volume><name>%s</name><capacity unit='MiB'>300</capacity><target><format type='%s'/></target>%s</volume>",
        name, format, more);
    if (volume_create(pool, xml, &volume, &err) < 0)
        fail_msg("%s", err.message);
    return volume;
}

static void test_volumes_in_order(void **state)
{
    struct fixture *f = *state;
    struct pool *pool = define(f), *found;

    assert_int_equal(pool_start(pool, true, NULL), 0);
    make(pool, "b", "raw", "");
    make(pool, "c", "raw", "");
    make(pool, "a", "raw", "");
    assert_int_equal(pool_volume_count(pool), 3);
    assert_string_equal(pool_volume_get(pool, 0)->file.name, "a");
    assert_string_equal(pool_volume_get(pool, 2)->file.name, "c");
    assert_int_equal(volume_delete(pool, "b", NULL), 0);
    assert_int_equal(volume_delete(pool, "b", NULL), -ENOENT);
    assert_int_equal(pool_volume_count(pool), 2);
    assert_string_equal(pool_volume_get(pool, 1)->file.name, "c");
    assert_non_null(pools_find_volume(f->pools, pool_volume_get(pool, 1)->path, &found));
    assert_ptr_equal(found, pool);
    assert_null(pools_find_volume(f->pools, "/nowhere/c", &found));
    char url[100];
    assert_int_equal(pools_resolve(f->pools, pool_volume_get(pool, 1)->path, url, sizeof(url)), -ENOENT);
    assert_int_equal(pools_resolve(f->pools, "c", url, sizeof(url)), -ENOENT);
}

static int run(const char *format, const char *path)
{
    char command[300];

    snprintf(command, sizeof(command), format, path);
    return system(command);
}

static void test_qcow2_by_qemu(void **state)
{
    struct fixture *f = *state;
    struct pool *pool = define(f);
    const struct volume *volume;
    char backing[300];

    assert_int_equal(pool_start(pool, true, NULL), 0);
    volume = make(pool, "q", "qcow2", "");
    assert_int_equal(volume->format, VOLUME_QCOW2);
    assert_int_equal(volume->capacity, MIB(300));
    assert_true(volume->file.size < MIB(1));
    snprintf(backing, sizeof(backing), "<backingStore><path>%s/q</path><format type='qcow2'/></backingStore>",
             f->images);
    volume = make(pool, "over", "qcow2", backing);
    assert_non_null(volume->backing);
    if (system("command -v qemu-img >/dev/null") != 0)
        SKIP("qemu-img is not installed");
    assert_int_equal(run("qemu-img check -q %s/q", f->images), 0);
    assert_int_equal(run("qemu-img check -q %s/over", f->images), 0);
    assert_int_equal(run("qemu-img info %s/over | grep -q 'backing file format: qcow2'", f->images), 0);
    assert_int_equal(run("qemu-img info %s/q | grep -q 'virtual size: 300 MiB'", f->images), 0);
}

static void test_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: refused */
    } cases[] = {
        {"<capacity>7</capacity>", 7},
        {"<capacity unit='B'> 7 </capacity>", 7},
        {"<capacity unit='KB'>7</capacity>", 7000},
        {"<capacity unit='K'>7</capacity>", 7168},
        {"<capacity unit='KiB'>7</capacity>", 7168},
        {"<capacity unit='GiB'>2</capacity>", UINT64_C(2) << 30},
        {"<capacity unit='E'>7</capacity>", UINT64_C(7) << 60},
        {"<capacity unit='E'>8</capacity>", 0},
        {"<capacity unit='E'>16</capacity>", 0},
        {"<capacity unit='KIB'>7</capacity>", 0},
        {"<capacity unit=''>7</capacity>", 0},
        {"<capacity>-7</capacity>", 0},
        {"<capacity>7x</capacity>", 0},
        {"<capacity/>", 0},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct volume_definition definition;
        char xml[200];
        int r;

        snprintf(xml, sizeof(xml), "<volume><name>v</name>%s</volume>", cases[i].text);
        r = volume_definition_parse(xml, &definition, NULL);
        if ((r < 0) != (cases[i].bytes == 0) || (r == 0 && definition.capacity != cases[i].bytes))
            fail_msg("%s: %d", cases[i].text, r);
        if (r == 0)
            volume_definition_fini(&definition);
    }
}

static void test_document_round_trip(void **state)
{
    static const char xml[] =
        "<pool type='netfs'><name>a &amp; b</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
        "<source><host name='storage'/><dir path='/storage/'/><format type='nfs'/></source>"
        "<target><path>/storage</path><permissions><mode>0750</mode><owner>7</owner><group>-1</group></permissions>"
        "</target></pool>";
    struct pool_definition *first, *second;
    struct buffer out = BUFFER_INIT(1 << 16), again = BUFFER_INIT(1 << 16);
    char url[100];

    assert_int_equal(pool_definition_parse(xml, &first, NULL), 0);
    assert_int_equal(pool_definition_format(first, NULL, &out), 0);
    assert_int_equal(pool_definition_parse((const char *)out.data, &second, NULL), 0);
    assert_int_equal(pool_definition_format(second, NULL, &again), 0);
    assert_string_equal((const char *)out.data, (const char *)again.data);
    assert_string_equal(second->name, "a & b");
    assert_int_equal(second->permissions.mode, 0750);
    assert_false(second->permissions.has_group);
    assert_int_equal(pool_url(second, url, sizeof(url)), 0);
    assert_string_equal(url, "nfs://storage/storage");
    pool_definition_free(first);
    pool_definition_free(second);
    buffer_fini(&out);
    buffer_fini(&again);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_states),
        TEST(test_redefinition),
        TEST(test_damaged_files_are_warned_of),
        TEST(test_volumes_in_order),
        TEST(test_qcow2_by_qemu),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_document_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
