/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferryd: the host's daemon. */
#include "base/err.h"
#include "base/log.h"
#include "daemon/daemon.h"

/* The journal reads a line's level from a number in front of it (sd-daemon(3)). */
static void write_to_journal(void *ctx, enum log_level level, const char *line)
{
    static const int priorities[] = {3, 4, 6, 7};

    fprintf(stderr, "<%d>%s\n", priorities[level], line);
}

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
        if (getenv("JOURNAL_STREAM") != NULL)
            log_set_sink(write_to_journal, NULL);
        log_set_level(config.verbose ? LOG_INFO : LOG_WARNING);
        r = daemon_run(&config);
    }
    daemon_config_fini(&config);
    return r;
}
