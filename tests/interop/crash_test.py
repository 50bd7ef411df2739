#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of ferryd at a random moment of random operations: afterwards everything is consistent, and nothing has leaked."""
import os
import pathlib
import random
import subprocess
import time
import xml.etree.ElementTree as ElementTree

from interop import BUILD, GUESTS, InteropTest, main, need

need("virsh")
OPERATIONS = int(os.environ.get("FERRY_CRASHES", "50"))
NAMES = ("a", "b", "c")


class Crash(InteropTest):
    OPTIONS = ("--default-network", "none")

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("FERRY_SEED", time.time_ns() % 100000))
        self.random = random.Random(self.seed)
        print(f"seed {self.seed}", flush=True)
        for name in NAMES:
            (self.place / f"{name}.img").write_bytes(bytes(1 << 16))
            (self.place / f"{name}.xml").write_text(f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>
              <os><type>hvm</type><kernel>{GUESTS / 'idle.elf'}</kernel></os><devices><console type='pty'/>
              <disk><source file='{self.place / name}.img'/><target dev='vda'/></disk></devices></domain>""")

    def operation(self):
        name = self.random.choice(NAMES)
        return self.random.choice((("define", self.place / f"{name}.xml"), ("start", name), ("start", name), ("create", self.place / f"{name}.xml"),
                                   ("destroy", name), ("suspend", name), ("resume", name), ("undefine", name), ("autostart", name),
                                   ("autostart", "--disable", name), ("managedsave", name), ("managedsave-remove", name),
                                   ("save", name, self.place / f"{name}.save"), ("restore", self.place / f"{name}.save"),
                                   ("attach-device", name, self.nic(), "--config"), ("setmem", name, "8M", "--config"),
                                   ("desc", name, "--config", "text"), ("reset", name), ("attach-device", name, self.nic(), "--live")))

    def nic(self):
        path = self.place / "nic.xml"
        path.write_text(f"<interface type='user'><mac address='52:54:00:00:00:{self.random.randrange(256):02x}'/></interface>")
        return path

    def processes(self):
        """VMs of this test, by the control socket on their command line."""
        found = set()
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words and words[0] == os.fsencode(BUILD / "ferry-vmm") and os.fsencode(self.place) in b" ".join(words):
                found.add(int(path.parent.name))
        return found

    def check(self, what):
        running = self.virsh("list", "--name", "--uuid").split()
        pids = set()
        for uuid in running[::2]:
            pids.add(int((self.place / "run" / "domains" / f"{uuid}.lock").read_text()))
            self.assertRegex(self.virsh("domstats", uuid), "vcpu.0.time=", what)  # the VM answers
        self.wait_for(lambda: self.processes() == pids, f"{what}: processes {self.processes()}, domains {pids}")
        for directory in ("vm", "domains"):
            left = {path.name.split(".")[0] for path in (self.place / "run" / directory).iterdir()}
            self.assertEqual(left, set(running[::2]), what)
        for path in (self.place / "state" / "domains").iterdir():
            self.assertEqual(path.suffix, ".xml", what)
            ElementTree.parse(path)
        persistent = {path.stem for path in (self.place / "state" / "domains").iterdir()}
        self.assertEqual(persistent, set(self.virsh("list", "--all", "--persistent", "--uuid").split()), what)
        self.assertLessEqual({path.name for path in (self.place / "state" / "autostart").iterdir()}, persistent, what)

    def test_kill_at_any_point(self):
        for number in range(OPERATIONS):
            operation = self.operation()
            what = f"seed {self.seed}, operation {number}: {' '.join(map(str, operation))}"
            with subprocess.Popen(["virsh", "-q", "-c", self.daemon.uri, *map(str, operation)], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                time.sleep(self.random.uniform(0, 0.12))
                self.daemon.kill()
                process.wait()
            self.daemon.start()
            self.check(what)


main()
