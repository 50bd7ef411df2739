#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: one sentence, exit code 2, nothing left behind."""
import fcntl
import os
import pathlib
import socket
import struct
import subprocess

from system import GUESTS, SystemTest, ferry, main

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


class Errors(SystemTest):
    def refuse(self, expected, *options, kernel=GUESTS / "idle.elf"):
        """ferry run must refuse these options in one sentence that contains the expected words."""
        before = sorted(os.listdir(self.place))
        given = ["--kernel", kernel] if kernel else []
        code, out, errors = ferry("run", "--memory", "16M", "--serial", "none", *given, *options)
        self.assertEqual(code, 2, errors)
        self.assertEqual(out, "")
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertTrue(errors.startswith("ferry: "), errors)
        self.assertIn(expected, errors)
        self.assertEqual(sorted(os.listdir(self.place)), before)

    def file(self, name, data):
        path = self.place / name
        path.write_bytes(data)
        return path

    def test_options(self):
        self.refuse("there are: --name", "--frobnicate")
        self.refuse("there are: auto, kvm, dbt", "--engine", "xen")
        self.refuse("from 1 to", "--cpus", "1000")
        self.refuse("like 512M", "--memory", "lots")
        self.refuse("x86-64-v1", "--cpu", "pentium")
        self.refuse("there are: stdio", "--serial", "telepathy")
        self.refuse("there are: raw", "--disk", "x,format=vmdk")
        self.refuse("nothing to boot", kernel=None)

    def test_memory(self):
        self.refuse("RAM and swap", "--memory", "200T")
        self.refuse("page", "--memory", "16777217B")

    def test_kernel(self):
        self.refuse("missing", kernel=self.place / "missing")
        self.refuse(str(self.place), kernel=self.place)
        self.refuse("garbage", kernel=self.file("garbage", os.urandom(100000)))
        self.refuse("empty", kernel=self.file("empty", b""))
        elf = (GUESTS / "idle.elf").read_bytes()
        self.refuse("short", kernel=self.file("short", elf[:80]))

    def test_initrd(self):
        self.refuse("missing", "--initrd", self.place / "missing")

    def test_disk(self):
        self.refuse("missing", "--disk", self.place / "missing")
        self.refuse(str(self.place), "--disk", self.place)
        self.refuse("2 and 3", "--disk", f"{self.place}/no disks numbered 2 and 3")

    def test_locked_disk(self):
        path = self.file("disk", bytes(4096))
        with open(path, "r+b") as disk:
            fcntl.lockf(disk, fcntl.LOCK_EX)
            self.refuse(str(path), "--disk", path)

    def test_serial_file(self):
        self.refuse("nowhere", "--serial", f"file:{self.place}/nowhere/log")

    def test_control_socket(self):
        self.refuse("nowhere", "--control", self.place / "nowhere" / "socket")
        self.refuse("longer", "--control", self.place / ("x" * 200))
        path = self.place / "busy"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            self.refuse("another process", "--control", path)
        self.refuse("missing", "--control", self.place / "new", "--disk", self.place / "missing")

    def test_network(self):
        self.refuse("nosuch0", "--net", "bridge=nosuch0")
        self.refuse("hostfwd", "--net", "user,hostfwd=nonsense")
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            port = server.getsockname()[1]
            self.refuse(str(port), "--net", f"user,hostfwd=tcp:127.0.0.1:{port}-:80")

    def test_busy_tap(self):
        if os.geteuid() != 0 or not pathlib.Path("/dev/net/tun").exists():
            self.skipTest("making a tap device needs root and /dev/net/tun")
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            name = f"ferry{os.getpid() % 100000}"
            try:
                fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
            except OSError as error:
                self.skipTest(f"no tap device can be made here: {error}")
            self.refuse(name, "--net", f"tap={name}")

    def test_program_missing(self):
        environment = dict(os.environ, FERRY_VMM=str(self.place / "nothing"))
        done = subprocess.run([str(GUESTS.parent.parent / "ferry"), "run"], env=environment, capture_output=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"FERRY_VMM", done.stderr)

    def test_verbs(self):
        code, _, errors = ferry("dance")
        self.assertEqual(code, 2)
        self.assertIn("there are: run, status", errors)
        code, _, errors = ferry("status", "--control", self.place / "nothing")
        self.assertEqual(code, 2)
        self.assertIn("cannot reach a VM", errors)


main()
