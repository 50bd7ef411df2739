/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk and the transport under it, with an image in a temporary file. */
#include "virtio_guest.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "state/section.h"

#define SECTORS 2048u

struct disk {
    struct guest *guest;
    struct block_image *image;
    struct virtio_blk_device_config config;
    char path[64];
    int fd;
};

static struct disk *disk_new(const char *io, bool readonly, unsigned queues)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    snprintf(disk->path, sizeof(disk->path), "/tmp/ferry-blk-XXXXXX");
    disk->fd = mkstemp(disk->path);
    assert_true(disk->fd >= 0);
    assert_int_equal(ftruncate(disk->fd, SECTORS * 512), 0);
    disk->guest = guest_new();
    struct err err = ERR_INIT;
    if (block_open(&(struct block_config){.path = disk->path, .io = io, .readonly = readonly}, disk->guest->loop,
                   &disk->image, &err) < 0)
        fail_msg("%s", err.message);
    disk->config.image = disk->image;
    disk->config.serial = "DISK0001";
    disk->config.queues = queues;
    guest_attach(disk->guest, &virtio_blk_type, &disk->config);
    return disk;
}

static void disk_free(struct disk *disk)
{
    dev_free(disk->guest->dev);
    disk->guest->dev = NULL;
    block_close(disk->image);
    guest_free(disk->guest);
    close(disk->fd);
    unlink(disk->path);
    free(disk);
}

static int setup(void **state)
{
    *state = disk_new(NULL, false, 1);
    guest_start(((struct disk *)*state)->guest, ~UINT64_C(0), 1);
    return 0;
}

static int setup_threads(void **state)
{
    *state = disk_new("threads", false, 1);
    guest_start(((struct disk *)*state)->guest, 0, 1);
    return 0;
}

static int teardown(void **state)
{
    disk_free(*state);
    return 0;
}

struct request {
    uint64_t header, data, status;
};

static struct request prepare(struct guest *guest, uint32_t type, uint64_t sector, uint32_t size)
{
    struct request request = {guest_allocate(guest, sizeof(struct virtio_blk_outhdr)), guest_allocate(guest, size),
                              guest_allocate(guest, 1)};
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    memcpy(guest_pointer(guest, request.header, sizeof(header)), &header, sizeof(header));
    *(uint8_t *)guest_pointer(guest, request.status, 1) = 0xee;
    return request;
}

static uint8_t status_of(struct guest *guest, const struct request *request)
{
    return *(uint8_t *)guest_pointer(guest, request->status, 1);
}

static uint8_t transfer(struct guest *guest, unsigned queue, uint32_t type, uint64_t sector, void *data, uint32_t size)
{
    struct request request = prepare(guest, type, sector, size);
    bool read = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    if (!read)
        memcpy(guest_pointer(guest, request.data, size), data, size);
    struct guest_buffer buffers[] = {
        {request.header, 16, false}, {request.data, size, read}, {request.status, 1, true}};
    guest_transact(guest, queue, buffers, 3);
    if (read)
        memcpy(data, guest_pointer(guest, request.data, size), size);
    return status_of(guest, &request);
}

static void test_capabilities_and_config(void **state)
{
    struct disk *disk = *state;
    struct guest *guest = disk->guest;
    assert_int_equal(guest_config_read(guest, 0, 4), 0x10421af4);
    assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_NUMQ, 2), 1);
    assert_int_equal(guest_device_config(guest, 0, 8), SECTORS);
    assert_int_equal(guest_device_config(guest, offsetof(struct virtio_blk_config, seg_max), 4), 126);
    assert_int_equal(guest_device_config(guest, offsetof(struct virtio_blk_config, blk_size), 4), 512);
    assert_int_equal(guest_device_config(guest, 0x200, 4), 0);
    assert_int_equal(guest->doorbells, 1);
    assert_int_equal(guest->doorbell_address[0], guest->bar + guest->notify);
    assert_int_equal(guest_status(guest), 0xf);
}

static void test_write_then_read(void **state)
{
    struct disk *disk = *state;
    uint8_t out[4096], in[4096], file[4096];
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_OUT, 24, out, sizeof(out)), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(disk->fd, file, sizeof(file), 24 * 512), sizeof(file));
    assert_memory_equal(file, out, sizeof(out));
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_IN, 24, in, sizeof(in)), VIRTIO_BLK_S_OK);
    assert_memory_equal(in, out, sizeof(out));
    assert_true(disk->guest->messages[1] > 0);
}

