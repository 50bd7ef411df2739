#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused, in which words, and that the source runs on then."""
import re
import socket
import struct
import subprocess

from migration import ENGINES, FERRY, GUESTS, Console, MigrationTest, main, wait_over
from proxy import Proxy

LIMIT = 60


def sections(state):
    """The sections of STATE: (name, offset, length)."""
    found, at = [], 0
    while at < len(state):
        name, body = state[at + 6], struct.unpack_from("<I", state, at + 12)[0]
        found.append((state[at + 16:at + 16 + name].decode(), at, 16 + name + body + 4))
        at += found[-1][2]
    return found


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def without(name):
    """STATE without the first section of that name."""
    def change(state):
        at, length = next((at, length) for found, at, length in sections(state) if found == name)
        return state[:at] + state[at + length:]
    return change


def of_version(name, version):
    """STATE whose first section of that name is of another version, with the right checksum."""
    def change(state):
        at, length = next((at, length) for found, at, length in sections(state) if found == name)
        section = state[at:at + 4] + struct.pack("<H", version) + state[at + 6:at + length - 4]
        return state[:at] + section + struct.pack("<I", crc32c(section)) + state[at + length:]
    return change


def flipped(name):
    """STATE with one wrong bit in the first section of that name."""
    def change(state):
        at = next(at for found, at, _ in sections(state) if found == name)
        return state[:at + 40] + bytes([state[at + 40] ^ 4]) + state[at + 41:]
    return change


