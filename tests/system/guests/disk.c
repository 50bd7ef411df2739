/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes its memory and its first virtio disk over and over, and checks before each write that it finds what it wrote there last: a
 * page or block that was lost, or is of another time than the rest, shows. Without a disk, memory alone.
 *
 * Write n of the disk goes to place n % places, 4096 bytes: "DISK", n, the place, then words that follow from n; places lie
 * evenly over the whole disk, 256 or as many as fit. Each eighth write is followed by a flush. What is read before the first
 * write of a place must be zeros. A key makes it print the letter of its next turn, a to z; '!' means that memory was wrong, '?' the
 * disk, '#' that the disk gave an error; then it ends. */
#include <stdbool.h>
#include <stdint.h>

__asm__(".section .text.start, \"ax\"\n"
        ".code32\n"
        ".align 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".globl _start\n"
        "_start: mov $0x300000, %esp\n"
        "jmp guest_main\n"
        ".text\n");

enum { COM1 = 0x3f8, PM1A_CONTROL = 0x604, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };
enum { MEMORY_FIRST = 0x400000, MEMORY_END = 0xc00000, PAGE = 4096, PAGES_A_STEP = 64 };
enum { QUEUE = 8, PLACES_MAX = 256, WORDS = PAGE / 4, MAGIC = 0x4b534944 };
enum { BLK_READ = 0, BLK_WRITE = 1, BLK_FLUSH = 4 };

static struct {
    struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags, next;
    } descriptor[QUEUE];
    struct {
        uint16_t flags, index, ring[QUEUE];
    } available;
    struct {
        uint16_t flags, index;
        struct {
            uint32_t id, length;
        } ring[QUEUE];
    } used __attribute__((aligned(16)));
} queue __attribute__((aligned(4096)));

static uint32_t block[WORDS] __attribute__((aligned(4096)));
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} request;
static volatile uint8_t request_status;
static volatile uint8_t *common, *config;
static volatile uint16_t *doorbell;
static uint32_t places, sectors_apart, count; /* count: of writes done */

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "d"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static void __attribute__((noreturn)) end(char why)
{
    out8(COM1, (uint8_t)why);
    out8(COM1, '\n');
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)(5 << 10 | 1 << 13)), "d"((uint16_t)PM1A_CONTROL));
    for (;;)
        __asm__ volatile("hlt");
}

/* The disk. */

static uint32_t pci_read(unsigned slot, unsigned at)
{
    out32(PCI_ADDRESS, 0x80000000u | slot << 11 | (at & 0xfc));
    return in32(PCI_DATA) >> (at & 3) * 8;
}

static void pci_write(unsigned slot, unsigned at, uint32_t value)
{
    out32(PCI_ADDRESS, 0x80000000u | slot << 11 | at);
    out32(PCI_DATA, value);
}

/* The virtio structures that the capabilities name (virtio 1.2, section 4.1.4). */
static void find_structures(unsigned slot)
{
    uint32_t notify_multiplier = 0;
    volatile uint8_t *notify = 0;

    for (unsigned bar = 0; bar < 6; bar++)
        pci_write(slot, 0x10 + bar * 4, 0xc0100000u + bar * 0x10000);
    pci_write(slot, 4, 6); /* memory, bus master */
    for (unsigned at = pci_read(slot, 0x34) & 0xfc; at != 0; at = pci_read(slot, at + 1) & 0xfc) {
        unsigned type = pci_read(slot, at + 3) & 0xff, bar = pci_read(slot, at + 4) & 0xff;
        volatile uint8_t *place = (volatile uint8_t *)((pci_read(slot, 0x10 + bar * 4) & ~15u) + pci_read(slot, at + 8));

        if ((pci_read(slot, at) & 0xff) != 9)
            continue;
        if (type == 1)
            common = place;
        if (type == 2)
            notify = place;
        if (type == 2)
            notify_multiplier = pci_read(slot, at + 16);
        if (type == 4)
            config = place;
    }
    *(volatile uint16_t *)(common + 22) = 0;
    doorbell = (volatile uint16_t *)(notify + *(volatile uint16_t *)(common + 30) * notify_multiplier);
}