static void test_frame_cut_anywhere(void **state)
{
    struct disk *disk = *state;
    struct guest *guest = disk->guest;
    assert_int_equal(pwrite(disk->fd, "sector three", 12, 3 * 512), 12);
    struct request request = prepare(guest, VIRTIO_BLK_T_IN, 3, 512 + 1);
    struct guest_buffer buffers[] = {{request.header, 5, false},     {request.header + 5, 11, false},
                                     {request.data, 100, true},      {request.data + 100, 0, true},
                                     {request.data + 100, 300, true}, {request.data + 400, 113, true}};
    struct vring_used_elem element;
    guest_add_indirect(guest, 0, buffers, ARRAY_SIZE(buffers));
    guest_notify(guest, 0);
    assert_true(guest_wait(guest, 0, &element));
    assert_int_equal(element.len, 513);
    assert_string_equal(guest_pointer(guest, request.data, 13), "sector three");
    assert_int_equal(*(uint8_t *)guest_pointer(guest, request.data + 512, 1), VIRTIO_BLK_S_OK);
}

static void test_flush_and_id(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    char id[21] = {0};
    struct request request = prepare(guest, VIRTIO_BLK_T_FLUSH, 0, 1);
    struct guest_buffer buffers[] = {{request.header, 16, false}, {request.status, 1, true}};
    guest_transact(guest, 0, buffers, 2);
    assert_int_equal(status_of(guest, &request), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_GET_ID, 0, id, 20), VIRTIO_BLK_S_OK);
    assert_string_equal(id, "DISK0001");
}

static void test_discard_and_write_zeroes(void **state)
{
    struct disk *disk = *state;
    struct virtio_blk_discard_write_zeroes range = {.sector = 16, .num_sectors = 8};
    uint8_t byte = 0xaa;
    if (!(disk->guest->features & BIT(VIRTIO_BLK_F_DISCARD)))
        skip();
    for (unsigned type = VIRTIO_BLK_T_DISCARD; type <= VIRTIO_BLK_T_WRITE_ZEROES; type += 2) {
        assert_int_equal(pwrite(disk->fd, &byte, 1, 16 * 512 + 5), 1);
        assert_int_equal(transfer(disk->guest, 0, type, 0, &range, sizeof(range)), VIRTIO_BLK_S_OK);
        uint8_t back = 1;
        assert_int_equal(pread(disk->fd, &back, 1, 16 * 512 + 5), 1);
        assert_int_equal(back, 0);
    }
    range.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0, &range, sizeof(range)), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range)), VIRTIO_BLK_S_UNSUPP);
    range = (struct virtio_blk_discard_write_zeroes){.sector = SECTORS - 4, .num_sectors = 8};
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range)), VIRTIO_BLK_S_IOERR);
}

static void test_bad_requests_get_an_error_status(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    uint8_t data[1024] = {0};
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, SECTORS - 1, data, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_OUT, UINT64_MAX - 1, data, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 2, data, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_OUT, 0, data, 100), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(guest, 0, 77, 0, data, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(guest_status(guest) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void test_readonly(void **state)
{
    struct disk *disk = disk_new(NULL, true, 1);
    uint8_t data[512] = {0};
    guest_start(disk->guest, ~UINT64_C(0), 1);
    assert_true(disk->guest->features & BIT(VIRTIO_BLK_F_RO));
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_OUT, 0, data, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
    disk_free(disk);
}

static void test_many_in_flight_on_two_queues(void **state)
{
    struct disk *disk = disk_new(NULL, false, 2);
    struct guest *guest = disk->guest;
    struct request request[40];
    guest_start(guest, ~UINT64_C(0), 2);
    assert_int_equal(guest_device_config(guest, offsetof(struct virtio_blk_config, num_queues), 2), 2);
    for (unsigned i = 0; i < ARRAY_SIZE(request); i++) {
        request[i] = prepare(guest, VIRTIO_BLK_T_OUT, i, 512);
        memset(guest_pointer(guest, request[i].data, 512), (int)i + 1, 512);
        struct guest_buffer buffers[] = {
            {request[i].header, 16, false}, {request[i].data, 512, false}, {request[i].status, 1, true}};
        guest_add_indirect(guest, i % 2, buffers, 3);
    }
    guest_notify(guest, 0);
    guest_notify(guest, 1);
    struct vring_used_elem element;
    for (unsigned i = 0; i < ARRAY_SIZE(request); i++)
        assert_true(guest_wait(guest, i % 2, &element));
    for (unsigned i = 0; i < ARRAY_SIZE(request); i++) {
        uint8_t byte = 0;
        assert_int_equal(status_of(guest, &request[i]), VIRTIO_BLK_S_OK);
        assert_int_equal(pread(disk->fd, &byte, 1, i * 512), 1);
        assert_int_equal(byte, i + 1);
    }
    disk_free(disk);
}

static void test_reset_with_requests_in_flight(void **state)
{
    struct disk *disk = *state;
    struct guest *guest = disk->guest;
    for (unsigned i = 0; i < 20; i++) {
        struct request request = prepare(guest, VIRTIO_BLK_T_IN, i, 4096);
        struct guest_buffer buffers[] = {
            {request.header, 16, false}, {request.data, 4096, true}, {request.status, 1, true}};
        guest_add(guest, 0, buffers, 3);
    }
    guest_notify(guest, 0);
    loop_step(guest->loop, 0); /* submitted, maybe not completed */
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(guest_status(guest), 0);
    uint8_t *ram = guest_pointer(guest, GUEST_HEAP, 0x100000);
    memset(ram, 0x5a, 0x100000); /* nothing may be written there any more */
    uint16_t used = load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2));
    guest_settle(guest);
    for (unsigned i = 0; i < 0x100000; i++)
        assert_int_equal(ram[i], 0x5a);
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2)), used);
    guest->heap = GUEST_HEAP;
    guest_start(guest, 0, 1);
    uint8_t data[512];
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
}

