/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loaders: what lies where after a good load, and that every kind of bad file is refused in a sentence. */
#include "check.h"

#include <errno.h>

#include "base/err.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "boot/loader.h"
#include "bus/platform.h"
#include "images.h"
#include "memory/memory.h"
#include "x86/state.h"

struct world {
    struct memory *memory;
    struct boot_image image;
    struct x86_state bsp;
    struct err err;
    int kernel_fd, initrd_fd;
    uint8_t bytes[IMAGE_MAX];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    w->kernel_fd = w->initrd_fd = -1;
    assert_int_equal(memory_new(&w->memory, NULL), 0);
    assert_int_equal(memory_add(w->memory, 0, MIB(64), false, NULL), 0);
    e820_build(w->memory, &w->image.map);
    w->image.initrd = BOOT_FILE_NONE;
    w->image.cmdline = "console=ttyS0";
    w->image.rsdp = ACPI_AREA;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    close(w->kernel_fd);
    close(w->initrd_fd);
    memory_free(w->memory);
    free(w);
    return 0;
}

static int load(struct world *w, size_t size)
{
    w->image.kernel = image_file(&w->kernel_fd, "kernel", w->bytes, size);
    w->err = ERR_INIT;
    x86_state_reset(&w->bsp, true);
    return boot_load_image(&w->image, w->memory, &w->bsp, &w->err);
}

static void add_initrd(struct world *w, size_t size)
{
    uint8_t *bytes = malloc(size);

    memset(bytes, 0x5a, size);
    w->image.initrd = image_file(&w->initrd_fd, "initrd", bytes, size);
    free(bytes);
}

