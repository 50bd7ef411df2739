# SPDX-License-Identifier: GPL-2.0-or-later
# Prints what CPUID returns, a line for each leaf and subleaf, and a line "end"; again for each byte from the serial port.
.include "guest.inc"
print:
    mov $ranges, %esi
range:
    mov (%esi), %edi            # leaf
leaf:
    movl $0, subleaf
next:
    mov %edi, %eax
    call hexadecimal
    mov subleaf, %eax
    call hexadecimal
    mov %edi, %eax
    mov subleaf, %ecx
    cpuid
    mov %ebx, registers
    mov %ecx, registers + 4
    mov %edx, registers + 8
    call hexadecimal
    mov registers, %eax
    call hexadecimal
    mov registers + 4, %eax
    call hexadecimal
    mov registers + 8, %eax
    call hexadecimal
    print_char $'\n'
    incl subleaf
    mov subleaf, %eax
    cmp 8(%esi), %eax
    jb next
    inc %edi
    cmp 4(%esi), %edi
    jbe leaf
    add $12, %esi
    cmp $ranges_end, %esi
    jb range
    print_char $'e'
    print_char $'n'
    print_char $'d'
    print_char $'\n'
wait:
    mov $(COM1 + 5), %dx
    in %dx, %al
    test $1, %al
    jz wait
    mov $COM1, %dx
    in %dx, %al
    jmp print

# EAX as eight digits and a blank. Changes EAX, ECX, EDX, EBX.
hexadecimal:
    mov $8, %ecx
    mov $COM1, %dx
    mov %eax, %ebx
digit:
    rol $4, %ebx
    mov %ebx, %eax
    and $15, %eax
    mov digits(%eax), %al
    out %al, %dx
    loop digit
    mov $' ', %al
    out %al, %dx
    ret

digits: .ascii "0123456789abcdef"
.align 4
# first leaf, last leaf, subleaves
ranges:
    .long 0, 3, 1
    .long 4, 4, 5
    .long 5, 6, 1
    .long 7, 7, 3
    .long 8, 10, 1
    .long 11, 11, 3
    .long 13, 13, 10
    .long 0x14, 0x1e, 1
    .long 0x1f, 0x1f, 3
    .long 0x40000000, 0x40000001, 1
    .long 0x40000010, 0x40000010, 1
    .long 0x80000000, 0x80000021, 1
ranges_end:
subleaf: .long 0
registers: .long 0, 0, 0
