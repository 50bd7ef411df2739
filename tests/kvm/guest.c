/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small guests for tests of any engine: making the VM, its tables and its entry state, and logging what it does. */
#include "guest.h"

#include <errno.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/text.h"
#include "x86/cpuid.h"
#include "x86/xsave.h"

const struct engine_type *guest_engine;
const char *guest_engine_options;

static void log_access(struct guest *guest, struct guest_access access)
{
    if (guest->access_count < GUEST_ACCESSES_MAX)
        guest->access[guest->access_count++] = access;
}

static uint64_t port_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    struct guest *guest = ctx;
    uint64_t value = truncate_to(guest->answer, size);

    log_access(guest, (struct guest_access){true, false, cpu, size, port, value});
    return value;
}

static void port_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    struct guest *guest = ctx;

    if (port != GUEST_PORT_DONE) {
        log_access(guest, (struct guest_access){true, true, cpu, size, port, value});
        if (port == guest->kick_port)
            guest->type->vcpu_kick(guest->vcpu[cpu]);
        return;
    }
    guest->done_value = value;
    guest->type->vcpu_kick(guest->vcpu[cpu]);
}

static uint64_t mmio_read(void *ctx, unsigned cpu, uint64_t address, unsigned size)
{
    struct guest *guest = ctx;
    uint64_t value = truncate_to(guest->answer, size);

    log_access(guest, (struct guest_access){false, false, cpu, size, address, value});
    return value;
}

static void mmio_write(void *ctx, unsigned cpu, uint64_t address, unsigned size, uint64_t value)
{
    log_access(ctx, (struct guest_access){false, true, cpu, size, address, value});
}

static int no_interrupt(void *ctx, unsigned cpu)
{
    return -1;
}

static int no_apic_read(void *ctx, unsigned cpu, uint32_t msr, uint64_t *ret_value)
{
    return -EINVAL;
}

static int no_apic_write(void *ctx, unsigned cpu, uint32_t msr, uint64_t value)
{
    return -EINVAL;
}

static uint64_t tpr_read(void *ctx, unsigned cpu)
{
    return ((struct guest *)ctx)->tpr[cpu];
}

static void tpr_write(void *ctx, unsigned cpu, uint64_t value)
{
    ((struct guest *)ctx)->tpr[cpu] = value;
}

static void notice(void *ctx, const char *sentence)
{
    struct guest *guest = ctx;

    if (guest->notice_count < ARRAY_SIZE(guest->notice))
        text_format(guest->notice[guest->notice_count++], sizeof(guest->notice[0]), "%s", sentence);
}

static void write64(struct guest *guest, uint64_t address, uint64_t value)
{
    assert_int_equal(memory_write(guest->memory, address, &value, sizeof(value)), 0);
}

uint64_t guest_read64(struct guest *guest, uint64_t address)
{
    uint64_t value;

    assert_int_equal(memory_read(guest->memory, address, &value, sizeof(value)), 0);
    return value;
}

static void write_tables(struct guest *guest)
{
    static const uint64_t gdt[] = {
        0,
        0x00af9b000000ffff, /* 0x08: code, CPL 0, 64-bit, accessed */
        0x00cf93000000ffff, /* 0x10: data, CPL 0 */
        0x00cff3000000ffff, /* 0x18: data, CPL 3 */
        0x00affb000000ffff, /* 0x20: code, CPL 3, 64-bit */
        0x00008b0000000000 | GUEST_TSS_LIMIT | (uint64_t)GUEST_TSS << 16, /* 0x28: busy 64-bit TSS, two entries */
        0,
    };

    write64(guest, GUEST_PML4, GUEST_PDPT | 0x27);
    for (unsigned i = 0; i < 4; i++)
        write64(guest, GUEST_PDPT + 8 * i, (GUEST_DIRECTORIES + MEMORY_PAGE_SIZE * i) | 0x27);
    for (unsigned i = 0; i < 2048; i++)
        write64(guest, GUEST_DIRECTORIES + 8 * i, (uint64_t)i << 21 | 0xe7);
    for (unsigned i = 0; i < ARRAY_SIZE(gdt); i++)
        write64(guest, GUEST_GDT + 8 * i, gdt[i]);
    write64(guest, GUEST_TSS + 4, GUEST_KERNEL_STACK); /* RSP0 */
    write64(guest, GUEST_TSS + 96, UINT64_C(104) << 48); /* the I/O permission bitmap: zeros behind the TSS */
}

