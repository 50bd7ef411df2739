# SPDX-License-Identifier: GPL-2.0-or-later
# Writes its memory over and over: pass n finds n - 1 in every page of 4 to 12 MiB (in its first and last four bytes) and
# puts n there. A page that was lost or is of another time shows. A key makes it print the letter of its next turn, a to z; '!'
# means that a page was wrong.
.include "guest.inc"
.set FIRST, 0x400000
.set END, 0xc00000
    mov $'a', %ebx
    xor %ebp, %ebp
    mov $FIRST, %edi
clear:
    movl $0, (%edi)
    movl $0, 4092(%edi)
    add $4096, %edi
    cmp $END, %edi
    jb clear
pass:
    mov $FIRST, %edi
    lea 1(%ebp), %ecx
page:
    cmp %ebp, (%edi)
    jne wrong
    cmp %ebp, 4092(%edi)
    jne wrong
    mov %ecx, (%edi)
    mov %ecx, 4092(%edi)
    add $4096, %edi
    cmp $END, %edi
    jb page
    mov %ecx, %ebp
    mov $(COM1 + 5), %dx
    in %dx, %al
    test $1, %al
    jz pass
    mov $COM1, %dx
    in %dx, %al
    mov %bl, %al
    out %al, %dx
    inc %ebx
    jmp pass
wrong:
    print_char $'!'
    print_char $'\n'
    power_off
    stand
