# SPDX-License-Identifier: GPL-2.0-or-later
# Prints r and resets the machine by port 0xcf9; powers off when it has started for the third time (CMOS counts).
.include "guest.inc"
    print_char $'r'
    mov $0x50, %al
    out %al, $0x70
    in $0x71, %al
    inc %al
    mov %al, %bl
    mov $0x50, %al
    out %al, $0x70
    mov %bl, %al
    out %al, $0x71
    cmp $3, %bl
    jae done
    mov $RESET, %dx
    mov $6, %al
    out %al, %dx
    print_char $'!'
    stand
done:
    print_char $'\n'
    power_off
    stand
