/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The decoder of payloads by their layouts. */
#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "protocol/rpc.h"

struct decoder {
    struct xdr_reader *reader;
    struct arena *arena;
};

static const char *string(struct decoder *decoder, size_t max)
{
    size_t size = 0;
    const uint8_t *data = xdr_get_opaque(decoder->reader, max, &size);
    const char *text = NULL;

    /* A NUL inside would make two sides see two different strings. */
    if (data != NULL && memchr(data, 0, size) == NULL)
        text = arena_text(decoder->arena, data, size);
    if (text == NULL)
        decoder->reader->failed = true;
    return text;
}

static bool present(struct decoder *decoder)
{
    uint32_t word = xdr_get_u32(decoder->reader);

    if (word > 1)
        decoder->reader->failed = true;
    return word == 1;
}

/* An array's number of elements; each takes four bytes at least. */
static size_t count(struct decoder *decoder)
{
    uint32_t number = xdr_get_u32(decoder->reader);

    if (number > RPC_LIST_MAX || number > decoder->reader->size / 4)
        decoder->reader->failed = true;
    return decoder->reader->failed ? 0 : number;
}

static void *allocate(struct decoder *decoder, size_t size)
{
    void *memory = arena_alloc(decoder->arena, size);

    if (memory == NULL)
        decoder->reader->failed = true;
    return memory;
}

/* Opaque bytes are copied: the packet does not live as long as the call. */
static const uint8_t *copy(struct decoder *decoder, const uint8_t *data, size_t size)
{
    uint8_t *memory = data != NULL ? (uint8_t *)arena_text(decoder->arena, data, size) : NULL;

    if (memory == NULL)
        decoder->reader->failed = true;
    return memory;
}

static void get_uuid(struct decoder *decoder, uint8_t ret_uuid[16])
{
    const uint8_t *data = xdr_get_fixed(decoder->reader, 16);

    if (data != NULL)
        memcpy(ret_uuid, data, 16);
}

static void get_object(struct decoder *decoder, char kind, struct rpc_object *object)
{
    object->id = -1;
    if (kind == 'V')
        object->pool = string(decoder, XDR_STRING_MAX);
    object->name = string(decoder, XDR_STRING_MAX);
    if (kind == 'V' || kind == 'R')
        object->key = string(decoder, XDR_STRING_MAX);
    if (kind != 'V')
        get_uuid(decoder, object->uuid);
    if (kind == 'D' || kind == 'R')
        object->id = (int32_t)xdr_get_u32(decoder->reader);
}

static void get_param(struct decoder *decoder, struct rpc_param *param)
{
    uint64_t bits;

    param->name = string(decoder, RPC_PARAM_NAME_MAX);
    param->type = xdr_get_u32(decoder->reader);
    switch (param->type) {
    case RPC_PARAM_INT:
        param->i = (int32_t)xdr_get_u32(decoder->reader);
        break;
    case RPC_PARAM_UINT:
    case RPC_PARAM_BOOL:
        param->u = xdr_get_u32(decoder->reader);
        break;
    case RPC_PARAM_LLONG:
    case RPC_PARAM_ULLONG:
        param->u = xdr_get_u64(decoder->reader);
        break;
    case RPC_PARAM_DOUBLE:
        bits = xdr_get_u64(decoder->reader);
        memcpy(&param->d, &bits, sizeof(bits));
        break;
    case RPC_PARAM_STRING:
        param->s = string(decoder, XDR_STRING_MAX);
        break;
    default:
        decoder->reader->failed = true;
    }
}

static void get_params(struct decoder *decoder, struct rpc_value *value)
{
    size_t number = count(decoder);
    struct rpc_param *params = allocate(decoder, number * sizeof(*params));

    for (size_t i = 0; i < number && !decoder->reader->failed; i++)
        get_param(decoder, &params[i]);
    value->params.param = params;
    value->params.count = number;
}

static const char *get_value(struct decoder *decoder, const char *layout, struct rpc_value *value);

/* Number of fields up to the closing bracket, which *ret_end is set behind. */
static size_t width_of(const char *layout, const char **ret_end)
{
    size_t width = 0;
    unsigned depth = 1;

    for (; depth > 0; layout++) {
        if (*layout == '[')
            width += depth++ == 1;
        else if (*layout == ']')
            depth--;
        else if (depth == 1 && *layout != ' ' && *layout != '?')
            width++;
    }
    *ret_end = layout;
    return width;
}

/* layout stands behind the opening bracket; returns where it goes on. */
static const char *get_list(struct decoder *decoder, const char *layout, struct rpc_value *value)
{
    const char *end;
    size_t width = width_of(layout, &end), number = count(decoder);
    struct rpc_value *items = allocate(decoder, number * width * sizeof(*items));

    for (size_t i = 0; i < number && !decoder->reader->failed; i++) {
        const char *at = layout;

        for (size_t k = 0; k < width; k++)
            at = get_value(decoder, at, &items[i * width + k]);
    }
    value->list.items = items;
    value->list.count = number;
    value->list.width = width;
    return end;
}

static void get_scalar(struct decoder *decoder, char kind, struct rpc_value *value)
{
    struct rpc_object *object;

    switch (kind) {
    case 'i':
    case 'u':
        value->u = xdr_get_u32(decoder->reader);
        break;
    case 'h':
    case 'H':
        value->H = xdr_get_u64(decoder->reader);
        break;
    case 's':
        value->s = string(decoder, XDR_STRING_MAX);
        break;
    case 'S':
        value->s = present(decoder) ? string(decoder, XDR_STRING_MAX) : NULL;
        break;
    case 'o':
        value->bytes.data = xdr_get_opaque(decoder->reader, XDR_STRING_MAX, &value->bytes.size);
        value->bytes.data = copy(decoder, value->bytes.data, value->bytes.size);
        break;
    case 'x':
        value->uuid = copy(decoder, xdr_get_fixed(decoder->reader, 16), 16);
        break;
    case 'M':
        value->bytes.data = copy(decoder, xdr_get_fixed(decoder->reader, 128), 128);
        value->bytes.size = 128;
        break;
    case 'T':
        get_params(decoder, value);
        break;
    default:
        object = allocate(decoder, sizeof(*object));
        if (object != NULL)
            get_object(decoder, kind, object);
        value->object = object;
    }
}

/* Decodes one field; returns where the layout goes on. */
static const char *get_value(struct decoder *decoder, const char *layout, struct rpc_value *value)
{
    bool there = true;

    while (*layout == ' ')
        layout++;
    if (*layout == '?') {
        there = present(decoder);
        layout++;
    }
    if (*layout == '[')
        return get_list(decoder, layout + 1, value);
    if (there)
        get_scalar(decoder, *layout, value);
    return layout + 1;
}

int rpc_decode(const char *layout, struct xdr_reader *reader, struct arena *arena, struct rpc_value values[static RPC_VALUES_MAX])
{
    struct decoder decoder = {.reader = reader, .arena = arena};
    int number = 0;

    memset(values, 0, RPC_VALUES_MAX * sizeof(*values));
    for (layout += strspn(layout, " "); *layout != 0; layout += strspn(layout, " "))
        layout = get_value(&decoder, layout, &values[number++]);
    return reader->failed || reader->size != 0 ? -EBADMSG : number;
}