/* Each of these puts the device into needs-reset with a configuration interrupt, and a reset heals it. */
static void expect_broken(struct guest *guest)
{
    unsigned before = guest->messages[0];
    guest_notify(guest, 0);
    guest_settle(guest);
    assert_true(guest_status(guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(guest->messages[0], before + 1);
    guest_start(guest, ~UINT64_C(0), 1);
    uint8_t data[512];
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
}

static void test_bad_rings(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    uint64_t page = guest_allocate(guest, 4096);
    struct vring_desc ok = {.addr = page, .len = 16};

    guest_offer(guest, 0, 64); /* head past the table */
    expect_broken(guest);

    guest->queue[0].next_available += 100; /* index far ahead */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, (struct vring_desc){page, 16, VRING_DESC_F_NEXT, 0}); /* a loop */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, (struct vring_desc){GUEST_RAM - 8, 16, 0, 0}); /* past the end of RAM */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, (struct vring_desc){guest->bar, 16, 0, 0}); /* a device */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, (struct vring_desc){UINT64_MAX - 4, 16, 0, 0}); /* wraps */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, (struct vring_desc){page, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1});
    guest_write_descriptor(guest, 0, 1, ok); /* readable behind writable */
    guest_offer(guest, 0, 0);
    expect_broken(guest);

    guest_write_descriptor(guest, 0, 0, ok); /* no room for a status */
    guest_offer(guest, 0, 0);
    expect_broken(guest);
}

static void test_bad_indirect_tables(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    uint64_t table = guest_allocate(guest, 4096);
    static const struct {
        uint32_t size;
        uint16_t flags;
    } bad[] = {{0, VRING_DESC_F_INDIRECT},
               {17, VRING_DESC_F_INDIRECT},
               {16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT},
               {GUEST_RAM, VRING_DESC_F_INDIRECT}};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        guest_write_descriptor(guest, 0, 0, (struct vring_desc){table, bad[i].size, bad[i].flags, 0});
        guest_offer(guest, 0, 0);
        expect_broken(guest);
    }
    struct vring_desc nested = {table, 16, VRING_DESC_F_INDIRECT, 0};
    memcpy(guest_pointer(guest, table, sizeof(nested)), &nested, sizeof(nested));
    guest_write_descriptor(guest, 0, 0, nested);
    guest_offer(guest, 0, 0);
    expect_broken(guest);
}

