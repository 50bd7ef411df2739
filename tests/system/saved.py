# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes saved state apart and puts it together again, changed: docs/formats/state.md."""
import struct

SECTION = struct.Struct("<IHBBII")
FIELD = struct.Struct("<HHI")
FILE = struct.Struct("<8sQQ")
MAGIC = 0x54435346


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


class Section:
    """name, instance, version; fields: tag -> (width, contents)."""

    def __init__(self, name, instance, version, body):
        self.name, self.instance, self.version, self.fields = name, instance, version, {}
        while body:
            tag, width, size = FIELD.unpack_from(body)
            self.fields[tag] = (width, body[FIELD.size:FIELD.size + size])
            body = body[FIELD.size + size:]

    def pack(self):
        body = b"".join(FIELD.pack(tag, width, len(contents)) + contents for tag, (width, contents) in self.fields.items())
        data = SECTION.pack(MAGIC, self.version, len(self.name), 0, self.instance, len(body)) + self.name.encode() + body
        return data + struct.pack("<I", crc32c(data))

    def numbers(self, tag):
        width, contents = self.fields[tag]
        return [int.from_bytes(contents[i:i + width], "little") for i in range(0, len(contents), width)]

    def set_numbers(self, tag, width, numbers):
        self.fields[tag] = (width, b"".join(number.to_bytes(width, "little") for number in numbers))


def unpack(data):
    """The sections of a stream."""
    sections = []
    while data:
        magic, version, length, _, instance, size = SECTION.unpack_from(data)
        assert magic == MAGIC
        name = data[SECTION.size:SECTION.size + length].decode()
        start = SECTION.size + length
        sections.append(Section(name, instance, version, data[start:start + size]))
        data = data[start + size + 4:]
    return sections


def pack(sections):
    return b"".join(section.pack() for section in sections)


def change_file(data, change):
    """A saved VM whose sections were given to change(), which returns those that are to be there."""
    magic, memory, size = FILE.unpack_from(data)
    sections = pack(change(unpack(data[FILE.size:FILE.size + size])))
    return FILE.pack(magic, memory, len(sections)) + sections + data[FILE.size + size:]
