#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian guest on virtual networks: DHCP, NAT, a card that is plugged in while it runs; and what its process may do."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from interop import GUESTS, InteropTest, ROOT, main, need  # first: it knows where tools/ is
import namespaces
from namespaces import Namespace, command

need("virsh", "dnsmasq", "nft", "busybox", "setpriv")
# Downloaded now: the namespace has no way out.
if subprocess.run([ROOT / "tools" / "guest", "cloud/vmlinuz", "cloud/lab.img"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
    print("SKIPPED: no kernel: tools/guest needs an apt index")
    sys.exit(77)
namespaces.enter()

NETWORK = """<network><name>{name}</name>{forward}<ip address='{net}.1' prefix='24'><dhcp><range start='{net}.2' end='{net}.254'/></dhcp></ip></network>"""
SCRIPT = """
echo "lab: outside $(ping -c 1 -W 5 203.0.113.2 >/dev/null && echo answers || echo silent)"
until [ -e /sys/class/net/eth1 ]; do sleep 0.2; done
echo "lab: plugged $(cat /sys/class/net/eth1/address)"
ip link set eth1 up
until udhcpc -i eth1 -s /etc/udhcpc.script -n -q -t 5 -T 2 >/dev/null 2>&1 </dev/null; do sleep 1; done
echo "lab: eth1 $(ip -4 -o addr show eth1 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')"
while [ -e /sys/class/net/eth1 ]; do sleep 0.2; done
echo "lab: unplugged"
sleep 1000
"""
SECCOMP_FILTER = "2"


class Guest(InteropTest):
    OPTIONS = ("--default-network", "none", "--user", "nobody")

    def setUp(self):
        super().setUp()
        os.chmod(self.place, 0o755)
        for name, forward, net in (("nat", "<forward/>", "192.168.122"), ("private1", "", "172.16.10")):
            path = self.place / f"{name}.xml"
            path.write_text(NETWORK.format(name=name, forward=forward, net=net))
            self.virsh("net-define", path)
            self.virsh("net-start", name)
            self.addCleanup(self.daemon.virsh, "net-destroy", name)
        outer = Namespace()
        self.addCleanup(outer.close)
        outer.plug("out0")
        command("ip addr add 203.0.113.1/24 dev out0")
        outer.run("ip addr add 203.0.113.2/24 dev eth0")

    def image(self):
        script, kernel, image = self.place / "script", self.place / "vmlinuz", self.place / "image"
        script.write_text(SCRIPT)
        guest = [str(ROOT / "tools" / "guest")]
        made = subprocess.run([*guest, "cloud/vmlinuz"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
        subprocess.run([*guest, "--script", str(script), "cloud/lab.img", str(image)], check=True, stdout=subprocess.DEVNULL)
        kernel.write_bytes(pathlib.Path(made).read_bytes())
        os.chmod(image, 0o644)
        return kernel, image

    def start(self):
        kernel, image = self.image()
        self.output = self.place / "log" / "fw1-console.log"  # the VM's user may not write there; it gets the open file
        path = self.place / "fw1.xml"
        path.write_text(f"""<domain type='qemu'><name>fw1</name><memory unit='MiB'>128</memory>
<os><type>hvm</type><kernel>{kernel}</kernel><initrd>{image}</initrd><cmdline>console=ttyS0 quiet panic=-1</cmdline></os>
<devices><interface type='network'><source network='nat'/><mac address='52:54:00:00:00:11'/><model type='virtio'/></interface>
<serial type='file'><source path='{self.output}'/></serial></devices></domain>""")
        self.virsh("define", path)
        self.virsh("start", "fw1")
        return int((self.place / "run" / "domains").glob("*.lock").__next__().read_text())

    def says(self, pattern):
        found = []

        def look():
            text = self.output.read_text(errors="replace") if self.output.exists() else ""
            found.extend(re.findall(pattern, text))
            return found
        self.wait_for(look, f"the guest does not say {pattern}")
        return found[0]

    def taps(self):
        return re.findall(r"(vnet\d+)[:@]", command("ip -o link")[1])

    def confined(self, pid):
        """The VM's process has another user, no capability, no way to gain any, a filter, and limits."""
        status = dict(re.findall(r"^(\w+):\s*(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))
        self.assertEqual(set(status["Uid"].split()), {"65534"})
        self.assertNotIn("0", status["Gid"].split() + status["Groups"].split())
        self.assertEqual(int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status["CapAmb"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1")
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            filtered = re.search(r"^Seccomp:\s*(\d)", (task / "status").read_text(), re.M).group(1)
            self.assertEqual(filtered, SECCOMP_FILTER, (task / "comm").read_text())
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 ")
        self.assertRegex(limits, r"Max open files +1024 ")

    def test_guest(self):
        pid = self.start()
        address = self.says(r"guest: net (\S+)")
        self.assertRegex(address, r"^192\.168\.122\.\d+$")
        self.assertEqual(self.says("lab: outside (.*)").strip(), "answers")
        self.assertRegex(self.virsh("domifaddr", "fw1"), rf"vnet0 +52:54:00:00:00:11 +ipv4 +{address}/24")
        self.assertIn(address, self.virsh("net-dhcp-leases", "nat"))
        self.assertRegex(self.virsh("domiflist", "fw1"), r"vnet0 +network +nat +virtio +52:54:00:00:00:11")
        self.confined(pid)
        self.assertTrue((self.place / "log" / "fw1.log").read_text())

        self.virsh("attach-interface", "--domain", "fw1", "--source", "private1", "--type", "network", "--model", "virtio", "--mac",
                   "52:54:00:00:00:77", "--config", "--live")
        self.assertEqual(self.says("lab: plugged (.*)").strip(), "52:54:00:00:00:77")
        second = self.says(r"lab: eth1 (\S+)")
        self.assertRegex(second, r"^172\.16\.10\.\d+$")
        self.assertIn(second, self.virsh("net-dhcp-leases", "private1"))
        self.assertEqual(self.taps(), ["vnet0", "vnet1"])
        self.assertIn("fe:54:00:00:00:77", command("ip -o link show vnet1")[1])
        for options in ((), ("--inactive",)):
            networks = ElementTree.fromstring(self.virsh("dumpxml", "fw1", *options)).findall("devices/interface/source")
            self.assertEqual([source.get("network") for source in networks], ["nat", "private1"])

        # ferryd is gone and comes again: the guest has not noticed.
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.virsh("domstate", "fw1"), "running")
        self.assertEqual(self.taps(), ["vnet0", "vnet1"])
        self.virsh("detach-interface", "fw1", "network", "--mac", "52:54:00:00:00:77", "--live", "--config")
        self.says("lab: (unplugged)")
        self.wait_for(lambda: self.taps() == ["vnet0"], "the tap of the card stays")

        os.kill(pid, signal.SIGKILL)
        self.wait_for(lambda: self.virsh("domstate", "fw1") == "shut off", "the end of the VM is not noticed")
        self.assertEqual(self.taps(), [])

    def test_bridge_of_the_host(self):
        command("ip link add br7 type bridge")
        self.addCleanup(command, "ip link del br7")
        kernel, path = self.place / "kernel", self.place / "bridged.xml"
        kernel.write_bytes((GUESTS / "idle.elf").read_bytes())
        path.write_text(f"""<domain type='qemu'><name>bridged</name><memory unit='MiB'>16</memory><os><type>hvm</type><kernel>{kernel}</kernel></os>
<devices><interface type='bridge'><source bridge='br7'/><target dev='port7'/></interface></devices></domain>""")
        self.virsh("define", path)
        self.virsh("start", "bridged")
        self.assertIn("master br7", command("ip -o link show port7")[1])
        self.assertRegex(self.virsh("domiflist", "bridged"), r"port7 +bridge +br7 +virtio")
        self.virsh("destroy", "bridged")
        self.wait_for(lambda: "port7" not in command("ip -o link")[1], "the tap stays")
        self.virsh("undefine", "bridged")
        path.write_text(path.read_text().replace("br7", "lo"))
        self.virsh("define", path)
        self.assertIn("interface lo is not a bridge", self.refused("start", "bridged"))

    def test_inactive_network(self):
        self.virsh("net-destroy", "nat")
        path = self.place / "none.xml"
        kernel = self.place / "kernel"  # the network is what the start ends at
        kernel.write_bytes(b"")
        path.write_text(f"""<domain type='qemu'><name>none</name><memory unit='MiB'>16</memory><os><type>hvm</type><kernel>{kernel}</kernel></os>
<devices><interface type='network'><source network='nat'/></interface></devices></domain>""")
        self.virsh("define", path)
        self.assertIn("network nat is not active; start it with: virsh net-start nat", self.refused("start", "none"))
        self.assertEqual(self.taps(), [])


main()
