#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of ferryd at a random moment of random operations on domains, networks, pools and volumes: afterwards everything is consistent,
and nothing has leaked."""
import os
import pathlib
import random
import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree

from interop import BUILD, GUESTS, InteropTest, main, need
import namespaces
from namespaces import command

need("virsh", "dnsmasq", "nft", "setpriv")
namespaces.enter()
OPERATIONS = int(os.environ.get("FERRY_CRASHES", "50"))
NAMES = ("a", "b", "c")
NETWORKS = {"n1": "<forward mode='nat'/><bridge name='virbr1'/><ip address='172.16.10.1' prefix='24'><dhcp>"
                  "<range start='172.16.10.101' end='172.16.10.199'/></dhcp></ip>",
            "n2": "<bridge name='virbr2'/><ip address='172.16.11.1' prefix='24'/>"}
POOLS = ("p1", "p2")
VOLUMES = ("v1", "v2")
VOLUME_SIZE = 4 << 20


class Crash(InteropTest):
    OPTIONS = ("--default-network", "none")

    def setUp(self):
        super().setUp()
        os.chmod(self.place, 0o755)  # dnsmasq, which runs as another user, reads there
        self.seed = int(os.environ.get("FERRY_SEED", time.time_ns() % 100000))
        self.random = random.Random(self.seed)
        print(f"seed {self.seed}", flush=True)
        for name in NAMES:
            (self.place / f"{name}.img").write_bytes(bytes(1 << 16))
            (self.place / f"{name}.xml").write_text(f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>
              <os><type>hvm</type><kernel>{GUESTS / 'idle.elf'}</kernel></os><devices><console type='pty'/>
              <disk><source file='{self.place / name}.img'/><target dev='vda'/></disk></devices></domain>""")
        for name, inside in NETWORKS.items():
            (self.place / f"{name}.xml").write_text(f"<network><name>{name}</name>{inside}</network>")
            self.virsh("net-define", self.place / f"{name}.xml")
            self.virsh("net-start", name)
        for name in POOLS:
            self.virsh("pool-define-as", name, "dir", "--target", self.place / name)
            self.virsh("pool-build", name)
            self.virsh("pool-start", name)
        self.contents = self.place / "contents"
        self.contents.write_bytes(os.urandom(VOLUME_SIZE))

    def operation(self):
        return self.random.choice((self.domain_operation, self.network_operation, self.storage_operation))()

    def network_operation(self):
        name = self.random.choice(sorted(NETWORKS))
        address = self.random.randrange(2, 100)
        host = f"<host mac='52:54:00:00:01:{address:02x}' ip='172.16.1{int(name[1]) - 1}.{address}'/>"
        return self.random.choice((("net-define", self.place / f"{name}.xml"), ("net-start", name), ("net-start", name),
                                   ("net-create", self.place / f"{name}.xml"), ("net-destroy", name), ("net-undefine", name),
                                   ("net-autostart", name), ("net-autostart", name, "--disable"),
                                   ("net-update", name, "add", "ip-dhcp-host", host, "--live"),
                                   ("net-update", name, "add", "ip-dhcp-host", host, "--config")))

    def storage_operation(self):
        pool, volume = self.random.choice(POOLS), self.random.choice(VOLUMES)
        inside = ("--pool", pool)
        return self.random.choice((("pool-define-as", pool, "dir", "--target", self.place / pool), ("pool-start", pool), ("pool-start", pool),
                                   ("pool-create-as", pool, "dir", "--target", self.place / pool), ("pool-destroy", pool),
                                   ("pool-undefine", pool), ("pool-autostart", pool), ("pool-autostart", pool, "--disable"),
                                   ("pool-refresh", pool), ("vol-create-as", pool, volume, VOLUME_SIZE),
                                   ("vol-create-as", pool, volume, VOLUME_SIZE), ("vol-upload", volume, self.contents, *inside),
                                   ("vol-create-as", pool, f"{volume}.qcow2", "64M", "--format", "qcow2"), ("vol-delete", volume, *inside),
                                   ("vol-clone", volume, f"{volume}-copy", *inside), ("vol-delete", f"{volume}-copy", *inside),
                                   ("vol-delete", f"{volume}.qcow2", *inside), ("vol-wipe", volume, *inside)))

    def domain_operation(self):
        name = self.random.choice(NAMES)
        return self.random.choice((("define", self.place / f"{name}.xml"), ("start", name), ("start", name), ("create", self.place / f"{name}.xml"),
                                   ("destroy", name), ("suspend", name), ("resume", name), ("undefine", name), ("autostart", name),
                                   ("autostart", "--disable", name), ("managedsave", name), ("managedsave-remove", name),
                                   ("save", name, self.place / f"{name}.save"), ("restore", self.place / f"{name}.save"),
                                   ("attach-device", name, self.nic(), "--config"), ("setmem", name, "8M", "--config"),
                                   ("desc", name, "--config", "text"), ("reset", name), ("attach-device", name, self.nic(), "--live"),
                                   ("attach-interface", name, "network", "n1", "--model", "virtio", "--live"),
                                   ("attach-interface", name, "network", "n2", "--model", "virtio", "--live")))

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

    def servers(self):
        """Network names of the dnsmasq of this test."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += re.findall(rf"--conf-file={self.place}/run/networks/(\w+)\.conf", path.read_text())
            except OSError:
                continue
        return sorted(found)

    def check_stored(self, room, kind, what):
        """Files in the state and run directories are those of what is persistent and active; returns what is active."""
        state, run = self.place / "state" / room, self.place / "run" / room
        active = self.virsh(f"{kind}-list", "--name").split()
        persistent = set(self.virsh(f"{kind}-list", "--all", "--persistent", "--name").split())
        self.assertEqual({path.name for path in state.iterdir() if path.name != "autostart"}, {f"{name}.xml" for name in persistent}, what)
        self.assertEqual({path.name for path in run.glob("*.xml")}, {f"{name}.xml" for name in active}, what)
        for path in [*state.glob("*.xml"), *run.glob("*.xml")]:
            ElementTree.parse(path)
        autostart = set(self.virsh(f"{kind}-list", "--all", "--autostart", "--name").split())
        self.assertEqual({path.stem for path in (state / "autostart").iterdir()}, autostart, what)
        self.assertLessEqual(autostart, persistent, what)
        return active

    def check_networks(self, running, what):
        """Bridges, DHCP servers, firewall rules and taps are those of what runs, and there are no others."""
        active = self.check_stored("networks", "net", what)
        links = command("ip -o link")[1]
        bridges = {f"virbr{name[1]}" for name in active}
        self.assertEqual(set(re.findall(r"\d+: (virbr\d+):", links)), bridges, what)
        self.assertEqual(self.servers(), sorted(active), what)
        rules = command("nft list ruleset")[1]
        self.assertEqual(set(re.findall(r"iifname \"(virbr\d+)\" reject", rules)), bridges, what)
        self.assertEqual("table inet ferry" in rules, bool(active), what)
        self.assertEqual(len(re.findall("^table ", rules, re.MULTILINE)), bool(active), what)
        taps = [target for uuid in running for target in re.findall(r"<target dev='(vnet\d+)'", self.virsh("dumpxml", uuid))]
        self.assertEqual(sorted(re.findall(r"\d+: (vnet\d+):", links)), sorted(taps), what)
        files = {path.stem for path in (self.place / "run" / "networks").iterdir()}
        self.assertLessEqual(files, set(active), what)

    def check_storage(self, what):
        for pool in self.check_stored("storage", "pool", what):
            there = {path.name: path.stat() for path in (self.place / pool).iterdir()}
            listed = {}
            for line in self.virsh("vol-list", pool, "--details").splitlines():
                listed[line.split()[0]] = line.split()
            self.assertEqual(set(listed), set(there), what)
            for name, words in listed.items():
                if name.endswith(".qcow2"):  # is there as a whole or not at all
                    self.assertEqual(words[3:5], ["64.00", "MiB"], f"{what}: {name} in {pool}")
                else:
                    self.assertEqual(there[name].st_size, VOLUME_SIZE, f"{what}: {name} in {pool}")

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
        self.check_networks(running[::2], what)
        self.check_storage(what)

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
        self.take_all_away()

    def take_all_away(self):
        for verb, names in (("destroy", NAMES), ("net-destroy", NETWORKS), ("net-undefine", NETWORKS), ("pool-destroy", POOLS),
                            ("pool-undefine", POOLS)):
            for name in names:
                self.daemon.virsh(verb, name)
        links, rules = command("ip -o link")[1], command("nft list ruleset")[1]
        self.assertEqual(re.findall(r"virbr\d+|vnet\d+", links), [], links)
        self.assertEqual((rules, self.servers()), ("", []))
        files = [path for room in ("networks", "storage", "leases") for where in ("state", "run")
                 for path in (self.place / where / room).glob("**/*") if path.is_file()]
        self.assertEqual(files, [])


main()
