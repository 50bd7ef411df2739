# SPDX-License-Identifier: GPL-2.0-or-later
# Echoes what it gets on the serial port, one higher; powers off on q.
.include "guest.inc"
    print_char $'>'
next:
    mov $(COM1 + 5), %dx
    in %dx, %al
    test $1, %al
    jz next
    mov $COM1, %dx
    in %dx, %al
    cmp $'q', %al
    je done
    inc %al
    out %al, %dx
    jmp next
done:
    print_char $'\n'
    power_off
    stand
