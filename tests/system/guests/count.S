# SPDX-License-Identifier: GPL-2.0-or-later
# Counts in memory and in a register, printing a letter each turn after waiting for a byte from the serial port, so that a
# test can stop it anywhere and see whether it goes on where it was. Powers off after z.
.include "guest.inc"
    mov $'a', %ebx
    movl $0, counter
    mov $0x1234567, %esi
turn:
    mov $(COM1 + 5), %dx
    in %dx, %al
    test $1, %al
    jz turn
    mov $COM1, %dx
    in %dx, %al
    # the register and the memory must agree, or a ? is printed
    mov counter, %eax
    add $'a', %eax
    cmp %ebx, %eax
    jne wrong
    cmp $0x1234567, %esi
    jne wrong
    out %al, %dx
    incl counter
    inc %ebx
    cmp $'z', %ebx
    jbe turn
    print_char $'\n'
    power_off
    stand
wrong:
    print_char $'?'
    print_char $'\n'
    power_off
    stand
.align 4
counter:
    .long 99
