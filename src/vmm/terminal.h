/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user's terminal while a VM has it: raw mode, the Ctrl-A escapes, and a restore that no way out can miss. */
#ifndef FERRY_VMM_TERMINAL_H
#define FERRY_VMM_TERMINAL_H

#include <stdbool.h>

struct character;

/* Remembers how standard input, output and error are set, and has it restored at exit and in crashes (SIGSEGV, SIGBUS, SIGILL,
 * SIGFPE, SIGABRT, which then take their usual course). Once per process, before anything changes them. */
void terminal_guard(void);

/* Puts things back as terminal_guard() found them. Async-signal-safe; may be called at any time, any number of times. */
void terminal_restore(void);

/* Standard input to raw mode, if it is a terminal. Returns whether it is. */
bool terminal_raw(void);

/* Puts the escapes in front of a serial port's backend: Ctrl-A x calls quit(ctx), Ctrl-A h prints the keys,
 * Ctrl-A Ctrl-A passes one Ctrl-A, everything else behind Ctrl-A is dropped. Owns inner on success. -ENOMEM. */
int terminal_new(struct character *inner, void (*quit)(void *ctx), void *ctx, struct character **ret_character);

#endif
