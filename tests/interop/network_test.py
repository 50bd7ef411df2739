#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virsh and virtual networks: every net- command, DHCP and DNS for real clients, NAT, and nothing left behind."""
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

from interop import InteropTest, LIMIT, main, need  # first: it knows where tools/ is
import namespaces
from namespaces import Namespace, command

need("virsh", "dnsmasq", "nft", "busybox", "setpriv")
namespaces.enter()

SCRIPT = pathlib.Path(__file__).resolve().parent / "udhcpc-script"
PRIVATE1 = """<network><name>private1</name><bridge name='virbr1'/><ip address='172.16.10.1' netmask='255.255.255.0'><dhcp>
<range start='172.16.10.101' end='172.16.10.199'/></dhcp></ip></network>"""
ROUTED = """<network><name>routed</name><forward mode='route'/><domain name='lab.test' localOnly='yes'/>
<dns><host ip='10.77.0.9'><hostname>printer</hostname></host></dns><ip address='10.77.0.1' prefix='24'/></network>"""

# A server that answers every connection with the address it comes from.
ECHO = """
import socket
server = socket.create_server(("0.0.0.0", 7000))
print("ready", flush=True)
while True:
    peer, address = server.accept()
    peer.sendall(address[0].encode())
    peer.close()
"""


class Networks(InteropTest):
    OPTIONS = ("--default-network", "none")

    def setUp(self):
        super().setUp()
        os.chmod(self.place, 0o755)  # dnsmasq, which runs as another user, reads there
        self.addCleanup(self.nothing_left)
        self.addCleanup(self.remove_networks)

    def remove_networks(self):
        for name in self.virsh("net-list", "--all", "--name").split():
            self.daemon.virsh("net-destroy", name)
            self.daemon.virsh("net-undefine", name)

    def nothing_left(self):
        """Runs last: no interface, rule, process or file of a network is there any more."""
        self.assertNotIn("virbr", command("ip -o link")[1])
        self.assertEqual(command("nft list ruleset")[1], "")
        self.assertEqual(self.servers(), [])
        files = [str(path) for path in self.place.rglob("*") if path.is_file() and "networks/" in str(path) or path.suffix == ".leases"]
        self.assertEqual(files, [])

    def servers(self):
        """Process ids of the dnsmasq of this test."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if f"--conf-file={self.place}" in path.read_text():
                    found.append(int(path.parent.name))
            except OSError:
                pass
        return found

    def file(self, text):
        path = self.place / "network.xml"
        path.write_text(text)
        return path

    def define(self, text):
        return self.virsh("net-define", self.file(text))

    def client(self, bridge, name="c0", mac=None):
        client = Namespace()
        self.addCleanup(client.close)
        client.plug(name, bridge, mac)
        return client

    def lease(self, client, *options):
        """What a DHCP client says it was given."""
        code, out = client.run(["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-s", str(SCRIPT), *options], check=False)
        self.assertEqual(code, 0, out)
        return re.search(r"bound (\S+) router (\S+) dns (\S+)", out).groups()


class Commands(Networks):
    def test_life(self):
        self.define(PRIVATE1)
        self.assertEqual(self.virsh("net-list"), "")
        self.assertRegex(self.virsh("net-list", "--all"), r"^private1 +inactive +no +yes$")
        self.virsh("net-start", "private1")
        self.virsh("net-autostart", "private1")
        self.assertRegex(self.virsh("net-list"), r"^private1 +active +yes +yes$")
        info = self.virsh("net-info", "private1")
        for expected in ("Active: +yes", "Persistent: +yes", "Autostart: +yes", "Bridge: +virbr1"):
            self.assertRegex(info, expected)
        uuid = re.search(r"UUID: +(\S+)", info).group(1)
        self.assertEqual(self.virsh("net-name", uuid), "private1")
        self.assertEqual(self.virsh("net-uuid", "private1"), uuid)
        network = ElementTree.fromstring(self.virsh("net-dumpxml", "private1"))
        self.assertEqual(network.find("bridge").attrib, {"name": "virbr1", "stp": "off", "delay": "0"})
        self.assertEqual(network.find("ip/dhcp/range").attrib, {"start": "172.16.10.101", "end": "172.16.10.199"})
        self.assertIn("172.16.10.1/24", command("ip -br addr show virbr1")[1])
        self.virsh("net-autostart", "private1", "--disable")
        self.virsh("net-destroy", "private1")
        self.virsh("net-undefine", "private1")
        self.assertEqual(self.virsh("net-list", "--all"), "")

    def test_lists_and_edit(self):
        self.define(PRIVATE1)
        self.virsh("net-autostart", "private1")
        self.virsh("net-create", self.file(ROUTED))
        for options, expected in (([], ["routed"]), (["--all"], ["private1", "routed"]), (["--inactive"], ["private1"]),
                                  (["--all", "--transient"], ["routed"]), (["--all", "--persistent"], ["private1"]),
                                  (["--all", "--autostart"], ["private1"]), (["--all", "--no-autostart"], ["routed"])):
            self.assertEqual(self.virsh("net-list", "--name", *options).split(), expected, options)
        os.environ["EDITOR"] = "sed -i s/172.16.10.199/172.16.10.150/"
        self.virsh("net-edit", "private1")
        self.assertIn("172.16.10.150", self.virsh("net-dumpxml", "private1"))
        os.environ["EDITOR"] = "sed -i s/172.16.10.150/172.16.11.150/"
        self.daemon.virsh("net-edit", "private1", text="n\n")  # asked whether to try again
        self.assertIn("lies outside the network 172.16.10.0/24", self.daemon.log())
        self.assertIn("172.16.10.150", self.virsh("net-dumpxml", "private1"))

    def test_transient(self):
        self.virsh("net-create", self.file(PRIVATE1))
        self.assertRegex(self.virsh("net-list"), r"^private1 +active +no +no$")
        self.assertIn("transient", self.refused("net-autostart", "private1"))
        self.virsh("net-destroy", "private1")
        self.assertEqual(self.virsh("net-list", "--all"), "")

    def test_refused(self):
        mistyped = self.file(PRIVATE1.replace("address='172.16", "address='127.16"))
        self.assertIn("range 172.16.10.101 to 172.16.10.199 lies outside the network 127.16.10.0/24", self.refused("net-define", mistyped))
        self.assertIn("broken in line 1", self.refused("net-define", self.file("<network><name>")))
        self.assertIn("element <vlan> in <network>", self.refused("net-define", self.file("<network><name>a</name><vlan/></network>")))
        for verb in ("net-start", "net-destroy", "net-undefine", "net-autostart", "net-dumpxml", "net-dhcp-leases"):
            self.assertIn("there is no network 'none'", self.refused(verb, "none"))
        self.define(PRIVATE1)
        self.assertIn("private1 is not active", self.refused("net-destroy", "private1"))
        self.assertIn("private1 is not active", self.refused("net-dhcp-leases", "private1"))
        self.assertIn("bridge virbr1 of network other belongs to network private1",
                      self.refused("net-define", self.file("<network><name>other</name><bridge name='virbr1'/></network>")))
        self.virsh("net-start", "private1")
        self.assertIn("private1 is active already", self.refused("net-start", "private1"))
        self.define("<network><name>overlap</name><ip address='172.16.10.65' prefix='26'/></network>")
        self.assertIn("overlap (172.16.10.64/26) overlaps with 172.16.10.0/24, which this host reaches by interface virbr1",
                      self.refused("net-start", "overlap"))

    def test_read_only(self):
        self.define(PRIVATE1)
        self.assertIn("private1", self.virsh("net-list", "--all", readonly=True))
        for words in (["net-start", "private1"], ["net-undefine", "private1"], ["net-autostart", "private1"], ["net-create", self.file(ROUTED)],
                      ["net-define", self.file(ROUTED)], ["net-update", "private1", "add", "ip-dhcp-host", "<host/>", "--config"]):
            self.assertIn("read only", self.refused(*words, readonly=True))

    def test_update(self):
        self.define(PRIVATE1)
        self.virsh("net-start", "private1")
        host = "<host mac='52:54:00:00:00:77' name='fw1' ip='172.16.10.7'/>"
        self.virsh("net-update", "private1", "add", "ip-dhcp-host", host, "--live", "--config")
        for options in ((), ("--inactive",)):
            self.assertIn("172.16.10.7", self.virsh("net-dumpxml", "private1", *options))
        self.assertIn("two DHCP hosts have the address 172.16.10.7",
                      self.refused("net-update", "private1", "add", "ip-dhcp-host", host.replace(":77", ":78").replace("fw1", "fw2"), "--live"))
        client = self.client("virbr1", mac="52:54:00:00:00:77")
        self.assertEqual(self.lease(client)[0], "172.16.10.7")
        self.virsh("net-update", "private1", "delete", "ip-dhcp-host", host, "--live")
        self.assertNotIn("172.16.10.7", self.virsh("net-dumpxml", "private1"))
        self.assertIn("no such <host>", self.refused("net-update", "private1", "delete", "ip-dhcp-host", host, "--live"))

    def test_events(self):
        watcher = subprocess.Popen(["virsh", "-c", self.daemon.uri, "net-event", "--event", "lifecycle", "--loop", "--timeout", "60"],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(watcher.stdout.close)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)
        time.sleep(1)  # virsh does not tell when it listens; what it misses fails below
        self.define(PRIVATE1)
        self.virsh("net-start", "private1")
        self.virsh("net-destroy", "private1")
        self.virsh("net-undefine", "private1")
        seen = [watcher.stdout.readline().split()[-1] for _ in range(4)]
        self.assertEqual(seen, ["Defined", "Started", "Stopped", "Undefined"])


class Traffic(Networks):
    def outside(self):
        """A host beyond this one: 203.0.113.2, which knows no way to our networks."""
        outer = Namespace()
        self.addCleanup(outer.close)
        outer.plug("out0")
        command("ip addr add 203.0.113.1/24 dev out0")
        outer.run("ip addr add 203.0.113.2/24 dev eth0")
        server = outer.start(["python3", "-c", ECHO], stdout=subprocess.PIPE)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.assertEqual(server.stdout.readline(), b"ready\n")
        return outer

    def ask(self, client, address):
        """What the server at the address calls the client, or None when it can't be reached."""
        program = f"import socket; print(socket.create_connection(('{address}', 7000), 3).recv(64).decode())"
        code, out = client.run(["python3", "-c", program], check=False)
        return out if code == 0 else None

    def test_nat(self):
        self.outside()
        self.define("<network><name>nat</name><forward mode='nat'/><ip address='192.168.122.1' prefix='24'>"
                    "<dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>")
        self.virsh("net-start", "nat")
        client = self.client("virbr0", mac="52:54:00:00:00:05")
        address, router, dns = self.lease(client, "-x", "hostname:guest5")
        self.assertEqual((router, dns), ("192.168.122.1", "192.168.122.1"))
        self.assertEqual(self.ask(client, "203.0.113.2"), "203.0.113.1")
        leases = self.virsh("net-dhcp-leases", "nat")
        self.assertRegex(leases, rf"52:54:00:00:00:05 +ipv4 +{address}/24 +guest5 ")
        self.assertIn(address, self.virsh("net-dhcp-leases", "nat", "--mac", "52:54:00:00:00:05"))
        self.assertEqual(self.virsh("net-dhcp-leases", "nat", "--mac", "52:54:00:00:00:06"), "")
        self.assertIn(address, client.run("busybox nslookup -type=a guest5 192.168.122.1")[1])
        self.virsh("net-destroy", "nat")
        self.assertEqual(command("nft list ruleset")[1], "")

    def test_isolated_and_routed(self):
        outer = self.outside()
        self.define(PRIVATE1)
        self.define(ROUTED)
        self.virsh("net-start", "private1")
        self.virsh("net-start", "routed")
        bridge = re.search(r"Bridge: +(\S+)", self.virsh("net-info", "routed")).group(1)
        private, routed = self.client("virbr1"), self.client(bridge, "c1")
        address, router, _ = self.lease(private)
        self.assertRegex(address, r"^172\.16\.10\.1\d\d$")
        self.assertEqual(router, "none")
        private.run("ip route add default via 172.16.10.1")
        routed.run("ip addr add 10.77.0.5/24 dev eth0")
        routed.run("ip route add default via 10.77.0.1")
        outer.run("ip route add 10.77.0.0/24 via 203.0.113.1")
        outer.run("ip route add 172.16.10.0/24 via 203.0.113.1")
        self.assertIsNone(self.ask(private, "203.0.113.2"))
        self.assertEqual(self.ask(routed, "203.0.113.2"), "10.77.0.5")
        self.assertIn("10.77.0.9", routed.run("busybox nslookup -type=a printer.lab.test 10.77.0.1")[1])

    def test_bridge_of_the_host(self):
        command("ip link add br7 type bridge")
        self.addCleanup(command, "ip link del br7")
        self.define("<network><name>lan</name><forward mode='bridge'/><bridge name='br7'/></network>")
        self.virsh("net-start", "lan")
        self.assertRegex(self.virsh("net-info", "lan"), r"Bridge: +br7")
        self.virsh("net-destroy", "lan")
        self.assertIn("br7", command("ip -o link")[1])


