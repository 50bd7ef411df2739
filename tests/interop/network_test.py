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

from interop import Daemon, InteropTest, LIMIT, main, need  # first: it knows where tools/ is
import namespaces
from namespaces import Namespace, command

need("virsh", "dnsmasq", "nft", "busybox", "setpriv")
namespaces.enter()

SCRIPT = pathlib.Path(__file__).resolve().parent / "udhcpc-script"
PRIVATE1 = """<network><name>private1</name><bridge name='virbr1'/><ip address='172.16.10.1' netmask='255.255.255.0'><dhcp>
<range start='172.16.10.101' end='172.16.10.199'/></dhcp></ip></network>"""
ROUTED = """<network><name>routed</name><forward mode='route'/><domain name='lab.test' localOnly='yes'/>
<dns><host ip='10.77.0.9'><hostname>printer</hostname></host></dns><ip address='10.77.0.1' prefix='24'/></network>"""

SIX = """<network><name>six</name><forward mode='nat'><nat ipv6='yes'/></forward><bridge name='virbr6'/>
<ip family='ipv6' address='fd00:6::1' prefix='64'><dhcp><range start='fd00:6::100' end='fd00:6::1ff'/>
<host id='00:03:00:01:52:54:00:00:00:07' ip='fd00:6::7' name='seven'/></dhcp></ip>
<route family='ipv6' address='fd00:7::' prefix='64' gateway='fd00:6::7'/></network>"""
ROUTED_SIX = """<network><name>rsix</name><forward mode='route'/><bridge name='virbr7'/>
<ip family='ipv6' address='2001:db8:7::1' prefix='64'/></network>"""

# A server that answers every connection with the address it comes from.
ECHO = """
import socket
server = socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    peer, address = server.accept()
    peer.sendall(address[0].removeprefix("::ffff:").encode())
    peer.close()
"""


