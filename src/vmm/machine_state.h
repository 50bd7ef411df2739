/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A whole VM in a file: saved while it stands, continued on either engine.
 *
 * The file: a header, the sections of machine, CPUs and devices (docs/formats/state.md), then RAM as runs of pages that
 * are not zero. Moving running VMs between hosts is the migration room's; what is sent of their state are the same sections. */
#ifndef FERRY_VMM_MACHINE_STATE_H
#define FERRY_VMM_MACHINE_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "x86/xsave.h"

struct buffer;
struct err;
struct machine;

/* Section "machine": what the VM has beside its CPUs and devices. */
struct machine_state {
    int64_t clock_ns;
    uint64_t guest_clock_ns;
    uint32_t cpus;
    uint8_t halted[ENGINE_CPUS_MAX];
    uint32_t tsc_khz;                             /* 0: not told; then it is this VM's */
    uint16_t xsave_offset[X86_XSTATE_COMPONENTS]; /* struct cpuid_xsave_layout; 0: not told */
};
extern const struct field machine_state_fields[];
#define MACHINE_STATE_VERSION 1

/* Loop thread, lock held; pauses the machine first and leaves it paused. Writes to a temporary file beside path that
 * takes its place at the end: on failure path is as it was. */
int machine_save(struct machine *machine, const char *path, struct err *err);

/* The sections alone, appended to out; and loaded. Loop thread, lock held, the machine not running. When loading fails, machine->unusable
 * is set: it is not to be run. */
int machine_save_sections(struct machine *machine, struct buffer *out, struct err *err);
int machine_load_sections(struct machine *machine, const void *sections, size_t size, struct err *err);

/* Loop thread, lock held, the machine not running. Same devices, CPU count and memory size as when it was saved. On
 * failure the machine is not to be run. */
int machine_load(struct machine *machine, const char *path, struct err *err);

#endif