class Crashes(Networks):
    def test_found_again(self):
        self.define(PRIVATE1)
        self.virsh("net-create", self.file(ROUTED))
        self.virsh("net-start", "private1")
        self.virsh("net-autostart", "private1")
        client = self.client("virbr1")
        address = self.lease(client)[0]
        servers = self.servers()
        self.daemon.kill()
        self.daemon.start()
        self.assertRegex(self.virsh("net-list"), r"private1 +active +yes +yes\n *routed +active +no +no")
        self.assertEqual(self.servers(), servers)
        self.assertIn(address, self.virsh("net-dhcp-leases", "private1"))
        # As after the host's restart: the run directory is empty, nothing runs, autostart brings back what has it.
        self.virsh("net-destroy", "routed")
        self.virsh("net-destroy", "private1")
        self.daemon.end()
        self.daemon.start()
        self.assertRegex(self.virsh("net-list", "--all"), r"^private1 +active +yes +yes$")

    def test_server_is_started_again(self):
        self.define(PRIVATE1)
        self.virsh("net-start", "private1")
        server, = self.servers()
        os.kill(server, signal.SIGKILL)
        self.wait_for(lambda: self.servers() not in ([], [server]), "dnsmasq is not started again")
        self.assertRegex(self.lease(self.client("virbr1"))[0], r"^172\.16\.10\.1\d\d$")
        self.assertIn("server of network private1 has ended", self.daemon.log())

    def test_killed_at_any_point(self):
        chosen = random.Random(5)
        networks = {"private1": PRIVATE1, "routed": ROUTED}
        for _ in range(12):
            name = chosen.choice(sorted(networks))
            verb = chosen.choice(["net-start", "net-start", "net-destroy", "net-define", "net-create", "net-undefine"])
            argument = self.file(networks[name]) if verb in ("net-define", "net-create") else name
            client = subprocess.Popen(["virsh", "-q", "-c", self.daemon.uri, verb, str(argument)], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            time.sleep(chosen.uniform(0.01, 0.25))
            self.daemon.kill()
            client.wait(LIMIT)
            self.daemon.start()
            self.consistent()

    def consistent(self):
        """Each active network has its bridge and its server, and there are no others."""
        active = self.virsh("net-list", "--name").split()
        bridges = sorted(re.search(r"Bridge: +(\S+)", self.virsh("net-info", name)).group(1) for name in active)
        there = sorted(re.findall(r"\d+: (virbr\d+):", command("ip -o link")[1]))
        self.assertEqual(there, bridges)
        self.assertEqual(len(self.servers()), len(active))
        rules = command("nft list ruleset")[1]
        self.assertEqual(sorted(set(re.findall(r"iifname \"(virbr\d+)\" reject", rules))), bridges)


main()
