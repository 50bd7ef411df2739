#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virsh against ferryd: the connection and the host."""
import os
import socket
import stat
import struct
import subprocess
import xml.etree.ElementTree as ElementTree

from interop import BUILD, LIMIT, InteropTest, main, need

need("virsh")


def packet(procedure, payload=b"", serial=0, program=0x20008086):
    return struct.pack(">IIIIIII", 28 + len(payload), program, 1, procedure, 0, serial, 0) + payload


class Connect(InteropTest):
    def test_host(self):
        self.assertEqual(self.virsh("hostname"), os.uname().nodename)
        self.assertIn("QEMU", self.virsh("version", "--daemon"))
        self.assertEqual(self.virsh("uri"), self.daemon.uri)
        self.assertRegex(self.virsh("nodeinfo"), rf"CPU\(s\): +{os.cpu_count()}\b")
        self.assertRegex(self.virsh("nodememstats"), r"total +: +\d+ KiB")
        self.assertRegex(self.virsh("nodecpustats"), r"user: +\d+")
        self.assertRegex(self.virsh("freecell"), r"Total: \d+ KiB")
        self.assertIn("x86-64-v2", self.virsh("cpu-models", "x86_64").split())
        for command in ("nodedev-list", "iface-list --all", "nwfilter-list", "secret-list"):
            self.assertEqual(self.virsh(*command.split()), "")

    def test_capabilities(self):
        capabilities = ElementTree.fromstring(self.virsh("capabilities"))
        self.assertRegex(capabilities.findtext("host/uuid"), r"^[0-9a-f-]{36}$")
        guest = capabilities.find("guest/arch")
        self.assertEqual(guest.get("name"), "x86_64")
        self.assertTrue(os.access(guest.findtext("emulator"), os.X_OK))
        domain = ElementTree.fromstring(self.virsh("domcapabilities"))
        self.assertEqual(domain.findtext("path"), guest.findtext("emulator"))
        self.assertIn("virtio", [value.text for value in domain.findall("devices/disk/enum[@name='bus']/value")])
        self.assertIn("there is no machine q35", self.refused("domcapabilities", "--machine", "q35"))
        uuid = capabilities.findtext("host/uuid")
        self.daemon.end()
        self.daemon.start()
        self.assertIn(uuid, self.virsh("capabilities"))

    def test_read_only(self):
        mode = stat.S_IMODE(os.stat(f"{self.daemon.socket}-ro").st_mode)
        self.assertEqual(mode, 0o666)
        self.assertEqual(stat.S_IMODE(os.stat(self.daemon.socket).st_mode), 0o660)
        self.assertEqual(self.virsh("hostname", readonly=True), os.uname().nodename)

    def test_other_hypervisors_are_refused(self):
        code, _, err = self.daemon.command("-c", self.daemon.uri.replace("qemu+", "xen+"), "hostname")
        self.assertNotEqual(code, 0)
        self.assertIn("serves qemu:///system", err)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(self.daemon.socket))
        return connection

    def answer(self, connection):
        data = b""
        while len(data) < 4 or len(data) < struct.unpack(">I", data[:4])[0]:
            got = connection.recv(65536)
            if not got:
                return None
            data += got
        return data

    def test_broken_packets_end_the_connection_only(self):
        for broken in (b"\0\0\0\x04", b"\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n" * 20):
            with self.connect() as connection:
                connection.sendall(broken)
                while self.answer(connection) is not None:
                    pass
        self.assertEqual(self.virsh("hostname"), os.uname().nodename)

    def test_order_of_the_connection(self):
        with self.connect() as connection:
            connection.sendall(packet(59, serial=1))
            self.assertIn(b"has not been opened", self.answer(connection))
            connection.sendall(packet(4711, serial=2))
            self.assertEqual(struct.unpack(">i", self.answer(connection)[28:32])[0], 3)
            connection.sendall(packet(1, serial=3, payload=b"\xff" * 8))
            self.assertIn(b"Unable to decode", self.answer(connection))
            connection.sendall(packet(1, serial=4, payload=struct.pack(">II", 0, 0)))
            self.assertEqual(len(self.answer(connection)), 28)
            connection.sendall(packet(1, program=0x6b656570)[:12] + struct.pack(">IIII", 1, 2, 0, 0))
            pong = self.answer(connection)
            self.assertEqual(struct.unpack(">IIIIIII", pong)[1:5], (0x6b656570, 1, 2, 2))
            connection.sendall(packet(2, serial=5))
            self.assertEqual(len(self.answer(connection)), 28)
            self.assertIsNone(self.answer(connection))

    def test_second_daemon_is_refused(self):
        done = subprocess.run([BUILD / "ferryd", "--socket-dir", self.place / "s", "--state-dir", self.place / "other", "--run-dir",
                               self.place / "other", "--log-dir", self.place / "other"], stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"another daemon answers", done.stderr)
        done = subprocess.run([BUILD / "ferryd", "--socket-dir", self.place / "t", "--state-dir", self.place / "state", "--run-dir",
                               self.place / "run", "--log-dir", self.place / "log"], stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"another daemon uses {self.place}/run".encode(), done.stderr)


main()
