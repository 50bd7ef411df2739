/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a device: made, reset, saved, loaded, freed. */
#include "bus/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "state/section.h"

int dev_new(const struct dev_type *type, uint32_t instance, const struct dev_env *env, const void *config,
            struct dev **ret_dev, struct err *err)
{
    struct dev *dev = calloc(1, type->size);
    if (dev == NULL)
        return err_set(err, -ENOMEM, "no memory for device %s", type->name);
    dev->type = type;
    dev->env = env;
    dev->instance = instance;
    int r = type->init != NULL ? type->init(dev, config, err) : 0;
    if (r < 0) {
        dev_free(dev);
        return r;
    }
    dev_reset(dev);
    *ret_dev = dev;
    return 0;
}

void dev_free(struct dev *dev)
{
    if (dev == NULL)
        return;
    if (dev->type->fini != NULL)
        dev->type->fini(dev);
    free(dev);
}

void dev_reset(struct dev *dev)
{
    if (dev->type->reset != NULL)
        dev->type->reset(dev);
}

int dev_save(struct dev *dev, struct buffer *out)
{
    if (dev->type->saving != NULL)
        dev->type->saving(dev);
    return section_write(out, dev->type->name, dev->instance, dev->type->version, dev->type->fields, dev_state(dev));
}

void dev_set_running(struct dev *dev, bool running)
{
    if (dev->type->set_running != NULL)
        dev->type->set_running(dev, running);
}

static int check_identity(const struct dev *dev, const struct section *section, struct err *err)
{
    const struct dev_type *type = dev->type;
    if (!text_equal(section->name, type->name) || section->instance != dev->instance)
        return err_set(err, -EINVAL, "the saved state of %s %u was offered to device %s %u", section->name,
                       section->instance, type->name, dev->instance);
    return section_check_version(section, type->version, err);
}

int dev_load(struct dev *dev, const struct section *section, struct err *err)
{
    const struct dev_type *type = dev->type;
    int r = check_identity(dev, section, err);
    if (r < 0 || type->fields == NULL)
        return r;
    void *state = malloc(type->state_size);
    if (state == NULL)
        return err_set(err, -ENOMEM, "no memory to load the state of %s %u", type->name, dev->instance);
    memcpy(state, dev_state(dev), type->state_size);
    r = section_read(section, type->fields, state, type->state_size, err);
    if (r == 0 && type->check != NULL) {
        r = type->check(dev, state, err);
        if (r < 0)
            err_prefix(err, "the saved state of %s %u can't be right", type->name, dev->instance);
    }
    if (r == 0) {
        memcpy(dev_state(dev), state, type->state_size);
        if (type->loaded != NULL)
            type->loaded(dev);
    }
    free(state);
    return r;
}
