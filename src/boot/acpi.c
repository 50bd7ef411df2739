/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The static ACPI tables (ACPI 6.5 section 5.2), built in a copy of the area and written to the guest at once. */
#include "boot/acpi.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/aml.h"
#include "bus/platform.h"
#include "memory/memory.h"

#define AREA_SIZE (ACPI_AREA_END - ACPI_AREA)
#define TABLES_MAX 8
#define IOAPIC_ID 0
#define RTC_CENTURY_INDEX 0x32
#define HPET_BLOCK_ID 0x8086a201u /* as in the device's capabilities: Intel, 64 bits, legacy routing, 3 timers */
#define LATENCY_NONE 0xffff       /* of C2, C3: not there */

struct header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision;
    char creator[4];
    uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
    char signature[8];
    uint8_t checksum; /* of the first 20 bytes */
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct address { /* "generic address structure" */
    uint8_t space, width, offset, access;
    uint64_t address;
} __attribute__((packed));

struct facs {
    char signature[4];
    uint32_t length, hardware_signature, waking_vector, global_lock, flags;
    uint64_t waking_vector_64;
    uint8_t version, reserved[31];
} __attribute__((packed));

struct fadt {
    struct header header;
    uint32_t facs, dsdt;
    uint8_t reserved0, profile;
    uint16_t sci;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length, gpe0_length, gpe1_length,
        gpe1_base;
    uint8_t cst_control;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_flags;
    uint8_t reserved1;
    uint32_t flags;
    struct address reset;
    uint8_t reset_value;
    uint16_t arm_flags;
    uint8_t minor_version;
    uint64_t x_facs, x_dsdt;
    struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer, x_gpe0,
        x_gpe1;
    struct address sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");

/* FADT flags. */
enum {
    FADT_WBINVD = 1 << 0,
    FADT_C1 = 1 << 2,
    FADT_NO_SLEEP_BUTTON = 1 << 5,
    FADT_NO_FIXED_RTC = 1 << 6,
    FADT_TIMER_32 = 1 << 8,
    FADT_RESET = 1 << 10,
    FADT_APIC_PHYSICAL = 1 << 19,
};
enum { BOOT_LEGACY_DEVICES = 1 << 0, BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2 };

struct madt {
    struct header header;
    uint32_t lapic, flags;
} __attribute__((packed));
struct madt_lapic {
    uint8_t type, length, uid, id;
    uint32_t flags;
} __attribute__((packed));
struct madt_ioapic {
    uint8_t type, length, id, reserved;
    uint32_t address, first_gsi;
} __attribute__((packed));
struct madt_override {
    uint8_t type, length, bus, irq;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));
struct madt_nmi {
    uint8_t type, length, uid;
    uint16_t flags;
    uint8_t lint;
} __attribute__((packed));
struct madt_x2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t id, flags, uid;
} __attribute__((packed));
struct madt_x2apic_nmi {
    uint8_t type, length;
    uint16_t flags;
    uint32_t uid;
    uint8_t lint, reserved[3];
} __attribute__((packed));

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_NMI = 4, MADT_X2APIC = 9, MADT_X2APIC_NMI = 10 };
#define MADT_PCAT_COMPATIBLE 1u /* there are 8259s too */
#define MADT_ENABLED 1u
#define MADT_LEVEL_HIGH 0xdu
#define MADT_XAPIC_IDS 255u /* 255 itself is broadcast */

struct mcfg {
    struct header header;
    uint64_t reserved;
    uint64_t base;
    uint16_t segment;
    uint8_t first_bus, last_bus;
    uint32_t reserved1;
} __attribute__((packed));

struct hpet {
    struct header header;
    uint32_t block_id;
    struct address address;
    uint8_t number;
    uint16_t minimum_tick;
    uint8_t protection;
} __attribute__((packed));

struct builder {
    uint8_t *area;
    size_t used;
    bool failed;
    size_t table; /* start of the table under way */
    unsigned count;
    uint64_t listed[TABLES_MAX]; /* addresses for RSDT and XSDT */
};

static size_t append(struct builder *b, const void *data, size_t size)
{
    size_t at = b->used;

    if (b->failed || size > AREA_SIZE - b->used) {
        b->failed = true;
        return 0;
    }
    memcpy(b->area + at, data, size);
    b->used += size;
    return at;
}

static void align(struct builder *b, size_t to)
{
    static const uint8_t zeros[64];

    append(b, zeros, (to - b->used % to) % to);
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;

    while (size-- > 0)
        sum += *bytes++;
    return (uint8_t)-sum;
}

