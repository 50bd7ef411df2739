/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the 8259 pair. */
#include "device_fuzz.h"

#include "devices/pc/pic.h"

static struct dev *secondary;

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);

    if ((what & 0xc0) == 0)
        pic_acknowledge(f->dev);
    else if ((what & 0xc0) == 0x40)
        secondary->type->write(secondary, what & 1, what >> 1 & 1, 1, fuzz_take(in, 1));
    else
        pic_set_line((what & 0x20) != 0 ? secondary : f->dev, what & 7, (what & 8) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{PIC_WINDOW_COMMAND, 2}, {PIC_WINDOW_ELCR, 1}}, .own = own};
    struct pic_config config = {.output = {.set = fuzz_line}};

    fuzz_prepare(&f);
    if (dev_new(&pic_type, 1, &f.env, NULL, &secondary, NULL) < 0)
        return 0;
    config.secondary = secondary;
    fuzz_run(&f, &pic_type, &config, data, size);
    dev_free(secondary);
    return 0;
}