# A client of DHCPv6 (RFC 8415) that asks for an address at once (rapid commit), as eth0's MAC address, and prints it.
DHCP6 = """
import fcntl, socket, struct, sys, time
option = lambda code, data: struct.pack(">HH", code, len(data)) + data
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
mac = fcntl.ioctl(client, 0x8927, struct.pack("16s16x", b"eth0"))[18:24]  # SIOCGIFHWADDR
client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
ask = bytes([1, 1, 2, 3]) + option(1, bytes([0, 3, 0, 1]) + mac) + option(3, struct.pack(">III", 7, 0, 0)) + option(14, b"")
client.settimeout(1)
client.bind(("::", 546))
for _ in range(60):
    try:
        client.sendto(ask, ("ff02::1:2", 547))
        answer = client.recv(4096)
    except OSError:  # the link's own address is not there yet, or no answer
        time.sleep(0.5)
        continue
    at = 4
    while at < len(answer):
        code, size = struct.unpack_from(">HH", answer, at)
        if answer[0] == 7 and code == 3 and answer[at + 16:at + 18] == bytes([0, 5]):
            print(socket.inet_ntop(socket.AF_INET6, answer[at + 20:at + 36]))
            sys.exit()
        at += 4 + size
sys.exit("no server gave an address")
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

    def announced(self, client):
        """The address that a client made from what routers announce, and whether it has a router."""
        found = []

        def look():
            found[:] = re.findall(r"inet6 (\S+)/64 scope global", client.run("ip -6 addr show dev eth0 -tentative")[1])
            return found
        self.wait_for(look, "no IPv6 address by announcements")
        return found[0], "default via" in client.run("ip -6 route")[1]

    def test_ipv6(self):
        outer = self.outside()
        command("ip addr add 2001:db8:1::1/64 dev out0 nodad")
        outer.run("ip addr add 2001:db8:1::2/64 dev eth0 nodad")
        outer.run("ip route add 2001:db8:7::/64 via 2001:db8:1::1")
        self.virsh("net-define", "--validate", self.file(ROUTED_SIX))
        self.virsh("net-start", "rsix")
        client = self.client("virbr7")
        address, has_router = self.announced(client)
        self.assertTrue(address.startswith("2001:db8:7:"))
        self.assertTrue(has_router)
        self.assertEqual(self.ask(client, "2001:db8:1::2"), address)  # routed: known by its own address
        self.define(SIX)
        self.virsh("net-start", "six")
        self.assertIn("fd00:7::/64 via fd00:6::7", command("ip -6 route show dev virbr6")[1])
        hidden = self.client("virbr6", "c1", "52:54:00:00:00:07")
        self.assertEqual(hidden.run(["python3", "-c", DHCP6])[1], "fd00:6::7")
        self.assertRegex(self.virsh("net-dhcp-leases", "six"), "52:54:00:00:00:07 +ipv6 +fd00:6::7/64 +seven +00:03:00:01:52:54:00:00:00:07")
        hidden.run("ip addr add fd00:6::7/64 dev eth0 nodad")
        self.wait_for(lambda: "default via" in hidden.run("ip -6 route")[1], "no router is announced")
        self.assertEqual(self.ask(hidden, "2001:db8:1::2"), "2001:db8:1::1")  # NAT, as the network wishes
        self.assertIsNone(self.ask(outer, "fd00:6::7"))
        self.virsh("net-destroy", "six")
        self.define(SIX.replace("<forward mode='nat'><nat ipv6='yes'/></forward>", "").replace(
            "<route family='ipv6' address='fd00:7::' prefix='64' gateway='fd00:6::7'/>", ""))
        self.virsh("net-start", "six")
        isolated = self.client("virbr6", "c2", "52:54:00:00:00:08")
        self.assertRegex(isolated.run(["python3", "-c", DHCP6])[1], "fd00:6::1..")
        self.assertNotIn("default via", isolated.run("ip -6 route")[1])

    def test_options_of_dnsmasq(self):
        self.define(PRIVATE1.replace("</network>", """<dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
            <dnsmasq:option value='address=/fixed.test/192.0.2.7'/></dnsmasq:options></network>"""))
        self.virsh("net-start", "private1")
        self.assertIn("192.0.2.7", command("busybox nslookup -type=a fixed.test 172.16.10.1")[1])
        self.virsh("net-destroy", "private1")
        self.define(PRIVATE1.replace("</network>", """<dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
            <dnsmasq:option value='no-such-option'/></dnsmasq:options></network>"""))
        self.assertIn("bad option at line", self.refused("net-start", "private1"))

    def test_bridge_of_the_host(self):
        command("ip link add br7 type bridge")
        self.addCleanup(command, "ip link del br7")
        self.define("<network><name>lan</name><forward mode='bridge'/><bridge name='br7'/></network>")
        self.virsh("net-start", "lan")
        self.assertRegex(self.virsh("net-info", "lan"), r"Bridge: +br7")
        self.virsh("net-destroy", "lan")
        self.assertIn("br7", command("ip -o link")[1])


class Overlay(Networks):
    """Two hosts (this network namespace and another one) whose private networks a tunnel joins to one."""

    def definition(self, number):
        return PRIVATE1.replace("</network>", f"""<ferry:overlay xmlns:ferry='urn:ferry:network:1' vni='10' local='192.0.2.{number}'>
            <ferry:peer address='192.0.2.{3 - number}'/></ferry:overlay></network>""")

    def setUp(self):
        super().setUp()
        self.other = Namespace()
        self.addCleanup(self.other.close)
        self.other.plug("between")
        command("ip addr add 192.0.2.1/24 dev between")
        self.other.run("ip addr add 192.0.2.2/24 dev eth0")
        place = self.place / "other"
        place.mkdir()
        self.second = Daemon(place, *self.OPTIONS, prefix=self.other.words("env"))
        self.addCleanup(self.second.end)
        self.addCleanup(self.second.virsh, "net-undefine", "private1")
        self.addCleanup(self.second.virsh, "net-destroy", "private1")

    def both(self, verb):
        self.virsh(verb, "private1")
        code, _, err = self.second.virsh(verb, "private1")
        self.assertEqual(code, 0, err)

    def test_overlay(self):
        for daemon, number in ((self.daemon, 1), (self.second, 2)):
            code, _, err = daemon.virsh("net-define", self.file(self.definition(number)))
            self.assertEqual(code, 0, err)
        self.both("net-start")
        here = self.client("virbr1")
        there = Namespace()
        self.addCleanup(there.close)
        there.plug("c0", "virbr1", here=self.other)
        self.assertRegex(self.lease(here)[0], r"^172\.16\.10\.1\d\d$")
        self.assertIn("mtu 1450", command("ip link show virbr1")[1])
        self.assertIn("option:mtu,1450", (self.place / "run/networks/private1.conf").read_text())
        here.run("ip addr add 172.16.10.8/24 dev eth0")
        there.run("ip addr add 172.16.10.9/24 dev eth0")
        self.wait_for(lambda: here.run("busybox ping -c 1 -W 2 172.16.10.9", check=False)[0] == 0, "no way through the tunnel")
        self.daemon.kill()
        command("ip link del virbr1-ov")
        self.daemon.start()  # finds its network again, and mends it
        self.wait_for(lambda: there.run("busybox ping -c 1 -W 2 172.16.10.8", check=False)[0] == 0, "no way through the new tunnel")
        self.both("net-destroy")
        self.assertNotIn("virbr1", command("ip -o link")[1] + self.other.run("ip -o link")[1])

    def test_what_is_refused(self):
        self.define(self.definition(1).replace("local='192.0.2.1'", "local='192.0.2.77'"))
        self.assertIn("local='192.0.2.77' of <overlay> is not an address of this host", self.refused("net-start", "private1"))
        self.define(self.definition(1).replace("<ip ", "<mtu size='1500'/><ip "))
        self.assertIn("<mtu size='1500'> of network private1 is too large: interface between leaves 1450 bytes", self.refused("net-start", "private1"))
        self.define(self.definition(1))
        self.virsh("net-start", "private1")
        self.define(self.definition(1).replace("private1", "twin").replace("virbr1", "virbr2").replace("172.16.10", "172.16.20"))
        self.assertIn("another one with VXLAN 10 at port 4789", self.refused("net-start", "twin"))
        self.assertNotIn("virbr2", command("ip -o link")[1])


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
