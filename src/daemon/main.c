/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferryd: the host's daemon. */
#include "base/err.h"
#include "base/log.h"
#include "daemon/daemon.h"

int main(int argc, char *argv[])
{
    struct daemon_config config = {0};
    struct err err = ERR_INIT;
    int r = daemon_options_parse(argc, argv, &config, &err);

    if (r < 0) {
        fprintf(stderr, "ferryd: %s\n", err.message);
        r = 2;
    } else if (r > 0) {
        r = 0;
    } else {
        log_set_level(config.verbose ? LOG_INFO : LOG_WARNING);
        r = daemon_run(&config);
    }
    daemon_config_fini(&config);
    return r;
}
