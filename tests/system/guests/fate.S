# SPDX-License-Identifier: GPL-2.0-or-later
# Prints > and writes its memory over and over until a key comes: o powers it off, r resets it, p makes it crash by a triple fault; any
# other one makes it print the letter of its next turn.
.include "guest.inc"
.set FIRST, 0x400000
.set END, 0xc00000
    mov $'a', %ebx
    print_char $'>'
pass:
    mov $FIRST, %edi
page:
    incl (%edi)
    add $4096, %edi
    cmp $END, %edi
    jb page
    mov $(COM1 + 5), %dx
    in %dx, %al
    test $1, %al
    jz pass
    mov $COM1, %dx
    in %dx, %al
    cmp $'o', %al
    je off
    cmp $'r', %al
    je again
    cmp $'p', %al
    je panic
    mov %bl, %al
    out %al, %dx
    inc %ebx
    jmp pass
off:
    power_off
    stand
again:
    mov $RESET, %dx
    mov $6, %al
    out %al, %dx
    stand
panic:
    lidt empty
    ud2
    stand
empty:
    .word 0
    .long 0
