# SPDX-License-Identifier: GPL-2.0-or-later
# Says that it is up, then sleeps for ever.
.include "guest.inc"
    print_char $'u'
    print_char $'p'
    print_char $'\n'
    stand