static void test_queue_is_validated_and_frozen(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    static const struct {
        unsigned offset, size;
        uint64_t value;
    } bad[] = {{VIRTIO_PCI_COMMON_Q_SIZE, 2, 0},       {VIRTIO_PCI_COMMON_Q_SIZE, 2, 3},
               {VIRTIO_PCI_COMMON_Q_SIZE, 2, 512},     {VIRTIO_PCI_COMMON_Q_DESCLO, 4, 8},
               {VIRTIO_PCI_COMMON_Q_DESCHI, 4, 1},     {VIRTIO_PCI_COMMON_Q_AVAILLO, 4, 1},
               {VIRTIO_PCI_COMMON_Q_USEDLO, 4, 2},     {VIRTIO_PCI_COMMON_Q_USEDLO, 4, GUEST_RAM - 16}};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        guest_negotiate(guest, 0);
        guest_set_common(guest, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
        guest_set_common(guest, VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
        for (unsigned offset = VIRTIO_PCI_COMMON_Q_DESCLO; offset <= VIRTIO_PCI_COMMON_Q_USEDLO; offset += 8)
            guest_set_common(guest, offset, 4, 0x1000u * offset);
        guest_set_common(guest, bad[i].offset, bad[i].size, bad[i].value);
        guest_set_common(guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
        assert_true(guest_status(guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    }
    guest_start(guest, 0, 1);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_SIZE, 2, 256);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_USEDLO, 4, GUEST_RAM - 16);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
    assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_Q_USEDLO, 4), guest->queue[0].used);
    assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
}

static void test_features_that_were_not_offered(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 3);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GF, 4, 1u << 20);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GF, 4, 1);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 11);
    assert_int_equal(guest_status(guest), 3);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 15); /* DRIVER_OK without FEATURES_OK */
    assert_int_equal(guest_status(guest), 3);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    guest_set_common(guest, VIRTIO_PCI_COMMON_GF, 4, 0);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 11);
    assert_int_equal(guest_status(guest), 11);
}

static void test_intx_and_isr(void **state)
{
    struct disk *disk = disk_new(NULL, false, 1);
    struct guest *guest = disk->guest;
    uint8_t data[512];
    guest_start(guest, 0, 1);
    for (unsigned at = guest_config_read(guest, PCI_CAPABILITY_LIST, 1); at != 0; at = guest_config_read(guest, at + 1, 1))
        if (guest_config_read(guest, at, 1) == PCI_CAP_ID_MSIX)
            guest_config_write(guest, at + PCI_MSIX_FLAGS, 2, 0);
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(guest->lines, 1u << platform_pci_gsi(GUEST_SLOT, 0));
    assert_int_equal(guest_read(guest, guest->isr, 1), 1);
    assert_int_equal(guest->lines, 0);
    assert_int_equal(guest_read(guest, guest->isr, 1), 0);
    disk_free(disk);
}

static void test_event_index_holds_interrupts_back(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    uint8_t data[512];
    assert_true(guest->features & BIT(VIRTIO_RING_F_EVENT_IDX));
    uint8_t *event = guest_pointer(guest, guest->queue[0].available + 4 + 64 * 2, 2);
    store_le16(event, 2); /* tell me when the third is done */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(guest->messages[1], 0);
        assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
    }
    assert_int_equal(guest->messages[1], 1);
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 4 + 64 * 8, 2)), 3);
}

static void test_window_in_configuration_space(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    unsigned at = guest_config_read(guest, PCI_CAPABILITY_LIST, 1);
    while (guest_config_read(guest, at, 1) != PCI_CAP_ID_VNDR || guest_config_read(guest, at + 3, 1) != VIRTIO_PCI_CAP_PCI_CFG)
        at = guest_config_read(guest, at + 1, 1);
    guest_config_write(guest, at + VIRTIO_PCI_CAP_BAR, 1, 0);
    guest_config_write(guest, at + VIRTIO_PCI_CAP_OFFSET, 4, guest->common + VIRTIO_PCI_COMMON_STATUS);
    guest_config_write(guest, at + VIRTIO_PCI_CAP_LENGTH, 4, 1);
    assert_int_equal(guest_config_read(guest, at + 16, 1), 0xf);
    guest_config_write(guest, at + 16, 1, 0);
    assert_int_equal(guest_status(guest), 0);
    guest_config_write(guest, at + VIRTIO_PCI_CAP_OFFSET, 4, 0xfffffffd);
    guest_config_write(guest, at + VIRTIO_PCI_CAP_LENGTH, 4, 4);
    guest_config_write(guest, at + 16, 4, 0xffffffff);
    assert_int_equal(guest_status(guest), 0);
}

