/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A firmware configuration port with three numbers: RAM size (key 3), CPUs (5), and an upper limit of memory for test
 * programs (0x11, 0 = none). Selector 16 bits at offset 0, data bytes at offset 1. Section "fw-cfg". */
#ifndef FERRY_DEVICES_PC_FW_CFG_H
#define FERRY_DEVICES_PC_FW_CFG_H

#include "bus/dev.h"

struct fw_cfg_config {
    uint64_t memory; /* bytes of RAM */
    uint16_t cpus;
};

extern const struct dev_type fw_cfg_type; /* window 0: 2 ports, 0x510 */

#endif
