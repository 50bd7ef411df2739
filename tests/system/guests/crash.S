# SPDX-License-Identifier: GPL-2.0-or-later
# A triple fault: an exception without an interrupt table.
.include "guest.inc"
    mov $0x12345678, %ebx
    lidt empty
    ud2
    stand
empty:
    .word 0
    .long 0