static void test_no_dma_without_bus_master(void **state)
{
    struct guest *guest = ((struct disk *)*state)->guest;
    struct request request = prepare(guest, VIRTIO_BLK_T_IN, 0, 512);
    struct guest_buffer buffers[] = {{request.header, 16, false}, {request.data, 512, true}, {request.status, 1, true}};
    struct vring_used_elem element;
    guest_config_write(guest, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    guest_add(guest, 0, buffers, 3);
    guest_notify(guest, 0);
    guest_settle(guest);
    assert_int_equal(status_of(guest, &request), 0xee);
    guest_config_write(guest, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_true(guest_wait(guest, 0, &element));
    assert_int_equal(status_of(guest, &request), VIRTIO_BLK_S_OK);
}

static void test_stopped_device_waits(void **state)
{
    struct disk *disk = *state;
    struct guest *guest = disk->guest;
    struct request request = prepare(guest, VIRTIO_BLK_T_IN, 0, 512);
    struct guest_buffer buffers[] = {{request.header, 16, false}, {request.data, 512, true}, {request.status, 1, true}};
    struct vring_used_elem element;
    dev_set_running(guest->dev, false);
    guest_add(guest, 0, buffers, 3);
    guest_notify(guest, 0);
    guest_settle(guest);
    assert_int_equal(status_of(guest, &request), 0xee);
    guest_migrate(guest, &virtio_blk_type, &disk->config);
    assert_true(guest_wait(guest, 0, &element));
    assert_int_equal(status_of(guest, &request), VIRTIO_BLK_S_OK);
}

static void test_save_and_load_in_use(void **state)
{
    struct disk *disk = *state;
    uint8_t out[512] = "before", in[512];
    assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_OUT, 9, out, 512), VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < 3; i++) {
        guest_migrate(disk->guest, &virtio_blk_type, &disk->config);
        assert_int_equal(guest_status(disk->guest), 0xf);
        assert_int_equal(transfer(disk->guest, 0, VIRTIO_BLK_T_IN, 9, in, 512), VIRTIO_BLK_S_OK);
        assert_memory_equal(in, out, 512);
    }
}

static void test_load_refuses_impossible_state(void **state)
{
    struct disk *disk = *state;
    struct guest *guest = disk->guest;
    struct virtio *virtio = (struct virtio *)guest->dev;
    struct virtio_state good = *virtio->state;
    for (unsigned i = 0; i < 6; i++) {
        struct buffer out = BUFFER_INIT(1 << 20);
        struct section_reader reader;
        struct section section;
        struct err err = ERR_INIT;
        switch (i) {
        case 0:
            virtio->state->queue[0].size = 3;
            break;
        case 1:
            virtio->state->queue[0].used_ring = GUEST_RAM - 64;
            break;
        case 2:
            virtio->state->queue[0].next_available += 100;
            break;
        case 3:
            virtio->state->queue[1] = virtio->state->queue[0];
            break;
        case 4:
            virtio->state->driver_features |= BIT(50);
            break;
        case 5:
            virtio->state->status = VIRTIO_CONFIG_S_DRIVER_OK;
            break;
        }
        assert_int_equal(dev_save(guest->dev, &out), 0);
        *virtio->state = good;
        section_reader_init(&reader, out.data, out.size);
        assert_int_equal(section_next(&reader, &section, NULL), 1);
        assert_int_equal(dev_load(guest->dev, &section, &err), -EBADMSG);
        assert_true(strlen(err.message) > 20);
        buffer_fini(&out);
    }
    uint8_t data[512];
    assert_int_equal(transfer(guest, 0, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_capabilities_and_config),
        TEST(test_write_then_read),
        cmocka_unit_test_setup_teardown(test_write_then_read, setup_threads, teardown),
        TEST(test_frame_cut_anywhere),
        TEST(test_flush_and_id),
        cmocka_unit_test_setup_teardown(test_flush_and_id, setup_threads, teardown),
        TEST(test_discard_and_write_zeroes),
        TEST(test_bad_requests_get_an_error_status),
        cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_many_in_flight_on_two_queues),
        TEST(test_reset_with_requests_in_flight),
        cmocka_unit_test_setup_teardown(test_reset_with_requests_in_flight, setup_threads, teardown),
        TEST(test_bad_rings),
        TEST(test_bad_indirect_tables),
        TEST(test_queue_is_validated_and_frozen),
        TEST(test_features_that_were_not_offered),
        cmocka_unit_test(test_intx_and_isr),
        TEST(test_event_index_holds_interrupts_back),
        TEST(test_window_in_configuration_space),
        TEST(test_no_dma_without_bus_master),
        TEST(test_stopped_device_waits),
        TEST(test_save_and_load_in_use),
        TEST(test_load_refuses_impossible_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
