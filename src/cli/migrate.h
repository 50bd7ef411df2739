/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verb migrate: sends a VM to another host and shows how it goes. */
#ifndef FERRY_CLI_MIGRATE_H
#define FERRY_CLI_MIGRATE_H

/* argv[0] is the verb. Returns the exit code: 0 when the VM is there, 1 when it runs on here, 2 for bad input, 3 when
 * where it is has to be settled. */
int migrate_main(int argc, char *argv[]);

#endif
