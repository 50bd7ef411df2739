/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user's terminal: raw mode, escapes, restore. */
#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "backend/character.h"
#include "base/bits.h"

/* One process has one terminal, and signal handlers can reach nothing but globals. */
static struct {
    bool guarded, is_terminal;
    struct termios settings;
    int flags[3];
} saved;

void terminal_restore(void)
{
    int kept = errno;

    if (!saved.guarded)
        return;
    for (int fd = 0; fd < 3; fd++) {
        if (saved.flags[fd] >= 0)
            fcntl(fd, F_SETFL, saved.flags[fd]);
    }
    if (saved.is_terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved.settings);
    errno = kept;
}

static void crashed(int signal_number)
{
    terminal_restore();
    raise(signal_number); /* SA_RESETHAND has put the default back */
}

void terminal_guard(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_RESETHAND | SA_NODEFER};

    for (int fd = 0; fd < 3; fd++)
        saved.flags[fd] = fcntl(fd, F_GETFL);
    saved.is_terminal = tcgetattr(STDIN_FILENO, &saved.settings) == 0;
    saved.guarded = true;
    atexit(terminal_restore);
    for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &action, NULL);
}

bool terminal_raw(void)
{
    struct termios raw = saved.settings;

    if (!saved.is_terminal)
        return false;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST; /* our own messages end lines by \n; a guest's \r\n is not harmed */
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    return true;
}

#define ESCAPE 0x01 /* Ctrl-A */

struct terminal {
    struct character character; /* what the device sees */
    struct character *inner;
    bool escaped;
    void (*quit)(void *ctx);
    void *quit_ctx;
};

static size_t terminal_write(struct character *character, const void *data, size_t size)
{
    struct terminal *terminal = CONTAINER_OF(character, struct terminal, character);

    return terminal->inner->write(terminal->inner, data, size);
}

static void terminal_resume(struct character *character)
{
    struct terminal *terminal = CONTAINER_OF(character, struct terminal, character);

    if (terminal->inner->resume != NULL)
        terminal->inner->resume(terminal->inner);
}

static void terminal_free(struct character *character)
{
    struct terminal *terminal = CONTAINER_OF(character, struct terminal, character);

    terminal->inner->free(terminal->inner);
    free(terminal);
}

static void print_keys(struct terminal *terminal)
{
    static const char keys[] = "\r\nCtrl-A x  end the VM\r\nCtrl-A h  this text\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

    terminal->inner->write(terminal->inner, keys, sizeof(keys) - 1);
}

static size_t to_device(struct terminal *terminal, const uint8_t *data, size_t size)
{
    return terminal->character.input != NULL ? terminal->character.input(terminal->character.device, data, size) : size;
}

/* Handles the byte behind Ctrl-A. false: the device has no room for it now. */
static bool terminal_key(struct terminal *terminal, uint8_t key)
{
    if (key == ESCAPE && to_device(terminal, &key, 1) == 0)
        return false;
    terminal->escaped = false;
    if (key == 'x' || key == 'X')
        terminal->quit(terminal->quit_ctx);
    else if (key == 'h' || key == 'H' || key == '?')
        print_keys(terminal);
    return true;
}

static size_t terminal_input(void *device, const uint8_t *data, size_t size)
{
    struct terminal *terminal = device;
    size_t done = 0;

    while (done < size) {
        const uint8_t *escape = memchr(data + done, ESCAPE, size - done);
        size_t plain = escape != NULL ? (size_t)(escape - (data + done)) : size - done;
        size_t taken;

        if (terminal->escaped) {
            if (!terminal_key(terminal, data[done]))
                return done;
            done++;
            continue;
        }
        taken = plain > 0 ? to_device(terminal, data + done, plain) : 0;
        done += taken;
        if (taken < plain)
            return done;
        if (escape != NULL) {
            terminal->escaped = true;
            done++;
        }
    }
    return done;
}

static void terminal_writable(void *device)
{
    struct terminal *terminal = device;

    if (terminal->character.writable != NULL)
        terminal->character.writable(terminal->character.device);
}

int terminal_new(struct character *inner, void (*quit)(void *ctx), void *ctx, struct character **ret_character)
{
    struct terminal *terminal = calloc(1, sizeof(*terminal));

    if (terminal == NULL)
        return -ENOMEM;
    terminal->character = (struct character){.write = terminal_write, .resume = terminal_resume, .free = terminal_free};
    terminal->inner = inner;
    terminal->quit = quit;
    terminal->quit_ctx = ctx;
    inner->device = terminal;
    inner->input = terminal_input;
    inner->writable = terminal_writable;
    *ret_character = &terminal->character;
    return 0;
}
