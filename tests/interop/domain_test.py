#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virsh against ferryd: domains from their definition to their end, with tiny guests of our own."""
import os
import pathlib
import pty
import select
import subprocess
import time
import unittest
import xml.etree.ElementTree as ElementTree

from interop import GUESTS, LIMIT, InteropTest, main, need

need("virsh")


def definition(name, guest="echo", devices="<console type='pty'/>", extra="", memory=16):
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  {extra}
  <os><type>hvm</type><kernel>{GUESTS / guest}.elf</kernel></os>
  <devices>{devices}</devices>
</domain>"""


class Domain(InteropTest):
    def write(self, text, name="definition.xml"):
        path = self.place / name
        path.write_text(text)
        return path

    def define(self, name="t1", **more):
        self.virsh("define", self.write(definition(name, **more)))

    def dump(self, name="t1", *options):
        return ElementTree.fromstring(self.virsh("dumpxml", name, *options))

    def state(self, name="t1"):
        return self.virsh("domstate", name)

    def names(self, *options):
        return self.virsh("list", "--name", *options).split()


class Definitions(Domain):
    def test_define_list_undefine(self):
        self.define()
        self.assertEqual(self.names("--all"), ["t1"])
        self.assertEqual(self.names(), [])
        self.assertEqual(self.names("--inactive", "--persistent"), ["t1"])
        self.assertEqual(self.names("--all", "--autostart"), [])
        self.virsh("autostart", "t1")
        self.assertEqual(self.names("--all", "--autostart"), ["t1"])
        info = self.virsh("dominfo", "t1")
        for line in ("State: +shut off", "CPU.s.: +1", "Max memory: +16384 KiB", "Persistent: +yes", "Autostart: +enable", "Managed save: +no"):
            self.assertRegex(info, line)
        uuid = self.virsh("domuuid", "t1")
        self.daemon.end()
        self.daemon.start()
        self.assertEqual(self.virsh("domuuid", "t1"), uuid)
        self.assertEqual(self.virsh("domname", uuid), "t1")
        self.assertEqual(self.names("--all", "--autostart"), ["t1"])
        self.virsh("domrename", "t1", "t2")
        self.assertEqual(self.names("--all"), ["t2"])
        self.virsh("undefine", "t2")
        self.assertEqual(self.names("--all"), [])
        self.assertIn("failed to get domain", self.refused("dominfo", "t2"))

    def test_document_is_completed_and_kept(self):
        self.define(devices="<console/><interface type='user'/><disk><source file='/tmp/x.img'/><target dev='vda'/></disk>", extra="""
  <title>A title</title><description>d &lt; e</description>
  <metadata><x:a xmlns:x='urn:x' b='1'><x:c>text</x:c></x:a><y:z xmlns:y='urn:y'/></metadata>
  <vcpu>2</vcpu><cpu mode='custom'><model>x86-64-v2</model><topology sockets='1' cores='2' threads='1'/><feature policy='disable' name='avx'/></cpu>""")
        first = self.virsh("dumpxml", "t1")
        root = ElementTree.fromstring(first)
        self.assertEqual(root.find("metadata/{urn:x}a/{urn:x}c").text, "text")
        self.assertIsNotNone(root.find("metadata/{urn:y}z"))
        self.assertEqual(root.findtext("description"), "d < e")
        self.assertRegex(root.find("devices/interface/mac").get("address"), "^52:54:00(:[0-9a-f]{2}){3}$")
        self.assertEqual(root.find("devices/disk/driver").attrib, {"name": "qemu", "type": "raw"})
        slots = [root.find(f"devices/{kind}/address").get("slot") for kind in ("interface", "disk")]
        self.assertEqual(len(set(slots)), 2)
        self.assertEqual(root.find("devices/serial").get("type"), "pty")
        self.virsh("define", self.write(first))
        self.assertEqual(self.virsh("dumpxml", "t1"), first)
        self.assertEqual(self.virsh("metadata", "t1", "urn:y"), "<y:z xmlns:y='urn:y'/>")
        self.virsh("metadata", "t1", "urn:k", "--key", "k", "--set", "<v>1</v>", "--config")
        self.assertIn("<k:v xmlns:k='urn:k'>1</k:v>", self.virsh("metadata", "t1", "urn:k"))
        self.virsh("metadata", "t1", "urn:y", "--remove", "--config")
        self.assertIn("metadata not found", self.refused("metadata", "t1", "urn:y"))
        self.virsh("desc", "t1", "--title", "--config", "other")
        self.assertEqual(self.virsh("desc", "t1", "--title"), "other")

    def test_what_is_not_there_is_refused_by_name(self):
        for devices, extra, sentence in (
                ("<sound model='ich9'/>", "", "element <sound> in <devices>"),
                ("<disk><source file='/x'/><target dev='sda' bus='sata'/></disk>", "", "bus='sata' is not supported; there is: virtio"),
                ("<disk><source file='/x'/><target dev='vda'/><blockio/></disk>", "", "element <blockio> in <disk>"),
                ("<disk type='network'/>", "", "type='network' is not supported; there is: file, block"),
                ("<disk><source file='/x'/></disk>", "", "needs a <target>"),
                ("<disk><source file='/x'/><target dev='vda'/></disk>" * 2, "", "two devices <disk> are the same vda"),
                ("<interface type='user'><model type='rtl8139'/></interface>", "", "type='rtl8139' is not supported"),
                ("<interface type='network'/>", "", "needs a <source network=...>"),
                ("<interface type='user'><mac address='53:54:00:00:00:01'/></interface>", "", "is no MAC address"),
                ("<graphics type='vnc'/>", "", "<graphics> in line"),
                ("<emulator>/usr/bin/qemu-system-x86_64</emulator>", "", "emulator /usr/bin/qemu-system-x86_64; guests of this host run in"),
                ("", "<vcpu>0</vcpu>", "number from 1 on"),
                ("", "<vcpu>1000</vcpu>", "maximum CPUs of a domain are"),
                ("", "<memoryBacking><hugepages/></memoryBacking>", "element <memoryBacking> in <domain>"),
                ("", "<uuid>zz</uuid>", "malformed uuid"),
                ("", "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>", "no QEMU here"),
                ("", "<clock offset='utc'><timer name='hpet' present='yes'/></clock>", "no HPET")):
            with self.subTest(sentence):
                self.assertIn(sentence, self.refused("define", self.write(definition("bad", devices=devices, extra=extra))))
        for text, sentence in (("<domain", "broken"), ("<network/>", "is a <network>, not a <domain>"), ("<domain type='xen'/>", "type='xen'"),
                               ("<domain type='qemu'><name>a/b</name><memory>1</memory></domain>", "contains '/'"),
                               ("<domain type='qemu'><name>a</name></domain>", "needs a <memory>"),
                               ("<domain type='qemu'><memory>1024</memory></domain>", "needs a <name>"),
                               ("<!DOCTYPE x [<!ENTITY a 'b'>]><domain/>", "document type")):
            with self.subTest(sentence):
                self.assertIn(sentence, self.refused("define", self.write(text)))
        self.assertEqual(self.names("--all"), [])

    def test_names_and_uuids_are_unique(self):
        self.define()
        self.assertIn("already exists with uuid", self.refused("define", self.write(definition("t1"))))
        uuid = self.virsh("domuuid", "t1")
        self.assertIn("is already defined with uuid", self.refused("define", self.write(definition("t2", extra=f"<uuid>{uuid}</uuid>"))))

    def test_two_hundred_domains(self):
        text = definition("NAME", devices="<console type='pty'/><disk><source file='/srv/NAME.img'/><target dev='vda'/></disk><interface type='user'/>")
        script = self.place / "script"
        commands = []
        for number in range(200):
            commands.append(f"define {self.write(text.replace('NAME', f'd{number}'), f'd{number}.xml')}")
        script.write_text("\n".join(commands) + "\n")
        with open(script, "rb") as stream:
            subprocess.run(["virsh", "-q", "-c", self.daemon.uri], stdin=stream, stdout=subprocess.DEVNULL, check=True, timeout=LIMIT)
        began = time.monotonic()
        self.virsh("list", "--all", "--name")
        empty = self.seconds("hostname")
        full = self.seconds("list", "--all")
        self.assertEqual(len(self.names("--all")), 200)
        # the list costs little beside what a connection costs
        self.assertLess(full - empty, 10 * empty, f"{time.monotonic() - began}")
        for number in range(20):
            self.virsh("create", self.write(definition(f"r{number}", guest="idle")))
        self.assertEqual(len(self.names()), 20)
        running = self.seconds("list", "--all")
        status = pathlib.Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0])
        print(f"200 domains: hostname {empty * 1000:.0f} ms, list --all {full * 1000:.0f} ms, with 20 running VMs {running * 1000:.0f} ms, "
              f"ferryd {resident} KiB resident", flush=True)
        if "asan" not in pathlib.Path(f"/proc/{self.daemon.process.pid}/maps").read_text():  # whose own memory is another matter
            self.assertLess(resident, 40 * 1024)

    def seconds(self, *command):
        times = []
        for _ in range(5):
            began = time.monotonic()
            self.virsh(*command)
            times.append(time.monotonic() - began)
        return min(times)


class Running(Domain):
    def test_life(self):
        self.define()
        self.virsh("start", "t1")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "running (booted)")
        self.assertIn("already active", self.refused("start", "t1"))
        self.virsh("suspend", "t1")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "paused (user)")
        self.virsh("resume", "t1")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "running (unpaused)")
        self.virsh("reset", "t1")
        self.virsh("shutdown", "t1")  # the guest does not care
        self.assertEqual(self.state(), "running")
        self.assertRegex(self.virsh("domstats", "t1"), r"state.state=1\n(.*\n)*.*vcpu.0.time=\d+")
        self.assertRegex(self.virsh("dommemstat", "t1"), r"actual 16384\nrss \d+")
        self.assertRegex(self.virsh("vcpuinfo", "t1"), r"State: +running")
        self.assertRegex(self.virsh("vcpucount", "t1"), r"maximum +config +1\n")
        self.assertIn("cannot be changed", self.refused("setvcpus", "t1", "2", "--live"))
        self.virsh("setvcpus", "t1", "2", "--config", "--maximum")
        self.virsh("setmaxmem", "t1", "32M", "--config")
        self.virsh("setmem", "t1", "24M", "--config")
        self.assertEqual(self.dump("t1", "--inactive").findtext("currentMemory"), "24576")
        self.virsh("setmem", "t1", "12M", "--live")
        self.assertIn("higher than max", self.refused("setmem", "t1", "40M", "--live"))
        self.assertIn('"status": "running"', self.virsh("qemu-monitor-command", "t1", '{"execute": "query-status"}'))
        self.assertIn("QMP", self.refused("qemu-monitor-command", "t1", "--hmp", "info status"))
        self.assertEqual(self.dump().findtext("cpu/model"), "x86-64-v2")
        pid = self.vm_pid()
        self.virsh("destroy", "t1")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "shut off (destroyed)")
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.assertIn("not running", self.refused("destroy", "t1"))
        self.virsh("start", "t1")
        self.assertEqual(self.dump().findtext("vcpu"), "2")
        self.assertEqual([path.name for path in (self.place / "run" / "vm").glob("*")], [self.virsh("domuuid", "t1")])
        self.virsh("destroy", "t1")
        self.assertEqual(list((self.place / "run" / "vm").glob("*")) + list((self.place / "run" / "domains").glob("*")), [])

    def vm_pid(self):
        return int(next((self.place / "run" / "domains").glob("*.lock")).read_text())

    def test_host_model_is_settled_at_the_start(self):
        self.define(extra="<cpu mode='host-model'/>")
        self.virsh("start", "t1")
        model = ElementTree.fromstring(self.virsh("capabilities")).findtext("host/cpu/model")
        self.assertEqual(self.dump().find("cpu").get("mode"), "custom")
        self.assertEqual(self.dump().findtext("cpu/model"), model)
        self.assertEqual(self.dump("t1", "--inactive").find("cpu").get("mode"), "host-model")
        self.virsh("destroy", "t1")

    def test_guest_ends_by_itself(self):
        self.define(guest="hello")
        self.virsh("start", "t1")
        self.wait_for(lambda: self.state() == "shut off", "the guest's end")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "shut off (shutdown)")
        self.virsh("create", self.write(definition("t2", guest="crash")))
        self.wait_for(lambda: self.names() == [], "the crash")
        self.assertEqual(self.names("--all"), ["t1"])

    def test_transient_domain(self):
        self.virsh("create", self.write(definition("t1")), "--paused")
        self.assertEqual(self.state(), "paused")
        self.assertIn("transient", self.refused("autostart", "t1"))
        self.assertEqual(self.names("--transient"), ["t1"])
        self.virsh("define", self.write(self.virsh("dumpxml", "t1")))
        self.assertEqual(self.names("--persistent"), ["t1"])
        self.virsh("undefine", "t1")
        self.virsh("destroy", "t1")
        self.assertEqual(self.names("--all"), [])

    def test_failed_start_says_why_and_leaves_nothing(self):
        self.define(devices="<disk><source file='/nowhere/x.img'/><target dev='vda'/></disk>")
        self.assertIn("Cannot access storage file '/nowhere/x.img': No such file", self.refused("start", "t1"))
        self.virsh("define", self.write(definition("t2").replace("/echo.elf", "/none.elf")))
        self.assertIn("none.elf", self.refused("start", "t2"))
        self.assertEqual(self.names(), [])
        self.assertEqual(list((self.place / "run" / "vm").glob("*")) + list((self.place / "run" / "domains").glob("*")), [])
        self.assertEqual(self.virsh("domstate", "t2", "--reason"), "shut off (failed)")

    def test_restart_and_crash_of_ferryd(self):
        self.define("t1")
        self.define("t2", guest="idle")
        self.virsh("create", self.write(definition("t3")))
        for name in ("t1", "t2"):
            self.virsh("start", name)
        self.virsh("suspend", "t2")
        documents = [self.virsh("dumpxml", name) for name in ("t1", "t2", "t3")]
        for end in (self.daemon.end, self.daemon.kill):
            end()
            self.daemon.start()
            self.assertEqual(sorted(self.names()), ["t1", "t2", "t3"])
            self.assertEqual(self.state("t2"), "paused")
            self.assertEqual([self.virsh("dumpxml", name) for name in ("t1", "t2", "t3")], documents)
        self.virsh("resume", "t2")
        pid = int(self.place.joinpath("run", "domains", self.virsh("domuuid", "t2") + ".lock").read_text())
        self.daemon.kill()
        os.kill(pid, 9)
        self.daemon.start()
        self.assertEqual(sorted(self.names()), ["t1", "t3"])
        self.assertEqual(self.virsh("domstate", "t2", "--reason"), "shut off (crashed)")
        for name in ("t1", "t3"):
            self.virsh("destroy", name)

    def test_autostart_with_the_host(self):
        self.define("t1")
        self.define("t2")
        self.virsh("autostart", "t1")
        self.daemon.end()
        self.daemon.start()
        self.assertEqual(self.names(), [])  # the host did not boot
        self.daemon.end()
        (self.place / "run" / "autostarted").unlink()  # what a boot does to the run directory
        self.daemon.start()
        self.wait_for(lambda: self.names() == ["t1"], "autostart")
        self.virsh("destroy", "t1")

    def test_save_and_restore(self):
        self.define(guest="count")
        self.virsh("start", "t1")
        saved = self.place / "t1.save"
        self.virsh("save", "t1", saved)
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "shut off (saved)")
        self.assertIn("<name>t1</name>", self.virsh("save-image-dumpxml", saved))
        self.virsh("restore", saved, "--paused")
        self.assertEqual(self.state(), "paused")
        self.assertIn("already running", self.refused("restore", saved))
        self.virsh("resume", "t1")
        self.virsh("managedsave", "t1")
        self.assertRegex(self.virsh("list", "--all", "--managed-save"), "t1 +saved")
        self.assertIn("managed save", self.refused("undefine", "t1"))
        self.virsh("start", "t1")
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "running (restored)")
        self.assertRegex(self.virsh("dominfo", "t1"), "Managed save: +no")
        self.virsh("managedsave", "t1")
        self.virsh("managedsave-remove", "t1")
        self.assertEqual(list((self.place / "state" / "save").glob("*")), [])
        self.assertIn("no saved domain", self.refused("restore", self.write("x" * 100)))
        self.assertIn("cannot write", self.refused_while_running())

    def refused_while_running(self):
        self.virsh("start", "t1")
        sentence = self.refused("save", "t1", "/nowhere/at/all")
        self.assertEqual(self.state(), "running")
        self.virsh("destroy", "t1")
        return sentence

    def test_devices_live_and_config(self):
        disk = self.place / "disk.img"
        disk.write_bytes(bytes(1 << 20))
        self.define()
        self.virsh("attach-disk", "t1", disk, "vdb", "--config")
        self.assertIn(str(disk), self.virsh("domblklist", "t1", "--inactive"))
        self.virsh("detach-disk", "t1", "vdb", "--config")
        self.virsh("start", "t1", "--paused")
        self.virsh("attach-disk", "t1", disk, "vdb", "--live", "--config", "--mode", "readonly")
        for options in ((), ("--inactive",)):
            self.assertIn(str(disk), self.virsh("domblklist", "t1", *options))
        self.assertRegex(self.virsh("domblkinfo", "t1", "vdb"), r"Capacity: +1048576")
        self.assertIn("already exists", self.refused("attach-disk", "t1", disk, "vdb", "--live"))
        self.assertIn("Cannot access storage file", self.refused("attach-disk", "t1", "/nowhere/x", "vdc", "--live", "--config"))
        self.assertNotIn("vdc", self.virsh("domblklist", "t1", "--inactive"))
        self.virsh("attach-device", "t1", self.write("<interface type='user'><mac address='52:54:00:00:00:77'/></interface>"), "--live", "--config")
        self.assertIn("52:54:00:00:00:77", self.virsh("domiflist", "t1"))
        self.virsh("detach-disk", "t1", "vdb", "--live", "--config")  # a guest that never ran is not asked
        self.assertNotIn("vdb", self.virsh("domblklist", "t1"))
        self.virsh("detach-interface", "t1", "user", "--mac", "52:54:00:00:00:77", "--live", "--config")
        self.assertNotIn("52:54:00:00:00:77", self.virsh("domiflist", "t1") + self.virsh("domiflist", "t1", "--inactive"))
        nic = self.write("<interface type='user'/>", "nic.xml")
        self.assertIn("has no interface", self.refused("detach-device", "t1", nic, "--config"))
        self.virsh("attach-device", "t1", nic, "--config")
        self.virsh("attach-device", "t1", nic, "--config")
        self.assertIn("multiple devices match", self.refused("detach-device", "t1", nic, "--config"))
        self.assertIn("cannot be attached", self.refused("attach-device", "t1", self.write("<memballoon model='virtio'/>"), "--config"))
        self.virsh("destroy", "t1")

    def test_events(self):
        self.define()
        with subprocess.Popen(["virsh", "-c", self.daemon.uri, "event", "--all", "--loop", "--timeout", "60"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            time.sleep(1)
            for command in ("start", "suspend", "resume", "reset", "destroy", "undefine"):
                self.virsh(command, "t1")
            time.sleep(0.5)
            process.send_signal(2)
            text = process.communicate(timeout=LIMIT)[0]
        for event in ("Resumed Unpaused", "Started Booted", "Suspended Paused", "event 'reboot' for domain 't1'", "Stopped Destroyed",
                      "Undefined Removed"):
            self.assertIn(event, text)

    def test_console(self):
        self.define()
        self.virsh("start", "t1")
        master, slave = pty.openpty()
        with subprocess.Popen(["virsh", "-c", self.daemon.uri, "console", "t1"], stdin=slave, stdout=slave, stderr=slave) as process:
            os.close(slave)
            self.read_until(master, b"Escape character")
            self.assertIn("Active console session exists", self.refused_console())
            os.write(master, b"hal")
            self.read_until(master, b"ibm")  # the guest answers with the next letter
            os.write(master, b"\x1d")
            self.assertEqual(process.wait(LIMIT), 0)
        os.close(master)
        self.virsh("destroy", "t1")

    def refused_console(self):
        master, slave = pty.openpty()
        done = subprocess.run(["virsh", "-c", self.daemon.uri, "console", "t1"], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=LIMIT, check=False, text=True)
        os.close(master)
        os.close(slave)
        return done.stdout

    def read_until(self, master, wanted):
        text, deadline = b"", time.monotonic() + LIMIT
        while wanted not in text:
            self.assertLess(time.monotonic(), deadline, text)
            if select.select([master], [], [], 1)[0]:
                text += os.read(master, 4096)

    def test_read_only_connection(self):
        self.define()
        for command in (("start", "t1"), ("undefine", "t1"), ("autostart", "t1"), ("setmem", "t1", "8M", "--config"), ("domrename", "t1", "t9"),
                        ("create", self.write(definition("t5"))), ("define", self.write(definition("t5")))):
            self.assertIn("read only access", self.refused(*command, readonly=True))
        self.assertIn("t1", self.virsh("list", "--all", readonly=True))
        self.assertIn("<name>t1</name>", self.virsh("dumpxml", "t1", readonly=True))
        self.assertIn("read only access", self.refused("dumpxml", "t1", "--security-info", readonly=True))


@unittest.skipUnless(os.geteuid() == 0, "VMs run as another user only when ferryd is root")
class OtherUser(InteropTest):
    OPTIONS = ("--default-network", "none", "--user", "nobody", "--group", "nogroup")

    def test_vm_gets_files_and_not_rights(self):
        self.place.chmod(0o711)
        files = {}
        for name, content in (("kernel", (GUESTS / "reset.elf").read_bytes()), ("initrd", b"x" * 4096), ("disk", bytes(1 << 20)), ("console", b"")):
            files[name] = self.place / name
            files[name].write_bytes(content)
            files[name].chmod(0o600)
        path = self.place / "u1.xml"
        path.write_text(f"""<domain type='qemu'><name>u1</name><memory unit='MiB'>16</memory>
          <os><type>hvm</type><kernel>{files["kernel"]}</kernel><initrd>{files["initrd"]}</initrd></os><devices>
          <disk><source file='{files["disk"]}'/><target dev='vda'/></disk>
          <serial type='file'><source path='{files["console"]}'/></serial></devices></domain>""")
        self.virsh("define", path)
        self.virsh("start", "u1", "--paused")
        pid = int(next((self.place / "run" / "domains").glob("*.lock")).read_text())
        self.assertNotEqual(os.stat(f"/proc/{pid}").st_uid, 0)
        files["kernel"].unlink()  # a reset needs the file, not its name
        self.virsh("reset", "u1")
        self.virsh("destroy", "u1")
        self.assertIn("cannot open the kernel", self.refused("start", "u1"))


main()
