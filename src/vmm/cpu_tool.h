/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `ferry cpu list|describe|baseline`: which CPU models there are, what this host can offer, what several hosts share. */
#ifndef FERRY_VMM_CPU_TOOL_H
#define FERRY_VMM_CPU_TOOL_H

struct err;

/* argv[0] is the verb behind "cpu". Prints to standard output. A negative errno with a sentence on failure. */
int cpu_tool(int argc, char *const argv[], struct err *err);

#endif
