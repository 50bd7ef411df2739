# SPDX-License-Identifier: GPL-2.0-or-later
# Unmasks SIMD exceptions and divides by zero: #XM (vector 19) must come to the guest, and ends it by the test devices' exit port
# with 7. The trap behind it is the host's, taken by a thread that is confined.
.include "guest.inc"
    mov %cr4, %eax
    or $0x600, %eax             # OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    lgdt gdt_pointer
    ljmp $8, $1f
1:  mov $16, %ax
    mov %ax, %ds
    mov %ax, %ss
    movl $handler, %eax
    mov %ax, idt + 19 * 8
    movw $8, idt + 19 * 8 + 2
    movw $0x8e00, idt + 19 * 8 + 4
    shr $16, %eax
    mov %ax, idt + 19 * 8 + 6
    lidt idt_pointer
    ldmxcsr mxcsr
    movl $0x3f800000, number    # 1.0
    movss number, %xmm0
    xorps %xmm1, %xmm1
    divss %xmm1, %xmm0
    mov $1, %al
    out %al, $TEST_EXIT
    stand
handler:
    mov $7, %al
    out %al, $TEST_EXIT
    stand
.align 8
gdt:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 20 * 8 - 1
    .long idt
mxcsr:
    .long 0x1d80 & ~0x280        # invalid operation and division by zero unmasked
number:
    .long 0
.align 8
idt:
    .fill 20, 8, 0
