/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-console, virtio-rng and virtio-balloon. */
#include "virtio_guest.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_console.h>
#include <sys/stat.h>

#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"

struct line { /* a character backend with so much room */
    struct character character;
    size_t room, size;
    unsigned resumed;
    char text[8192];
};

static size_t line_write(struct character *character, const void *data, size_t size)
{
    struct line *line = (struct line *)character;
    size_t n = size < line->room ? size : line->room;
    memcpy(line->text + line->size, data, n);
    line->size += n;
    line->room -= n;
    return n;
}

static void line_resume(struct character *character)
{
    ((struct line *)character)->resumed++;
}

struct small_test {
    struct guest *guest;
    struct line line;
    struct virtio_console_device_config console;
    struct virtio_rng_device_config rng;
    struct virtio_balloon_device_config balloon;
    uint64_t changed;
};

static struct small_test *small_new(void)
{
    struct small_test *t = calloc(1, sizeof(*t));
    t->guest = guest_new();
    t->line = (struct line){.character = {.write = line_write, .resume = line_resume}, .room = 4096};
    return t;
}

static int setup_console(void **state)
{
    struct small_test *t = small_new();
    t->console = (struct virtio_console_device_config){.character = &t->line.character, .columns = 80, .rows = 25};
    guest_attach(t->guest, &virtio_console_type, &t->console);
    guest_start(t->guest, ~UINT64_C(0), 2);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct small_test *t = *state;
    guest_free(t->guest);
    free(t);
    return 0;
}

static struct guest_buffer text_buffer(struct guest *guest, const char *text)
{
    struct guest_buffer buffer = {guest_allocate(guest, strlen(text)), (uint32_t)strlen(text), false};
    memcpy(guest_pointer(guest, buffer.address, buffer.size), text, buffer.size);
    return buffer;
}

static void test_console_output(void **state)
{
    struct small_test *t = *state;
    struct guest_buffer buffers[] = {text_buffer(t->guest, "Hello, "), text_buffer(t->guest, "world")};
    assert_int_equal(guest_transact(t->guest, 1, buffers, 2), 0);
    assert_int_equal(t->line.size, 12);
    assert_memory_equal(t->line.text, "Hello, world", 12);
}

static void test_console_output_goes_on_where_it_stopped(void **state)
{
    struct small_test *t = *state;
    struct guest_buffer buffer = text_buffer(t->guest, "0123456789");
    struct vring_used_elem element;
    t->line.room = 4;
    guest_add(t->guest, 1, &buffer, 1);
    guest_notify(t->guest, 1);
    guest_settle(t->guest);
    assert_int_equal(t->line.size, 4);
    guest_migrate(t->guest, &virtio_console_type, &t->console); /* in the middle of a buffer */
    guest_settle(t->guest);
    t->line.room = 100;
    t->line.character.writable(t->line.character.device);
    assert_true(guest_wait(t->guest, 1, &element));
    assert_int_equal(t->line.size, 10);
    assert_memory_equal(t->line.text, "0123456789", 10);
}

static void test_console_input(void **state)
{
    struct small_test *t = *state;
    struct vring_used_elem element;
    guest_settle(t->guest);
    assert_int_equal(t->line.character.input(t->line.character.device, (const uint8_t *)"abc", 3), 0); /* no buffer */
    struct guest_buffer buffer = {guest_allocate(t->guest, 64), 2, true};
    guest_add(t->guest, 0, &buffer, 1);
    guest_notify(t->guest, 0);
    guest_settle(t->guest);
    assert_int_equal(t->line.resumed, 2); /* at the start, and now */
    assert_int_equal(t->line.character.input(t->line.character.device, (const uint8_t *)"abc", 3), 2);
    assert_true(guest_wait(t->guest, 0, &element));
    assert_int_equal(element.len, 2);
    assert_memory_equal(guest_pointer(t->guest, buffer.address, 2), "ab", 2);
}

static void test_console_size_and_emergency_write(void **state)
{
    struct small_test *t = *state;
    assert_int_equal(guest_device_config(t->guest, 0, 2), 80);
    assert_int_equal(guest_device_config(t->guest, 2, 2), 25);
    virtio_console_resize(t->guest->dev, 132, 43);
    assert_int_equal(t->guest->messages[0], 1);
    assert_int_equal(guest_device_config(t->guest, 0, 4), 43 << 16 | 132);
    guest_write(t->guest, t->guest->config + offsetof(struct virtio_console_config, emerg_wr), 4, '!');
    assert_int_equal(t->line.text[0], '!');
}