/* size bytes of table beginning with a header that is filled in here. */
static void begin(struct builder *b, const char *signature, uint8_t revision, void *table, size_t size)
{
    struct header header = {.revision = revision,
                            .oem = "FERRY ",
                            .oem_table = "FERRY PC",
                            .oem_revision = 1,
                            .creator = "FERR",
                            .creator_revision = 1};

    memcpy(header.signature, signature, sizeof(header.signature));
    memcpy(table, &header, sizeof(header));
    align(b, 16);
    b->table = append(b, table, size);
}

/* Returns the finished table's guest address. */
static uint64_t finish(struct builder *b, bool listed)
{
    uint8_t *table = b->area + b->table;
    size_t size = b->used - b->table;

    if (b->failed)
        return 0;
    store_le32(table + offsetof(struct header, length), (uint32_t)size);
    table[offsetof(struct header, checksum)] = checksum(table, size);
    if (listed)
        b->listed[b->count++] = ACPI_AREA + b->table;
    return ACPI_AREA + b->table;
}

static uint64_t add_facs(struct builder *b)
{
    struct facs facs = {.signature = "FACS", .length = sizeof(facs), .version = 2};

    align(b, 64);
    return ACPI_AREA + append(b, &facs, sizeof(facs));
}

static uint64_t add_dsdt(struct builder *b, const struct acpi_config *config)
{
    struct header header;
    struct aml aml = {0};

    begin(b, "DSDT", 2, &header, sizeof(header));
    aml.data = b->area + b->used;
    aml.capacity = AREA_SIZE - b->used;
    acpi_write_dsdt(config, &aml);
    b->used += aml.size;
    b->failed |= aml.failed;
    return finish(b, false);
}

static struct address port(uint16_t number, uint8_t bytes)
{
    enum { SPACE_PORT = 1 };
    uint8_t access = bytes == 4 ? 3 : bytes;

    return (struct address){.space = SPACE_PORT, .width = bytes * 8, .access = access, .address = number};
}

static void add_fadt(struct builder *b, const struct acpi_config *config, uint64_t facs, uint64_t dsdt)
{
    struct fadt fadt = {
        .facs = (uint32_t)facs,
        .dsdt = (uint32_t)dsdt,
        .x_dsdt = dsdt,
        .sci = PLATFORM_GSI_SCI,
        .smi_command = PLATFORM_PORT_SMI_COMMAND,
        .acpi_enable = PLATFORM_ACPI_ENABLE,
        .acpi_disable = PLATFORM_ACPI_DISABLE,
        .pm1a_event = PLATFORM_PORT_PM1A_EVENT,
        .pm1_event_length = 4,
        .x_pm1a_event = port(PLATFORM_PORT_PM1A_EVENT, 4),
        .pm1a_control = PLATFORM_PORT_PM1A_CONTROL,
        .pm1_control_length = 2,
        .x_pm1a_control = port(PLATFORM_PORT_PM1A_CONTROL, 2),
        .pm_timer = PLATFORM_PORT_PM_TIMER,
        .pm_timer_length = 4,
        .x_pm_timer = port(PLATFORM_PORT_PM_TIMER, 4),
        .gpe0 = PLATFORM_PORT_GPE0,
        .gpe0_length = PLATFORM_GPE0_SIZE,
        .x_gpe0 = port(PLATFORM_PORT_GPE0, PLATFORM_GPE0_SIZE),
        .reset = port(PLATFORM_PORT_RESET, 1),
        .reset_value = PLATFORM_RESET_VALUE,
        .c2_latency = LATENCY_NONE,
        .c3_latency = LATENCY_NONE,
        .century = RTC_CENTURY_INDEX,
        .boot_flags = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA,
        .flags = FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_FIXED_RTC | FADT_TIMER_32 | FADT_RESET,
    };

    if (config->cpus > 8) /* flat logical destinations reach eight */
        fadt.flags |= FADT_APIC_PHYSICAL;
    begin(b, "FACP", 6, &fadt, sizeof(fadt));
    finish(b, true);
}

static void add_cpu(struct builder *b, unsigned id)
{
    struct madt_lapic lapic = {MADT_LAPIC, sizeof(lapic), (uint8_t)id, (uint8_t)id, MADT_ENABLED};
    struct madt_x2apic x2apic = {MADT_X2APIC, sizeof(x2apic), 0, id, MADT_ENABLED, id};

    if (id < MADT_XAPIC_IDS)
        append(b, &lapic, sizeof(lapic));
    else
        append(b, &x2apic, sizeof(x2apic));
}

