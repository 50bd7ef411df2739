/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host side of a serial port or console: bytes out, bytes in. */
#ifndef FERRY_BACKEND_CHARACTER_H
#define FERRY_BACKEND_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;

struct character {
    /* Takes up to size bytes and returns how many it took; it never blocks. What can't be taken now is for the caller to
     * keep or drop; writable() tells when there is room. */
    size_t (*write)(struct character *character, const void *data, size_t size);
    /* The device has room for input again. */
    void (*resume)(struct character *character);
    void (*free)(struct character *character);
    /* Filled by the device: takes input, returns how many bytes it took. In the loop's thread. */
    size_t (*input)(void *device, const uint8_t *data, size_t size);
    void (*writable)(void *device);
    void *device;
    char path[64]; /* pty: the terminal that a person connects to; else empty */
};

/* spec: "stdio", "file:PATH", "fd=N" (a file that is open for writing, and the character's from then on), "pty", "none".
 * stdio: bytes only; raw mode and escapes are the vmm room's, and so is ignoring SIGPIPE. A pty that nobody has opened takes and
 * drops everything, so that no guest waits for a reader. */
int character_open(const char *spec, struct loop *loop, struct character **ret_character, struct err *err);
void character_close(struct character *character); /* accepts NULL */

#endif