void guest_set_gate(struct guest *guest, unsigned vector, uint64_t address)
{
    write64(guest, GUEST_IDT + 16 * vector,
            (address & 0xffff) | GUEST_CS0 << 16 | UINT64_C(0xee00) << 32 | (address & 0xffff0000) << 32);
    write64(guest, GUEST_IDT + 16 * vector + 8, address >> 32);
}

static void fail_with(const char *what, const struct err *err)
{
    fail_msg("%s: %s", what, err->message);
}

static struct memory *make_memory(void)
{
    struct memory *memory;
    struct err err = ERR_INIT;

    if (memory_new(&memory, &err) < 0 || memory_add(memory, 0, GUEST_RAM, false, &err) < 0 ||
        memory_add(memory, GUEST_ROM, GUEST_ROM_SIZE, true, &err) < 0)
        fail_with("memory", &err);
    return memory;
}

/* The APIC ID where CPUID tells it; the engines need no more of the topology. */
static void set_apic_id(struct cpuid_table *table, unsigned id)
{
    for (unsigned i = 0; i < table->count; i++) {
        struct cpuid_entry *entry = &table->entry[i];
        if (entry->leaf == 1)
            entry->ebx = (entry->ebx & 0x00ffffff) | id << 24;
        if (entry->leaf == 0xb)
            entry->edx = id;
    }
}

static void make_vcpus(struct guest *guest)
{
    struct cpuid_table table;
    struct err err = ERR_INIT;

    if (guest->type->supported_cpuid(&table, &err) < 0)
        fail_with("supported_cpuid", &err);
    for (unsigned i = 0; i < guest->cpus; i++) {
        set_apic_id(&table, i);
        if (guest->type->vcpu_new(guest->vm, i, &table, &guest->vcpu[i], &err) < 0)
            fail_with("vcpu_new", &err);
    }
}

struct guest *guest_new(const struct engine_type *type, unsigned cpus, unsigned needed)
{
    struct guest *guest = test_calloc(1, sizeof(*guest));
    struct engine_config config = {
        .cpus = cpus,
        .hooks = {guest, port_read, port_write, mmio_read, mmio_write, no_interrupt, no_apic_read, no_apic_write, tpr_read,
                  tpr_write, notice},
        .options = type == guest_engine ? guest_engine_options : NULL,
    };
    struct err err = ERR_INIT;

    guest->type = type;
    guest->cpus = cpus;
    guest->memory = config.memory = make_memory();
    config.use_irqchip = type->irqchip_get != NULL;
    if (type->vm_new(&config, &guest->vm, &err) < 0)
        fail_with("vm_new", &err);
    guest->capabilities = type->capabilities(guest->vm);
    if (needed & ~guest->capabilities) {
        guest_free(guest);
        SKIP("engine %s lacks what this test needs (capabilities %#x)", type->name, needed);
    }
    write_tables(guest);
    make_vcpus(guest);
    return guest;
}

void guest_free(struct guest *guest)
{
    for (unsigned i = 0; i < guest->cpus; i++)
        guest->type->vcpu_free(guest->vcpu[i]);
    guest->type->vm_free(guest->vm);
    memory_free(guest->memory);
    test_free(guest);
}