class Refuse(MigrationTest):
    def refused(self, sentence, source_options=(), target_options=(), engines=(ENGINES[0], ENGINES[0])):
        """The source runs on, the destination waits for another."""
        uri = f"unix:{self.place}/m"
        source, target, out, into = self.pair(uri, engines=engines, source_options=source_options, target_options=target_options)
        self.type(source, "abc")
        out.call("migrate", uri=uri)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        self.assertRegex(answer["error-desc"], sentence)
        self.type(source, "def")
        self.assertEqual(into.call("query-status")["status"], "inmigrate")
        self.assertIsNone(target.process.poll())
        return out

    def test_cpus(self):
        self.refused(r"1 CPUs on the source and 2 on the destination: start the destination with --cpus 1",
                     target_options=("--cpus", "2"))

    def test_memory(self):
        self.refused(r"16 MiB of memory on the source and 32 MiB on the destination: start the destination with --memory 16M",
                     target_options=("--memory", "32M"))

    def test_cpu_model(self):
        self.refused("x86-64-v3.* start both VMs with the same --cpu|features that the destination.* lacks",
                     source_options=("--cpu", "x86-64-v3"), target_options=("--cpu", "x86-64-v2"))

    def test_tsc_frequency(self):
        self.refused(r"runs at 1800000 kHz, and this side was started with tsc-frequency=2000000000: leave that out, or give "
                     r"tsc-frequency=1800000000", source_options=("--cpu", "max,tsc-frequency=1800000000"),
                     target_options=("--cpu", "max,tsc-frequency=2000000000"))

    def test_tsc_that_cannot_be_scaled(self):
        if "kvm" not in ENGINES:
            self.skipTest("no KVM here")
        text = subprocess.run([FERRY, "cpu", "describe", "--engine", "kvm"], stdout=subprocess.PIPE, text=True, check=True).stdout
        khz, how = re.search(r"^tsc (\d+) (\w+)$", text, re.M).groups()
        if how != "fixed":
            self.skipTest("this host's KVM scales the time stamp counter")
        other = int(khz) * 7 // 10
        self.refused(rf"can't run at {other} kHz here: this host's runs at {khz} kHz.*--engine dbt here, or make the VM with --cpu "
                     rf"MODEL,tsc-frequency={khz}000", engines=("dbt", "kvm"), source_options=("--cpu", f"x86-64-v1,tsc-frequency={other}000"),
                     target_options=("--cpu", "x86-64-v1"))

    def test_devices(self):
        self.refused(r"a device virtio-console 0 on the source and none on the destination",
                     source_options=("--console", "none"))

    def test_other_devices(self):
        self.refused(r"a device virtio-console 0 on the destination and none on the source", target_options=("--console", "none"))

    def disk(self, name, size=1 << 20):
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        return path

    def test_number_of_disks(self):
        self.refused(r"1 disks on the source and 0 on the destination", source_options=("--disk", self.disk("a")))

    def test_disk_of_another_name(self):
        self.refused(r"disk 0 has the path .*/a on the source and .*/b on the destination",
                     source_options=("--disk", self.disk("a")), target_options=("--disk", self.disk("b")))

    def test_disk_of_the_same_name(self):
        """As on two hosts: each VM has a working directory of its own, and the path is the same."""
        uri = f"unix:{self.place}/m"
        for place in "one", "two":
            self.disk(f"{place}/disk")
        start = Console.__init__.__globals__["subprocess"].Popen
        places = iter(("one", "two"))
        subprocess.Popen = lambda *arguments, **more: start(*arguments, cwd=self.place / next(places), **more)
        try:
            source, target, out, _ = self.pair(uri, "--disk", "disk")
        finally:
            subprocess.Popen = start
        self.type(source, "a")
        out.call("migrate", uri=uri)
        self.assertIn("disk disk is another file on the destination", wait_over(out)["error-desc"])
        self.type(source, "b")
        self.assertIsNone(target.process.poll())

    def test_networks(self):
        self.refused(r"1 network cards on the source and 0 on the destination", source_options=("--net", "user"))

    def test_address(self):
        self.refused(r"address 52:54:00:00:00:01 on the source and 52:54:00:00:00:02 on the destination: give the destination mac=",
                     source_options=("--net", "user,mac=52:54:00:00:00:01"), target_options=("--net", "user,mac=52:54:00:00:00:02"))

    def test_nobody_there(self):
        source = self.start("source")
        self.type(source, "a")
        out = self.control("source")
        for uri, sentence in (("tcp:127.0.0.1:1", "cannot connect"), (f"unix:{self.place}/none", "cannot connect")):
            out.call("migrate", uri=uri)
            self.assertIn(sentence, wait_over(out)["error-desc"])
        for uri in ("exec:cat", "tcp:host", "unix:", "fd:0", "nonsense"):
            self.assertRegex(out.execute("migrate", uri=uri)["error"]["desc"], "address|PATH|socket")
        self.type(source, "b")

    def test_arguments(self):
        self.start("source")
        out = self.control("source")
        for command, arguments, sentence in (
                ("migrate", {}, "'uri' is missing"),
                ("migrate-incoming", {"uri": "tcp:a:1"}, "was not started with --incoming"),
                ("migrate-set-parameters", {"downtime-limit": -1}, "expects an integer"),
                ("migrate-set-parameters", {"multifd-compression": "zip"}, "none, zstd, lz4 or auto"),
                ("migrate-set-parameters", {"nonsense": 1}, "unexpected"),
                ("migrate-set-capabilities", {"capabilities": [{"capability": "nonsense", "state": True}]}, "no capability"),
                ("migrate-set-parameters", {"tls-creds": "tls0"}, "is not there: the address tls:HOST:PORT"),
                ("migrate-set-capabilities", {"capabilities": [{"capability": "compress", "state": True}]}, "is not there: multifd-compression"),
                ("migrate-set-capabilities", {"capabilities": [{"capability": "return-path", "state": False}]}, "can't be switched off"),
                ("x-ferry-migrate-settle", {"outcome": "run"}, "nothing to settle"),
                ("x-ferry-migrate-settle", {"outcome": "maybe"}, "run .* or discard")):
            self.assertRegex(out.execute(command, **arguments)["error"]["desc"], sentence)
        out.call("migrate-set-capabilities", capabilities=[{"capability": "compress", "state": False}, {"capability": "return-path", "state": True}])
        out.call("migrate-set-parameters", **{"downtime-limit": 77, "max-bandwidth": 1 << 40})
        answer = out.call("query-migrate-parameters")
        self.assertEqual((answer["downtime-limit"], answer["max-bandwidth"]), (77, 1 << 40))

    def hello(self, version=1, oldest=1, session=b"0" * 32, channel=0):
        return struct.pack("<IHHIIHHI", 0x47494d46, 1, 0, channel, 40, version, oldest, 0) + session

    def say(self, *pieces):
        """What the destination answers to a hostile source."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(LIMIT)
            peer.connect(str(self.place / "m"))
            answer = b""
            try:
                for piece in pieces:
                    peer.sendall(piece)
                peer.shutdown(socket.SHUT_WR)
                while data := peer.recv(65536):
                    answer += data
            except (BrokenPipeError, ConnectionResetError):
                pass
            return answer

    def test_hostile_sources(self):
        target = self.start("target", "--incoming", f"unix:{self.place}/m")
        into = self.control("target")
        description = struct.pack("<IHHIII", 0x47494d46, 2, 0, 1, 2, 0)[:16]
        for pieces, sentence in (
                ((b"GET / HTTP/1.0\r\n\r\n",), b"no migration stream"),
                ((self.hello(version=9, oldest=8),), b"speaks versions 8 to 9"),
                ((self.hello(session=b"x" * 32),), b"names no session"),
                ((self.hello(channel=3),), b"channel 3 came before"),
                ((self.hello(), self.hello()), b"HELLO instead of DESCRIPTION"),
                ((self.hello(), description + b"[]"), b"no JSON object"),
                ((self.hello(), description + b"{}"), b"0 CPUs on the source"),
                ((self.hello(), struct.pack("<IHHII", 0x47494d46, 2, 0, 1, 1 << 30)), b"impossible values"),
                ((self.hello(), struct.pack("<IHHII", 0x47494d46, 70, 0, 0, 0)), b"not for it to send")):
            self.assertIn(sentence, self.say(*pieces))
        self.say()
        self.assertEqual(into.call("query-status")["status"], "inmigrate")
        self.assertIsNone(target.process.poll())

    def test_damaged_state(self):
        """The destination says which section and why, and ends; the source's guest goes on."""
        source, out = self.start("source"), self.control("source")
        for number, (change, sentence) in enumerate((
                (lambda state: b"", "section machine 0 is missing"),
                (without("cpu"), "section cpu 0 is missing"),
                (without("virtio-rng"), "virtio-rng.* 0 is missing|has none"),
                (lambda state: state + state[:sections(state)[0][2]], "section machine 0 comes twice"),
                (of_version("cpu", 7), "cpu.* 0.* version 7"),
                (of_version("virtio-rng", 7), "virtio-rng.* 0.* version 7"),
                (of_version("ioapic", 7), "ioapic.* 0.* version 7"),
                (flipped("cpu"), "a section's checksum is wrong: cpu 0"),
                (lambda state: state[:-1], "a section is cut off: "),
                (lambda state: state + b"FSCT", "a section is cut off in its header"))):
            target = self.start(f"target{number}", "--incoming", f"unix:{self.place}/m{number}")
            self.control(f"target{number}")
            proxy = Proxy(self.place / f"p{number}", self.place / f"m{number}", "COMMIT", Proxy.cut,
                          change=lambda name, body, change=change: change(body) if name == "STATE" else body)
            self.addCleanup(proxy.close)
            out.call("migrate", uri=f"unix:{self.place}/p{number}")
            answer = wait_over(out)
            self.assertEqual(answer["status"], "failed", answer)
            self.assertRegex(answer["error-desc"], f"in stage transfer state: the destination refuses: cannot load the state: .*({sentence})")
            self.type(source, chr(ord("a") + number))
            self.assertEqual(target.finish(), 2)
            self.assertRegex(target.errors.decode(), f"{sentence}.*; the VM did not run here")

    def test_options(self):
        for options, sentence in ((("--incoming", "nonsense"), b"unknown migration address"),
                                  (("--incoming", "tcp:1.2.3.4:1"), b"cannot listen"),
                                  (("--incoming", "tcp:0:0", "--load", "x"), b"--load and --incoming")):
            console = Console([FERRY, "run", "--kernel", GUESTS / "count.elf", "--memory", "16M", *options], LIMIT)
            self.addCleanup(console.__exit__)
            self.assertEqual(console.finish(), 2)
            self.assertIn(sentence, console.errors)


main()