static void test_rng(void **state)
{
    struct small_test *t = small_new();
    guest_attach(t->guest, &virtio_rng_type, &t->rng);
    guest_start(t->guest, ~UINT64_C(0), 1);
    struct guest_buffer buffer = {guest_allocate(t->guest, 64), 64, true};
    assert_int_equal(guest_transact(t->guest, 0, &buffer, 1), 64);
    static const uint8_t zeros[64];
    assert_memory_not_equal(guest_pointer(t->guest, buffer.address, 64), zeros, 64);
    guest_migrate(t->guest, &virtio_rng_type, &t->rng);
    buffer.size = 1u << 20; /* however much is asked for, a turn is short */
    buffer.address = 0x200000;
    assert_in_range(guest_transact(t->guest, 0, &buffer, 1), 1, 4096);
    buffer.writable = false;
    guest_add(t->guest, 0, &buffer, 1);
    guest_notify(t->guest, 0);
    guest_settle(t->guest);
    assert_true(guest_status(t->guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    guest_free(t->guest);
    free(t);
}

static void balloon_changed(void *ctx, uint64_t bytes)
{
    ((struct small_test *)ctx)->changed = bytes;
}

static uint64_t used_by_memory(struct guest *guest)
{
    struct stat st;
    assert_int_equal(fstat(guest->memory->fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void test_balloon(void **state)
{
    struct small_test *t = small_new();
    struct guest *guest = t->guest;
    t->balloon = (struct virtio_balloon_device_config){.changed = balloon_changed, .ctx = t};
    guest_attach(guest, &virtio_balloon_type, &t->balloon);
    guest_start(guest, ~UINT64_C(0), 2);
    virtio_balloon_set_target(guest->dev, MIB(1));
    assert_int_equal(guest->messages[0], 1);
    assert_int_equal(guest_device_config(guest, 0, 4), 256);

    memset(guest_pointer(guest, 0x200000, 0x100000), 0x77, 0x100000);
    uint32_t pages[258];
    for (uint32_t i = 0; i < 256; i++)
        pages[i] = 0x2ff - i; /* downwards, as Linux does at times */
    pages[256] = UINT32_MAX; /* not RAM: ignored */
    pages[257] = GUEST_RAM >> 12;
    struct guest_buffer buffer = {guest_allocate(guest, sizeof(pages)), sizeof(pages), false};
    memcpy(guest_pointer(guest, buffer.address, sizeof(pages)), pages, sizeof(pages));
    uint64_t before = used_by_memory(guest);
    memory_dirty_start(guest->memory);
    assert_int_equal(guest_transact(guest, 0, &buffer, 1), 0);
    assert_int_equal(used_by_memory(guest), before - MIB(1));
    assert_int_equal(*(uint8_t *)guest_pointer(guest, 0x2fffff, 1), 0);
    uint64_t bitmap[GUEST_RAM / 4096 / 64];
    assert_true(memory_dirty_fetch(guest->memory, bitmap) >= 256);
    memory_dirty_stop(guest->memory);

    guest_write(guest, guest->config + offsetof(struct virtio_balloon_config, actual), 4, 256);
    assert_int_equal(virtio_balloon_actual(guest->dev), MIB(1));
    assert_int_equal(t->changed, MIB(1));
    assert_int_equal(guest_transact(guest, 1, &buffer, 1), 0);
    guest_migrate(guest, &virtio_balloon_type, &t->balloon);
    assert_int_equal(virtio_balloon_actual(guest->dev), MIB(1));
    assert_int_equal(guest_device_config(guest, 0, 4), 256);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(t->changed, 0);
    guest_free(guest);
    free(t);
}

int main(void)
{
#define CONSOLE(f) cmocka_unit_test_setup_teardown(f, setup_console, teardown)
    const struct CMUnitTest tests[] = {
        CONSOLE(test_console_output),
        CONSOLE(test_console_output_goes_on_where_it_stopped),
        CONSOLE(test_console_input),
        CONSOLE(test_console_size_and_emergency_write),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_balloon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