static void set_address(unsigned at, const void *address)
{
    *(volatile uint32_t *)(common + at) = (uint32_t)address;
    *(volatile uint32_t *)(common + at + 4) = 0;
}

static bool open_disk(void)
{
    unsigned slot = 4;
    uint32_t pages;

    while (slot < 32 && pci_read(slot, 0) != 0x10421af4)
        slot++;
    if (slot == 32)
        return false;
    find_structures(slot);
    common[20] = 0;
    common[20] = 1 | 2; /* acknowledge, driver */
    *(volatile uint32_t *)(common + 8) = 0;
    *(volatile uint32_t *)(common + 12) = 1 << 9; /* flush */
    *(volatile uint32_t *)(common + 8) = 1;
    *(volatile uint32_t *)(common + 12) = 1; /* version 1 */
    common[20] = 1 | 2 | 8;
    *(volatile uint16_t *)(common + 22) = 0;
    *(volatile uint16_t *)(common + 24) = QUEUE;
    set_address(32, queue.descriptor);
    set_address(40, &queue.available);
    set_address(48, &queue.used);
    *(volatile uint16_t *)(common + 28) = 1;
    common[20] = 1 | 2 | 8 | 4;
    pages = *(volatile uint32_t *)config / 8;
    places = pages < PLACES_MAX ? pages : PLACES_MAX;
    sectors_apart = pages / places * 8;
    return true;
}

static void use_disk(uint32_t type, uint32_t place)
{
    bool data = type != BLK_FLUSH;
    uint16_t index = queue.used.index;

    request.type = type;
    request.sector = data ? (uint64_t)place * sectors_apart : 0;
    request_status = 0xff;
    queue.descriptor[0].address = (uint32_t)&request;
    queue.descriptor[0].length = 16;
    queue.descriptor[0].flags = 1;
    queue.descriptor[0].next = data ? 1 : 2;
    queue.descriptor[1].address = (uint32_t)block;
    queue.descriptor[1].length = PAGE;
    queue.descriptor[1].flags = type == BLK_READ ? 1 | 2 : 1;
    queue.descriptor[1].next = 2;
    queue.descriptor[2].address = (uint32_t)&request_status;
    queue.descriptor[2].length = 1;
    queue.descriptor[2].flags = 2;
    queue.available.ring[queue.available.index % QUEUE] = 0;
    __asm__ volatile("" : : : "memory");
    queue.available.index++;
    __asm__ volatile("" : : : "memory");
    *doorbell = 0;
    while (*(volatile uint16_t *)&queue.used.index == index)
        __asm__ volatile("pause" : : : "memory");
    if (request_status != 0)
        end('#');
}

static uint32_t word_of(uint32_t n, uint32_t place, unsigned at)
{
    return at == 0 ? MAGIC : at == 1 ? n : at == 2 ? place : n * 2654435761u + at;
}

static void disk_step(void)
{
    uint32_t place = count % places;
    bool fresh = count < places;

    use_disk(BLK_READ, place);
    for (unsigned i = 0; i < WORDS; i++)
        if (block[i] != (fresh ? 0 : word_of(count - places, place, i)))
            end('?');
    for (unsigned i = 0; i < WORDS; i++)
        block[i] = word_of(count, place, i);
    use_disk(BLK_WRITE, place);
    count++;
    if (count % 8 == 0)
        use_disk(BLK_FLUSH, 0);
}

/* Memory: pass n finds n - 1 at both ends of every page. */
static void memory_step(void)
{
    static uint32_t pass, next = MEMORY_FIRST;

    for (unsigned i = 0; i < PAGES_A_STEP; i++, next += PAGE) {
        volatile uint32_t *page = (volatile uint32_t *)next;

        if (page[0] != pass || page[WORDS - 1] != pass)
            end('!');
        page[0] = page[WORDS - 1] = pass + 1;
    }
    if (next == MEMORY_END) {
        next = MEMORY_FIRST;
        pass++;
    }
}

void guest_main(void)
{
    bool disk = open_disk();
    uint8_t letter = 'a';

    for (;;) {
        memory_step();
        if (disk)
            disk_step();
        if ((in8(COM1 + 5) & 1) != 0) {
            in8(COM1);
            out8(COM1, letter++);
        }
    }
}
