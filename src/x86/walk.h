/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page walk: linear to guest-physical, with every access rule (Intel SDM vol. 3 ch. 4): 32-bit, PAE and 4-level paging,
 * U/S, R/W, NX, WP, SMEP, SMAP, protection keys, reserved bits; sets accessed and dirty bits atomically. */
#ifndef FERRY_X86_WALK_H
#define FERRY_X86_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct memory;

enum { /* page-fault error code (SDM vol. 3 section 4.7) */
    X86_PF_PRESENT = 1 << 0, X86_PF_WRITE = 1 << 1, X86_PF_USER = 1 << 2, X86_PF_RESERVED = 1 << 3, X86_PF_FETCH = 1 << 4,
    X86_PF_KEY = 1 << 5,
};

struct x86_walk {
    uint64_t cr0, cr3, cr4, efer;
    uint32_t pkru, pkrs;
    unsigned physical_bits;  /* MAXPHYADDR */
    bool gigabyte_pages;     /* offered by CPUID */
    /* The access. */
    bool write, fetch;
    bool user;               /* made with CPL 3 rights: explicit access at CPL 3 */
    bool smap_off;           /* EFLAGS.AC set and the access is explicit */
    bool looks_only;         /* sets no accessed and dirty bits */
};

struct x86_translation {
    uint64_t physical;       /* of the 4 KiB page that holds the address */
    unsigned page_shift;     /* 12, 21, 22 or 30 */
    bool writable;           /* what this kind of accessor may do, all rules applied */
    bool readable, executable;
    bool global, dirty;      /* dirty: a write needs no walk to set the bit */
    bool keyed;              /* a protection key other than 0 has its say in readable and writable */
};

/* 0 with ret filled (and A/D bits set for this access); or the page-fault error code with bit 31 set, nothing changed. */
uint32_t x86_walk(struct memory *memory, const struct x86_walk *walk, uint64_t linear, struct x86_translation *ret);
#define X86_WALK_FAULT UINT32_C(0x80000000)

#endif