static void add_madt(struct builder *b, const struct acpi_config *config)
{
    struct madt madt = {.lapic = PLATFORM_LAPIC, .flags = MADT_PCAT_COMPATIBLE};
    const struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof(ioapic), IOAPIC_ID, 0, PLATFORM_IOAPIC, 0};
    const struct madt_override pit = {MADT_OVERRIDE, sizeof(pit), 0, 0, PLATFORM_GSI_PIT, 0};
    const struct madt_override sci = {MADT_OVERRIDE,    sizeof(sci),      0,
                                      PLATFORM_GSI_SCI, PLATFORM_GSI_SCI, MADT_LEVEL_HIGH};
    const struct madt_nmi nmi = {MADT_NMI, sizeof(nmi), 0xff, 0, 1};
    const struct madt_x2apic_nmi x2apic_nmi = {MADT_X2APIC_NMI, sizeof(x2apic_nmi), 0, UINT32_MAX, 1, {0}};

    begin(b, "APIC", 4, &madt, sizeof(madt));
    for (unsigned i = 0; i < config->cpus; i++)
        add_cpu(b, i);
    append(b, &ioapic, sizeof(ioapic));
    append(b, &pit, sizeof(pit));
    append(b, &sci, sizeof(sci));
    append(b, &nmi, sizeof(nmi));
    if (config->cpus > MADT_XAPIC_IDS)
        append(b, &x2apic_nmi, sizeof(x2apic_nmi));
    finish(b, true);
}

static void add_mcfg(struct builder *b)
{
    struct mcfg mcfg = {.base = PLATFORM_ECAM, .last_bus = PLATFORM_ECAM_BUSES - 1};

    begin(b, "MCFG", 1, &mcfg, sizeof(mcfg));
    finish(b, true);
}

static void add_hpet(struct builder *b)
{
    struct hpet hpet = {.block_id = HPET_BLOCK_ID, .address = {.width = 64, .address = PLATFORM_HPET}};

    begin(b, "HPET", 1, &hpet, sizeof(hpet));
    finish(b, true);
}

/* RSDT with entries of 4 bytes, XSDT with entries of 8. */
static uint64_t add_list(struct builder *b, const char *signature, size_t entry_size)
{
    struct header header;

    begin(b, signature, 1, &header, sizeof(header));
    for (unsigned i = 0; i < b->count; i++)
        append(b, &b->listed[i], entry_size);
    return finish(b, false);
}

static void fill_rsdp(struct builder *b, uint64_t rsdt, uint64_t xsdt)
{
    struct rsdp rsdp = {.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
                        .oem = "FERRY ",
                        .revision = 2,
                        .rsdt = (uint32_t)rsdt,
                        .length = sizeof(rsdp),
                        .xsdt = xsdt};

    rsdp.checksum = checksum((const uint8_t *)&rsdp, 20);
    rsdp.extended_checksum = checksum((const uint8_t *)&rsdp, sizeof(rsdp));
    memcpy(b->area, &rsdp, sizeof(rsdp));
}

static void build(struct builder *b, const struct acpi_config *config)
{
    uint64_t facs, dsdt, rsdt, xsdt;

    b->used = sizeof(struct rsdp);
    facs = add_facs(b);
    dsdt = add_dsdt(b, config);
    add_fadt(b, config, facs, dsdt);
    add_madt(b, config);
    add_mcfg(b);
    if (config->hpet)
        add_hpet(b);
    rsdt = add_list(b, "RSDT", 4);
    xsdt = add_list(b, "XSDT", 8);
    fill_rsdp(b, rsdt, xsdt);
}

int acpi_write(const struct acpi_config *config, struct memory *memory, uint64_t *ret_rsdp, struct err *err)
{
    struct builder b = {.area = calloc(1, AREA_SIZE)};
    int r = 0;

    if (b.area == NULL)
        return err_set(err, -ENOMEM, "no memory to build the ACPI tables");
    build(&b, config);
    if (b.failed)
        r = err_set(err, -ENOSPC, "the ACPI tables of %u CPUs don't fit below 1 MiB", config->cpus);
    else if (memory_write(memory, ACPI_AREA, b.area, b.used) < 0)
        r = err_set(err, -ENOMEM, "the guest has no RAM at 0x%x, where its ACPI tables go; give it at least 1 MiB",
                    (unsigned)ACPI_AREA);
    else
        *ret_rsdp = ACPI_AREA;
    free(b.area);
    return r;
}
