/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI: checksums and links of the tables as a guest follows them, AML by known encodings, and the whole through iasl.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot/boot.h"
#include "memory/memory.h"

static struct memory *make(unsigned cpus, bool hpet)
{
    struct acpi_config config = {.cpus = cpus, .hpet = hpet};
    struct memory *memory;
    uint64_t rsdp = 0;

    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(memory_add(memory, 0, MIB(2), false, NULL), 0);
    assert_int_equal(acpi_write(&config, memory, &rsdp, NULL), 0);
    assert_int_equal(rsdp, ACPI_AREA);
    return memory;
}

static uint8_t *at(struct memory *memory, uint64_t address)
{
    uint8_t *p = memory_pointer(memory, address, 36);

    assert_non_null(p);
    return p;
}

static unsigned sum(const uint8_t *p, size_t size)
{
    unsigned total = 0;

    while (size-- > 0)
        total += *p++;
    return total & 0xff;
}

/* The table with that signature from the XSDT, or NULL. */
static uint8_t *find(struct memory *memory, const char *signature)
{
    uint8_t *xsdt = at(memory, load_le64(at(memory, ACPI_AREA) + 24));

    assert_memory_equal(xsdt, "XSDT", 4);
    for (unsigned i = 36; i < load_le32(xsdt + 4); i += 8) {
        uint8_t *table = at(memory, load_le64(xsdt + i));

        assert_int_equal(sum(table, load_le32(table + 4)), 0);
        if (memcmp(table, signature, 4) == 0)
            return table;
    }
    return NULL;
}

static void tables_are_linked_and_sum_to_zero(void **state)
{
    struct memory *memory = make(2, false);
    uint8_t *rsdp = at(memory, ACPI_AREA), *rsdt, *xsdt, *dsdt, *fadt;

    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    rsdt = at(memory, load_le32(rsdp + 16));
    xsdt = at(memory, load_le64(rsdp + 24));
    assert_int_equal(sum(rsdt, load_le32(rsdt + 4)), 0);
    assert_int_equal(sum(xsdt, load_le32(xsdt + 4)), 0);
    assert_int_equal((load_le32(rsdt + 4) - 36) * 2, load_le32(xsdt + 4) - 36);
    fadt = find(memory, "FACP");
    assert_non_null(fadt);
    assert_int_equal(load_le32(fadt + 76), 0x608);
    assert_memory_equal(at(memory, load_le32(fadt + 36)), "FACS", 4);
    assert_int_equal(load_le32(fadt + 36) % 64, 0);
    dsdt = at(memory, load_le64(fadt + 140));
    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(sum(dsdt, load_le32(dsdt + 4)), 0);
    assert_non_null(find(memory, "MCFG"));
    assert_null(find(memory, "HPET"));
    memory_free(memory);
}

static void madt_counts_every_cpu(void **state)
{
    struct memory *memory = make(300, true);
    uint8_t *madt = find(memory, "APIC");
    unsigned count[16] = {0};

    assert_non_null(madt);
    for (uint32_t i = 44; i < load_le32(madt + 4); i += madt[i + 1]) {
        assert_true(madt[i] < 16 && madt[i + 1] >= 2);
        count[madt[i]]++;
    }
    assert_int_equal(count[0], 255);
    assert_int_equal(count[9], 45);
    assert_int_equal(count[1], 1);
    assert_int_equal(count[2], 2);
    assert_non_null(find(memory, "HPET"));
    memory_free(memory);
}

static void most_cpus_fit(void **state)
{
    memory_free(make(BOOT_CPUS_MAX, true));
}

static void no_ram_is_said(void **state)
{
    struct acpi_config config = {.cpus = 1};
    struct memory *memory;
    struct err err = ERR_INIT;
    uint64_t rsdp = 1;

    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(acpi_write(&config, memory, &rsdp, &err), -ENOMEM);
    assert_int_equal(rsdp, 1);
    memory_free(memory);
}

