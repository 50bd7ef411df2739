/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Holds the layout of saved state against what was written down: a tag that changed its width, its count or its place is a
 * stream that can't be read any more (docs/formats/state.md, "How contents change").
 *
 * After a change that is meant, run with REGENERATE=1 and look at the difference before committing it. */
#include "check.h"

#include "base/buffer.h"
#include "base/fd.h"
#include "bus/dev.h"
#include "devices/pc/acpi_pm.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/i8042.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/lapic.h"
#include "devices/pc/pci_host.h"
#include "devices/pc/pci_hotplug.h"
#include "devices/pc/pic.h"
#include "devices/pc/pit.h"
#include "devices/pc/rtc.h"
#include "devices/pc/testdev.h"
#include "devices/pc/uart.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "vmm/machine_state.h"
#include "x86/state.h"

#define LAYOUT_MAX (1 << 20) /* bytes of text */

static const struct dev_type *const types[] = {
    &acpi_pm_type,       &fw_cfg_type,     &i8042_type,          &ioapic_type,     &lapic_type, &pci_host_type,
    &pic_type,           &pit_type,        &rtc_type,            &testdev_type,    &uart_type,  &virtio_balloon_type,
    &virtio_blk_type,    &virtio_net_type, &virtio_console_type, &virtio_rng_type, &pci_hotplug_type,
};

static void print_fields(struct buffer *out, const struct field *fields, unsigned depth)
{
    for (const struct field *f = fields; f->tag != 0; f++) {
        const char *kind = f->table != NULL ? "structure" : f->boolean ? "boolean" : "integer";
        unsigned width = f->table != NULL ? 0 : f->width;
        assert_int_equal(buffer_printf(out, "%*s%u %s width=%u count=%u %s\n", (int)depth * 4, "", f->tag, kind, width,
                                       f->count, f->name),
                         0);
        if (f->table != NULL)
            print_fields(out, f->table, depth + 1);
    }
}

static void assert_table_is_sound(const struct field *fields, size_t size)
{
    unsigned count = 0;
    for (const struct field *f = fields; f->tag != 0; f++) {
        assert_true(f->offset + (size_t)f->width * f->count <= size);
        for (const struct field *g = fields; g != f; g++)
            assert_int_not_equal(g->tag, f->tag);
        if (f->table != NULL)
            assert_table_is_sound(f->table, f->width);
        count++;
    }
    assert_true(count <= FIELD_TABLE_MAX);
}

static void print_layout(struct buffer *out)
{
    assert_int_equal(buffer_printf(out, "cpu version=1\n"), 0);
    print_fields(out, x86_state_fields, 1);
    assert_int_equal(buffer_printf(out, "machine version=%u\n", MACHINE_STATE_VERSION), 0);
    print_fields(out, machine_state_fields, 1);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        assert_int_equal(buffer_printf(out, "%s version=%u\n", types[i]->name, types[i]->version), 0);
        if (types[i]->fields != NULL)
            print_fields(out, types[i]->fields, 1);
    }
}

static void write_golden(const struct buffer *layout)
{
    FILE *file = fopen(GOLDEN_FILE, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(layout->data, 1, layout->size, file), layout->size);
    assert_int_equal(fclose(file), 0);
}

static void test_layout(void **state)
{
    struct buffer layout = BUFFER_INIT(LAYOUT_MAX);
    void *golden = NULL;
    size_t size = 0;
    print_layout(&layout);
    if (getenv("REGENERATE") != NULL)
        write_golden(&layout);
    assert_int_equal(fd_read_file(GOLDEN_FILE, LAYOUT_MAX, &golden, &size), 0);
    assert_string_equal((char *)layout.data, golden);
    free(golden);
    buffer_fini(&layout);
}

static void test_tables_are_sound(void **state)
{
    assert_table_is_sound(x86_state_fields, sizeof(struct x86_state));
    assert_table_is_sound(machine_state_fields, sizeof(struct machine_state));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        assert_true(types[i]->state_offset + types[i]->state_size <= types[i]->size);
        if (types[i]->fields != NULL)
            assert_table_is_sound(types[i]->fields, types[i]->state_size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_tables_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
