# SPDX-License-Identifier: GPL-2.0-or-later
# Ends through the test devices' exit port: the process's exit code is (21 << 1) | 1 = 43.
.include "guest.inc"
    mov $21, %al
    out %al, $TEST_EXIT
    print_char $'!'
    stand
