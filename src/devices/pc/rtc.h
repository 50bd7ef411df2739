/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 real-time clock with 128 bytes of CMOS memory. Section "rtc".
 *
 * Its time is the host's wall clock plus an offset that the guest's settings change and that is saved, so a VM that
 * stood still or moved shows the right time. Time of day is UTC unless the board's wall clock says otherwise. */
#ifndef FERRY_DEVICES_PC_RTC_H
#define FERRY_DEVICES_PC_RTC_H

#include "bus/dev.h"

enum { RTC_CENTURY = 0x32 }; /* CMOS index of the century, for the FADT */

struct rtc_config {
    struct irq_line irq;
    void *ctx;
    int64_t (*wall_clock)(void *ctx); /* nanoseconds since 1970-01-01 00:00 */
    uint64_t memory_low;              /* bytes of RAM below 4 GiB, for firmware */
    uint64_t memory_high;             /* and above */
};

extern const struct dev_type rtc_type; /* window 0: ports 0x70 and 0x71 */

#endif