static void assert_refused(struct world *w, size_t size, int code, const char *part)
{
    assert_int_equal(load(w, size), code);
    if (strstr(w->err.message, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", w->err.message, part);
}

static void *guest(struct world *w, uint64_t address)
{
    void *p = memory_pointer(w->memory, address, 1);

    assert_non_null(p);
    return p;
}

static void bzimage_enters_64_bit_code(void **state)
{
    struct world *w = *state;
    struct boot_params *params;

    add_initrd(w, 5000);
    assert_int_equal(load(w, image_bzimage(w->bytes)), 0);
    params = guest(w, w->bsp.gpr[X86_RSI]);
    assert_int_equal(w->bsp.rip, 0x1000200);
    assert_int_equal(w->bsp.segment[X86_CS].l, 1);
    assert_true(w->bsp.msr.efer & X86_EFER_LMA);
    assert_int_equal(*(uint8_t *)guest(w, 0x1000000), 0x90);
    assert_int_equal(params->hdr.type_of_loader, 0xff);
    assert_int_equal(params->acpi_rsdp_addr, ACPI_AREA);
    assert_int_equal(params->hdr.ramdisk_size, 5000);
    assert_int_equal(params->hdr.ramdisk_image, MIB(64) - 8192);
    assert_int_equal(*(uint8_t *)guest(w, params->hdr.ramdisk_image), 0x5a);
    assert_string_equal(guest(w, params->hdr.cmd_line_ptr), "console=ttyS0");
    assert_int_equal(params->e820_entries, w->image.map.count);
    assert_int_equal(params->sentinel, 0);
    assert_int_equal(x86_state_check(&w->bsp, NULL), 0);
}

/* Walks the loader's tables for an address. */
static uint64_t walk(struct world *w, uint64_t address)
{
    uint64_t table = w->bsp.cr3, entry;

    for (int shift = 39; shift >= 21; shift -= 9) {
        entry = ((uint64_t *)guest(w, table))[address >> shift & 511];
        assert_true(entry & 1);
        table = entry & ~UINT64_C(0xfff);
    }
    assert_true(entry & 0x80);
    return table + (address & (MIB(2) - 1));
}

static void page_tables_map_4_gib_to_themselves(void **state)
{
    struct world *w = *state;

    assert_int_equal(load(w, image_bzimage(w->bytes)), 0);
    for (uint64_t address = 0; address < GIB(4); address += MIB(62) + 5)
        assert_int_equal(walk(w, address), address);
}

static void bzimage_without_64_bit_code_enters_32(void **state)
{
    struct world *w = *state;
    size_t size = image_bzimage(w->bytes);

    store_le16(w->bytes + 0x236, 0);
    assert_int_equal(load(w, size), 0);
    assert_int_equal(w->bsp.rip, 0x1000000);
    assert_int_equal(w->bsp.cr0 & X86_CR0_PG, 0);
    assert_int_equal(w->bsp.gpr[X86_RSI], BOOT_INFO);
    assert_int_equal(w->bsp.segment[X86_CS].db, 1);
    assert_int_equal(w->bsp.segment[X86_CS].selector, 0x10);
    assert_int_equal(w->bsp.segment[X86_DS].selector, 0x18);
}

static void bzimage_moves_low_when_ram_is_short(void **state)
{
    struct world *w = *state;
    size_t size = image_bzimage(w->bytes);

    store_le32(w->bytes + 0x260, MIB(60)); /* init_size */
    assert_int_equal(load(w, size), 0);
    assert_int_equal(w->bsp.rip, MIB(2) + 0x200);
    store_le32(w->bytes + 0x260, MIB(63));
    assert_refused(w, size, -ENOMEM, "more memory");
}

static void bzimage_refuses_bad_headers(void **state)
{
    struct world *w = *state;
    size_t size = image_bzimage(w->bytes);

    assert_refused(w, size - 100, -ENOEXEC, "cut short");
    store_le16(w->bytes + 0x206, 0x204);
    assert_refused(w, size, -ENOEXEC, "too old");
    image_bzimage(w->bytes);
    w->bytes[0x211] = 0;
    assert_refused(w, size, -ENOEXEC, "zImage");
    image_bzimage(w->bytes);
    store_le32(w->bytes + 0x230, 3);
    assert_refused(w, size, -ENOEXEC, "alignment");
    image_bzimage(w->bytes);
    store_le32(w->bytes + 0x1f4, 0);
    assert_refused(w, size, -ENOEXEC, "only 0 bytes");
    image_bzimage(w->bytes);
    w->bytes[0x234] = 0;
    store_le64(w->bytes + 0x258, UINT64_C(0xffffffff00000000));
    assert_refused(w, size, -ENOEXEC, "wants to lie");
}

static void command_line_is_limited(void **state)
{
    struct world *w = *state;
    char text[3000] = {0};

    memset(text, 'x', 2047);
    w->image.cmdline = text;
    assert_int_equal(load(w, image_bzimage(w->bytes)), 0);
    text[2047] = 'x';
    assert_refused(w, image_bzimage(w->bytes), -E2BIG, "2048 characters");
}

static void initrd_must_fit(void **state)
{
    struct world *w = *state;
    size_t size = image_bzimage(w->bytes);

    add_initrd(w, MIB(50));
    assert_refused(w, size, -ENOMEM, "does not fit");
    add_initrd(w, 4096);
    store_le32(w->bytes + 0x22c, MIB(32) - 1); /* initrd_addr_max */
    assert_int_equal(load(w, size), 0);
    assert_int_equal(((struct boot_params *)guest(w, BOOT_INFO))->hdr.ramdisk_image, MIB(32) - 4096);
}

static void pvh_gets_its_start_info(void **state)
{
    struct world *w = *state;
    uint32_t *info;

    add_initrd(w, 100);
    memset(guest(w, IMAGE_ADDRESS + 0x1000), 0xff, 16); /* as after a reboot */
    assert_int_equal(load(w, image_pvh(w->bytes)), 0);
    info = guest(w, w->bsp.gpr[X86_RBX]);
    assert_int_equal(w->bsp.rip, IMAGE_ENTRY);
    assert_int_equal(w->bsp.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
    assert_int_equal(info[0], 0x336ec578);
    assert_int_equal(info[1], 1);
    assert_int_equal(info[3], 1);
    assert_int_equal(load_le64(guest(w, load_le64(&info[4]) + 8)), 100);
    assert_string_equal(guest(w, load_le64(&info[6])), "console=ttyS0");
    assert_int_equal(load_le64(&info[8]), ACPI_AREA);
    assert_int_equal(info[12], w->image.map.count);
    assert_int_equal(*(uint8_t *)guest(w, IMAGE_ADDRESS + 0x1000), 0);
    assert_int_equal(x86_state_check(&w->bsp, NULL), 0);
}

static void pvh_refuses_bad_files(void **state)
{
    struct world *w = *state;
    size_t size = image_pvh(w->bytes), load_header = sizeof(Elf64_Ehdr), note = load_header + 2 * sizeof(Elf64_Phdr);

    store_le32(w->bytes + note + 8, 17);
    assert_refused(w, size, -ENOEXEC, "neither a PVH entry note");
    image_pvh(w->bytes);
    store_le32(w->bytes + note + 16, 0x100);
    assert_refused(w, size, -ENOEXEC, "lies in no segment");
    image_pvh(w->bytes);
    store_le64(w->bytes + load_header + 24, GIB(1)); /* p_paddr */
    store_le32(w->bytes + note + 16, GIB(1));
    assert_refused(w, size, -ENOMEM, "needs RAM");
    image_pvh(w->bytes);
    store_le64(w->bytes + load_header + 24, BOOT_AREA);
    store_le32(w->bytes + note + 16, BOOT_AREA);
    assert_refused(w, size, -ENOEXEC, "loader's own area");
    image_pvh(w->bytes);
    store_le64(w->bytes + load_header + 8, UINT64_MAX);
    assert_refused(w, size, -ENOEXEC, "past the end");
    image_pvh(w->bytes);
    store_le64(w->bytes + load_header + 40, 1);
    assert_refused(w, size, -ENOEXEC, "larger in the file");
    image_pvh(w->bytes);
    store_le16(w->bytes + offsetof(Elf64_Ehdr, e_phnum), 1000);
    assert_refused(w, size, -ENOEXEC, "too many");
    assert_refused(w, 40, -ENOEXEC, "cut short");
}

static void multiboot_gets_its_information(void **state)
{
    struct world *w = *state;
    uint32_t *info, *module;

    w->image.cmdline = "a b";
    add_initrd(w, 33);
    assert_int_equal(load(w, image_multiboot_elf(w->bytes)), 0);
    info = guest(w, w->bsp.gpr[X86_RBX]);
    module = guest(w, info[6]);
    assert_int_equal(w->bsp.gpr[X86_RAX], 0x2badb002);
    assert_int_equal(w->bsp.rip, IMAGE_ENTRY);
    assert_int_equal(info[0] & 0x4d, 0x4d);
    assert_int_equal(info[2], 63 * 1024);
    assert_string_equal(guest(w, info[4]), "image a b");
    assert_int_equal(info[5], 1);
    assert_int_equal(module[1] - module[0], 33);
    assert_int_equal(info[11], w->image.map.count * 24);
    assert_int_equal(*(uint32_t *)guest(w, info[12]), 20);
}

static void multiboot_addresses_in_the_header_count(void **state)
{
    struct world *w = *state;
    size_t size = image_multiboot_flat(w->bytes);

    memset(guest(w, IMAGE_ADDRESS + 0x1000), 0xff, 16);
    assert_int_equal(load(w, size), 0);
    assert_int_equal(w->bsp.rip, IMAGE_ENTRY);
    assert_memory_equal(guest(w, IMAGE_ADDRESS), w->bytes, size);
    assert_int_equal(*(uint8_t *)guest(w, IMAGE_ADDRESS + 0x1000), 0);
}

static void multiboot_refuses_bad_headers(void **state)
{
    struct world *w = *state;
    size_t size = image_multiboot_flat(w->bytes);

    store_le32(w->bytes + 44, 0x100);
    assert_refused(w, size, -ENOEXEC, "entry lies outside");
    image_multiboot_flat(w->bytes);
    store_le32(w->bytes + 28, IMAGE_ADDRESS + 17);
    assert_refused(w, size, -ENOEXEC, "before the image");
    image_multiboot_flat(w->bytes);
    store_le32(w->bytes + 36, IMAGE_ADDRESS - 1);
    assert_refused(w, size, -ENOEXEC, "ends before it begins");
    image_multiboot_flat(w->bytes);
    store_le32(w->bytes + 40, IMAGE_ADDRESS + 1);
    assert_refused(w, size, -ENOEXEC, "bss");
    image_multiboot_flat(w->bytes);
    store_le32(w->bytes + 36, IMAGE_ADDRESS + 0x2000);
    assert_refused(w, size, -ENOEXEC, "cut short");
    image_multiboot_flat(w->bytes);
    image_multiboot_header(w->bytes + 16, 0);
    assert_refused(w, size, -ENOEXEC, "no ELF file");
    image_multiboot_header(w->bytes + 16, 0x8);
    assert_refused(w, size, -ENOEXEC, "features 0x8");
}

static void other_files_are_no_kernel(void **state)
{
    struct world *w = *state;

    memset(w->bytes, 'a', sizeof(w->bytes));
    assert_refused(w, sizeof(w->bytes), -ENOEXEC, "is no kernel");
    assert_refused(w, 1, -ENOEXEC, "is no kernel");
}

static void boot_load_names_the_missing_file(void **state)
{
    struct world *w = *state;
    struct boot_config config = {.kernel = "/nonexistent/vmlinuz", .cpus = 1};
    struct x86_state before;

    memset(&before, 7, sizeof(before));
    w->bsp = before;
    assert_int_equal(boot_load(&config, w->memory, &w->bsp, &w->err), -ENOENT);
    assert_string_equal(w->err.message, "cannot open the kernel /nonexistent/vmlinuz: No such file or directory");
    config.kernel = "/";
    assert_int_equal(boot_load(&config, w->memory, &w->bsp, &w->err), -EINVAL);
    config.cpus = 0;
    assert_int_equal(boot_load(&config, w->memory, &w->bsp, &w->err), -EINVAL);
    assert_memory_equal(&w->bsp, &before, sizeof(before));
}

static void boot_load_does_it_all(void **state)
{
    struct world *w = *state;
    char path[64];
    struct boot_config config = {.kernel = path, .cmdline = "quiet", .cpus = 2};

    w->image.kernel = image_file(&w->kernel_fd, "kernel", w->bytes, image_bzimage(w->bytes));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->kernel_fd);
    assert_int_equal(boot_load(&config, w->memory, &w->bsp, &w->err), 0);
    assert_int_equal(w->bsp.rip, 0x1000200);
    assert_memory_equal(guest(w, ACPI_AREA), "RSD PTR ", 8);
}

static void map_covers_ram_on_both_sides_of_the_hole(void **state)
{
    struct memory_region regions[] = {{.address = PLATFORM_RAM_HIGH, .size = GIB(1)},
                                      {.address = 0, .size = PLATFORM_RAM_LOW_END}};
    struct memory memory = {.region_count = 2};
    struct e820_map map;

    memcpy(memory.region, regions, sizeof(regions));
    e820_build(&memory, &map);
    for (unsigned i = 1; i < map.count; i++)
        assert_true(map.range[i - 1].address + map.range[i - 1].size <= map.range[i].address);
    assert_int_equal(map.range[0].size, 0x9fc00);
    assert_int_equal(map.range[map.count - 1].address, GIB(4));
    assert_int_equal(e820_low_end(&map), PLATFORM_RAM_LOW_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bzimage_enters_64_bit_code, setup, teardown),
        cmocka_unit_test_setup_teardown(page_tables_map_4_gib_to_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(bzimage_without_64_bit_code_enters_32, setup, teardown),
        cmocka_unit_test_setup_teardown(bzimage_moves_low_when_ram_is_short, setup, teardown),
        cmocka_unit_test_setup_teardown(bzimage_refuses_bad_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(command_line_is_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(initrd_must_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(pvh_gets_its_start_info, setup, teardown),
        cmocka_unit_test_setup_teardown(pvh_refuses_bad_files, setup, teardown),
        cmocka_unit_test_setup_teardown(multiboot_gets_its_information, setup, teardown),
        cmocka_unit_test_setup_teardown(multiboot_addresses_in_the_header_count, setup, teardown),
        cmocka_unit_test_setup_teardown(multiboot_refuses_bad_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_no_kernel, setup, teardown),
        cmocka_unit_test_setup_teardown(boot_load_names_the_missing_file, setup, teardown),
        cmocka_unit_test_setup_teardown(boot_load_does_it_all, setup, teardown),
        cmocka_unit_test(map_covers_ram_on_both_sides_of_the_hole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
