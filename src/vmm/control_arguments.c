/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments of QMP commands. */
#include "vmm/control_arguments.h"

#include <errno.h>

#include "base/err.h"
#include "base/text.h"

int control_check_keys(json_t *arguments, const char *const allowed[], struct err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach (arguments, key, value) {
        unsigned i = 0;

        while (allowed[i] != NULL && !text_equal(allowed[i], key))
            i++;
        if (allowed[i] == NULL)
            return err_set(err, -EINVAL, "Parameter '%.64s' is unexpected", key);
    }
    return 0;
}

int control_get_text(json_t *arguments, const char *key, bool needed, const char **ret_text, struct err *err)
{
    json_t *value = json_object_get(arguments, key);

    if (value == NULL && needed)
        return err_set(err, -EINVAL, "Parameter '%s' is missing", key);
    if (value != NULL && !json_is_string(value))
        return err_set(err, -EINVAL, "Invalid parameter type for '%s', expected: string", key);
    *ret_text = value != NULL ? json_string_value(value) : NULL;
    return 0;
}

int control_get_flag(json_t *arguments, const char *key, bool *ret_value, struct err *err)
{
    json_t *value = json_object_get(arguments, key);

    if (value != NULL && !json_is_boolean(value))
        return err_set(err, -EINVAL, "Invalid parameter type for '%s', expected: boolean", key);
    *ret_value = json_is_true(value);
    return 0;
}
