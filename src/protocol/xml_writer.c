/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The writer: elements, attributes and text, escaped. */
#include <errno.h>
#include <stdarg.h>

#include "protocol/xml.h"

void xml_writer_init(struct xml_writer *writer, struct buffer *out)
{
    *writer = (struct xml_writer){.out = out};
}

static void put(struct xml_writer *writer, const char *text, size_t size)
{
    if (writer->result == 0)
        writer->result = buffer_append(writer->out, text, size);
}

static void put_string(struct xml_writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

static void indent(struct xml_writer *writer)
{
    for (unsigned i = 0; i < writer->depth; i++)
        put(writer, "  ", 2);
}

static const char *escape(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '\'':
        return "&apos;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}

/* Other control characters can't stand in an XML document at all, not even escaped. */
static void put_escaped(struct xml_writer *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *replacement = escape(*text);
        if (replacement != NULL)
            put_string(writer, replacement);
        else if ((unsigned char)*text >= ' ' || *text == '\n' || *text == '\t')
            put(writer, text, 1);
    }
}

static void put_formatted(struct xml_writer *writer, const char *format, va_list arguments)
{
    char *text = NULL;
    if (writer->result == 0 && vasprintf(&text, format, arguments) < 0) {
        writer->result = -ENOMEM;
        return;
    }
    if (text != NULL)
        put_escaped(writer, text);
    free(text);
}

static void end_tag(struct xml_writer *writer)
{
    if (writer->in_tag)
        put(writer, ">\n", 2);
    writer->in_tag = false;
}

void xml_open(struct xml_writer *writer, const char *name)
{
    if (writer->depth == XML_DEPTH_MAX && writer->result == 0)
        writer->result = -ENOBUFS;
    if (writer->result < 0)
        return;
    end_tag(writer);
    indent(writer);
    put(writer, "<", 1);
    put_string(writer, name);
    writer->open[writer->depth++] = name;
    writer->in_tag = true;
}

void xml_put(struct xml_writer *writer, const char *attribute, const char *format, ...)
{
    va_list arguments;
    put(writer, " ", 1);
    put_string(writer, attribute);
    put(writer, "='", 2);
    va_start(arguments, format);
    put_formatted(writer, format, arguments);
    va_end(arguments);
    put(writer, "'", 1);
}

void xml_close(struct xml_writer *writer)
{
    if (writer->result < 0 || writer->depth == 0)
        return;
    const char *name = writer->open[--writer->depth];
    if (writer->in_tag) {
        put(writer, "/>\n", 3);
    } else {
        indent(writer);
        put(writer, "</", 2);
        put_string(writer, name);
        put(writer, ">\n", 2);
    }
    writer->in_tag = false;
}

void xml_close_text(struct xml_writer *writer, const char *format, ...)
{
    va_list arguments;
    if (writer->result < 0 || writer->depth == 0)
        return;
    put(writer, ">", 1);
    va_start(arguments, format);
    put_formatted(writer, format, arguments);
    va_end(arguments);
    put(writer, "</", 2);
    put_string(writer, writer->open[--writer->depth]);
    put(writer, ">\n", 2);
    writer->in_tag = false;
}

void xml_text(struct xml_writer *writer, const char *name, const char *format, ...)
{
    va_list arguments;
    end_tag(writer);
    indent(writer);
    put(writer, "<", 1);
    put_string(writer, name);
    put(writer, ">", 1);
    va_start(arguments, format);
    put_formatted(writer, format, arguments);
    va_end(arguments);
    put(writer, "</", 2);
    put_string(writer, name);
    put(writer, ">\n", 2);
}

void xml_raw(struct xml_writer *writer, const char *xml)
{
    if (xml == NULL)
        return;
    end_tag(writer);
    indent(writer);
    put_string(writer, xml);
    put(writer, "\n", 1);
}

int xml_writer_end(struct xml_writer *writer)
{
    return writer->result;
}