static void aml_encodes_as_the_specification(void **state)
{
    uint8_t bytes[256];
    struct aml aml = {.data = bytes, .capacity = sizeof(bytes)};

    aml_eisa_id(&aml, "PNP0A08");
    assert_memory_equal(bytes, "\x0c\x41\xd0\x0a\x08", 5);
    aml.size = 0;
    aml_scope(&aml, "\\_SB");
    aml_name(&aml, "A.B"), aml_integer(&aml, 0x1234);
    aml_end(&aml);
    assert_int_equal(aml.size, 1 + 1 + 5 + 1 + 9 + 3);
    assert_memory_equal(bytes,
                        "\x10\x13\\_SB_\x08\x2e"
                        "A___B___\x0b\x34\x12",
                        aml.size);
    aml.size = 0;
    aml_template(&aml);
    aml_io(&aml, 0x70, 2);
    aml_end(&aml);
    assert_memory_equal(bytes, "\x11\x0d\x0a\x0a\x47\x01\x70\x00\x70\x00\x01\x02\x79\x00", 14);
    assert_false(aml.failed);
}

static void aml_encodes_methods(void **state)
{
    uint8_t bytes[256];
    struct aml aml = {.data = bytes, .capacity = sizeof(bytes)};

    aml_region_io(&aml, "HP", 0x640, 16);
    assert_memory_equal(bytes, "\x5b\x80HP__\x01\x0b\x40\x06\x0a\x10", aml.size);
    aml.size = 0;
    aml_field_dwords(&aml, "HP");
    aml_field_unit(&aml, "UP");
    aml_end(&aml);
    assert_memory_equal(bytes, "\x5b\x81\x0bHP__\x43UP__\x20", aml.size);
    aml.size = 0;
    aml_if_local_and(&aml, 1, 0x80);
    aml_notify(&aml, "S1", 3);
    aml_end(&aml);
    assert_memory_equal(bytes, "\xa0\x0d\x7b\x61\x0a\x80\x00\x86S1__\x0a\x03", aml.size);
    aml.size = 0;
    aml_store(&aml), aml_path(&aml, "UP"), aml_local(&aml, 0);
    assert_memory_equal(bytes, "\x70UP__\x60", aml.size);
}

static void aml_encodes_long_blocks(void **state)
{
    static uint8_t bytes[8192];
    struct aml aml = {.data = bytes, .capacity = sizeof(bytes)};

    aml_scope(&aml, "\\");
    for (unsigned i = 0; i < 59; i++)
        aml_integer(&aml, 0);
    aml_end(&aml); /* 1 + 5 + 59 would pass 63 */
    assert_int_equal(bytes[1] >> 6, 1);
    assert_int_equal((bytes[1] & 0xf) | bytes[2] << 4, aml.size - 1);
}

static void aml_stops_at_its_capacity(void **state)
{
    uint8_t bytes[8] = {0};
    struct aml aml = {.data = bytes, .capacity = 6};

    aml_scope(&aml, "\\_SB");
    aml_end(&aml);
    assert_true(aml.failed);
    assert_true(aml.size <= 6);
    assert_int_equal(bytes[6], 0);
}

/* Whether iasl, run in a new directory on this table, says it is happy. */
static void disassemble(const uint8_t *table, const char *name)
{
    char directory[] = "/tmp/ferry-acpi-XXXXXX", command[256];
    char path[64];
    int fd, status;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/%s.dat", directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, table, load_le32(table + 4)), 0);
    close(fd);
    /* What it disassembles to must also compile. */
    snprintf(command, sizeof(command), "cd %s && iasl -d %s.dat >log 2>&1 && iasl -we %s.dsl >>log 2>&1", directory,
             name, name);
    status = system(command);
    if (status != 0) {
        snprintf(command, sizeof(command), "cat %s/log", directory);
        assert_int_equal(system(command), 0);
    }
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(status, 0);
}

static void iasl_understands_every_table(void **state)
{
    static const char *const listed[] = {"FACP", "APIC", "MCFG", "HPET"};
    struct memory *memory = make(4, true);

    if (system("command -v iasl >/dev/null") != 0) {
        memory_free(memory);
        SKIP("iasl (package acpica-tools) is not installed");
    }
    disassemble(at(memory, load_le64(find(memory, "FACP") + 140)), "dsdt");
    for (unsigned i = 0; i < ARRAY_SIZE(listed); i++)
        disassemble(find(memory, listed[i]), listed[i]);
    memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_linked_and_sum_to_zero),
        cmocka_unit_test(madt_counts_every_cpu),
        cmocka_unit_test(most_cpus_fit),
        cmocka_unit_test(no_ram_is_said),
        cmocka_unit_test(aml_encodes_as_the_specification),
        cmocka_unit_test(aml_encodes_methods),
        cmocka_unit_test(aml_encodes_long_blocks),
        cmocka_unit_test(aml_stops_at_its_capacity),
        cmocka_unit_test(iasl_understands_every_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
