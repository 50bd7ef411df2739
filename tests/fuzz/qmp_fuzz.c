/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: bytes from a client of the control socket. */
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "protocol/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_reader reader;
    struct qmp_command command;
    struct err err = ERR_INIT;
    json_t *message;

    qmp_reader_init(&reader);
    while (size > 0) {
        size_t piece = size > 1 ? 1 + data[0] % (size - 1) : 1;
        int r;

        if (qmp_reader_feed(&reader, data, piece) < 0)
            break;
        data += piece;
        size -= piece;
        while ((r = qmp_reader_next(&reader, &message, &err)) != 0) {
            if (r < 0)
                continue;
            qmp_command_parse(message, &command, &err);
            json_decref(message);
        }
    }
    qmp_reader_fini(&reader);
    return 0;
}
