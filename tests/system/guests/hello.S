# SPDX-License-Identifier: GPL-2.0-or-later
# Says hello on the serial port and powers off by ACPI.
.include "guest.inc"
    print_char $'h'
    print_char $'i'
    print_char $'\n'
    power_off
    print_char $'!' # never: the power is off
    stand