void guest_entry_state(struct x86_state *state, unsigned cpl)
{
    const struct x86_segment data = {.limit = UINT32_MAX,
                                     .selector = cpl == 3 ? GUEST_SS3 : GUEST_SS0,
                                     .type = 3,
                                     .s = 1,
                                     .dpl = (uint8_t)cpl,
                                     .present = 1,
                                     .db = 1,
                                     .g = 1};

    x86_state_reset(state, true);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state->segment[i] = data;
    state->segment[X86_CS] = (struct x86_segment){.limit = UINT32_MAX,
                                                  .selector = cpl == 3 ? GUEST_CS3 : GUEST_CS0,
                                                  .type = 11,
                                                  .s = 1,
                                                  .dpl = (uint8_t)cpl,
                                                  .present = 1,
                                                  .l = 1,
                                                  .g = 1};
    state->tr =
        (struct x86_segment){.base = GUEST_TSS, .limit = GUEST_TSS_LIMIT, .selector = GUEST_TR, .type = 11, .present = 1};
    state->gdtr = (struct x86_table){.base = GUEST_GDT, .limit = 0x37};
    state->idtr = (struct x86_table){.base = GUEST_IDT, .limit = 0xfff};
    state->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
    state->cr3 = GUEST_PML4;
    state->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
    state->msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
    state->rflags = cpl == 3 ? 2 | X86_IOPL : 2;
    state->rip = GUEST_CODE;
    state->gpr[X86_RSP] = GUEST_STACK;
}

void guest_set_state(struct guest *guest, unsigned cpu, const struct x86_state *state)
{
    struct err err = ERR_INIT;

    if (guest->type->vcpu_set_state(guest->vcpu[cpu], state, &err) < 0)
        fail_with("vcpu_set_state", &err);
}

struct x86_state guest_get_state(struct guest *guest, unsigned cpu)
{
    struct x86_state state;
    struct err err = ERR_INIT;

    if (guest->type->vcpu_get_state(guest->vcpu[cpu], &state, &err) < 0)
        fail_with("vcpu_get_state", &err);
    return state;
}

void guest_load(struct guest *guest, const uint8_t *code, const uint8_t *end, unsigned cpl)
{
    struct x86_state state;

    assert_int_equal(memory_write(guest->memory, GUEST_CODE, code, (uint64_t)(end - code)), 0);
    guest_entry_state(&state, cpl);
    guest_set_state(guest, 0, &state);
}

void guest_run(struct guest *guest, enum exit_kind expected)
{
    static const char *const kinds[] = {"kicked", "shutdown", "halt", "error"};
    struct exit exit = {.kind = EXIT_ERROR};

    guest->type->vcpu_run(guest->vcpu[0], &exit);
    if (exit.kind != expected) {
        char text[4096];
        struct x86_state state = guest_get_state(guest, 0);

        x86_state_print(&state, text, sizeof(text));
        fail_msg("the guest ended with %s, not %s: %s\n%s", kinds[exit.kind], kinds[expected], exit.message, text);
    }
}

void guest_expect_access(const struct guest *guest, unsigned index, bool port, bool is_write, uint64_t address, unsigned size,
                         uint64_t value)
{
    assert_true(index < guest->access_count);
    assert_int_equal(guest->access[index].port, port);
    assert_int_equal(guest->access[index].is_write, is_write);
    assert_int_equal(guest->access[index].address, address);
    assert_int_equal(guest->access[index].size, size);
    assert_int_equal(guest->access[index].value, value);
}

uint64_t guest_eventfd_take(int fd)
{
    uint64_t value = 0;

    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

int guest_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
    struct err err = ERR_INIT;

    if (argc < 2) {
        fprintf(stderr, "usage: %s ENGINE [ENGINE-OPTIONS]\n", argv[0]);
        return 2;
    }
    if (engine_choose(argv[1], &guest_engine, NULL, 0, &err) < 0) {
        printf("SKIPPED: %s\n", err.message);
        return 77;
    }
    guest_engine_options = argc > 2 ? argv[2] : NULL;
    return _cmocka_run_group_tests(argv[1], tests, count, NULL, NULL);
}
