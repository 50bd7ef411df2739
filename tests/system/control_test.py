#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket of a running VM, and the verbs of the ferry command."""
import os
import socket
import stat

from system import ENGINES, Qmp, SystemTest, ferry, main
from ports import free_port


class Control(SystemTest):
    def setUp(self):
        super().setUp()
        self.socket = self.place / "control"
        self.disk = self.place / "disk"
        self.disk.write_bytes(bytes(1 << 20))

    def start(self, guest="idle", *options, engine=ENGINES[0]):
        return self.vm(guest, "--name", "test", "--control", self.socket, "--disk", f"{self.disk},readonly=on", *options, engine=engine,
                       serial="none")

    def test_queries(self):
        for engine in ENGINES:
            with self.subTest(engine=engine), self.start("idle", "--cpus", "2", engine=engine) as console, Qmp(self.socket) as qmp:
                self.assertIn("QMP", qmp.greeting)
                self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600)
                qmp.negotiate()
                self.assertEqual(qmp.call("query-status"), {"status": "running", "running": True, "singlestep": False})
                self.assertEqual(qmp.call("query-name"), {"name": "test"})
                self.assertEqual(qmp.call("query-kvm")["enabled"], engine == "kvm")
                self.assertEqual([cpu["cpu-index"] for cpu in qmp.call("query-cpus-fast")], [0, 1])
                self.assertIn("qemu", qmp.call("query-version"))
                self.assertEqual(qmp.call("query-block")[0]["inserted"]["image"]["virtual-size"], 1 << 20)
                self.assertTrue(qmp.call("query-block")[0]["inserted"]["ro"])
                self.assertEqual(qmp.call("query-balloon"), {"actual": 16 << 20})
                qmp.call("balloon", value=8 << 20)
                self.assertEqual(qmp.call("query-blockstats")[0]["stats"]["rd_operations"], 0)
                self.assertEqual(qmp.execute("set_link", name="nobody", up=False)["error"]["class"], "DeviceNotFound")
                self.assertEqual(qmp.call("query-chardev")[0]["label"], "serial0")
                self.assertIn({"name": "query-status"}, qmp.call("query-commands"))
                self.assertEqual(qmp.call("x-ferry-statistics")["engine"], engine)
                qmp.call("quit")
                self.assertEqual(qmp.wait_for("SHUTDOWN")["data"]["guest"], False)
                self.assertEqual(console.finish(), 0)
                self.assertFalse(self.socket.exists())

    def test_errors_are_human(self):
        with self.start(), Qmp(self.socket) as qmp:
            self.assertEqual(qmp.execute("query-status")["error"]["class"], "CommandNotFound")
            qmp.negotiate()
            self.assertEqual(qmp.execute("dance")["error"], {"class": "CommandNotFound", "desc": "The command dance has not been found"})
            self.assertEqual(qmp.execute("balloon")["error"]["desc"], "Parameter 'value' is missing")
            self.assertIn("expected: integer", qmp.execute("balloon", value="x")["error"]["desc"])
            self.assertEqual(qmp.execute("stop", now=1)["error"]["desc"], "Parameter 'now' is unexpected")
            qmp.raw("{oops}\n")
            self.assertEqual(qmp.message()["error"]["class"], "GenericError")
            qmp.raw('{"execute": "query-status", "id": [1, "x"]}')
            self.assertEqual(qmp.message()["id"], [1, "x"])

    def test_announcements(self):
        with self.start("idle", "--net", "user"), Qmp(self.socket) as qmp:
            qmp.negotiate()
            self.assertEqual(qmp.call("announce-self"), {})
            self.assertEqual(qmp.call("announce-self", initial=1, max=5, rounds=3, step=1), {})
            self.assertIn("from 1 to 1000, not 0", qmp.execute("announce-self", rounds=0)["error"]["desc"])
            self.assertIn("'speed' is unexpected", qmp.execute("announce-self", speed=1)["error"]["desc"])
            self.assertIn("not negative", qmp.execute("announce-self", max=-1)["error"]["desc"])
            qmp.call("stop")
            self.assertIn("does not run", qmp.execute("announce-self")["error"]["desc"])

    def test_hostile_clients_are_dropped_and_others_served(self):
        with self.start(), Qmp(self.socket) as qmp, Qmp(self.socket) as hostile:
            qmp.negotiate()
            try:
                hostile.raw('{"a": "' + "x" * (1 << 20))
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.assertTrue(qmp.call("query-status")["running"])

    def test_pause_and_reset(self):
        for engine in ENGINES:
            with self.subTest(engine=engine), self.start(engine=engine) as console, Qmp(self.socket) as qmp:
                qmp.negotiate()
                qmp.call("stop")
                qmp.wait_for("STOP")
                self.assertEqual(qmp.call("query-status")["status"], "paused")
                qmp.call("cont")
                qmp.wait_for("RESUME")
                qmp.call("system_reset")
                self.assertFalse(qmp.wait_for("RESET")["data"]["guest"])
                qmp.call("system_powerdown")
                qmp.wait_for("POWERDOWN")
                self.assertTrue(qmp.call("query-status")["running"])
                console.terminate()
                self.assertEqual(console.finish(), 128 + 15)

    def test_started_paused(self):
        with self.start("hello", "--paused") as console, Qmp(self.socket) as qmp:
            qmp.negotiate()
            self.assertEqual(qmp.call("query-status")["status"], "prelaunch")
            qmp.call("cont")
            self.assertTrue(qmp.wait_for("SHUTDOWN")["data"]["guest"])
            self.assertEqual(console.finish(), 0)

    def test_crash_is_told(self):
        with self.start("crash", "--paused") as console, Qmp(self.socket) as qmp:
            qmp.negotiate()
            qmp.raw('{"execute": "cont"}')
            qmp.wait_for("GUEST_PANICKED")
            self.assertEqual(console.finish(), 3)

    def test_devices_come_and_go(self):
        extra = self.place / "extra"
        extra.write_bytes(bytes(2 << 20))
        file = {"driver": "file", "filename": str(extra)}
        with self.start() as console, Qmp(self.socket) as qmp:
            qmp.negotiate()
            for command, arguments, complaint in (
                    ("device_add", {"driver": "virtio-blk-pci", "id": "d"}, "Parameter 'drive' is missing"),
                    ("device_add", {"driver": "virtio-blk-pci", "id": "d", "drive": "nothing"}, "no disk image called 'nothing'"),
                    ("device_add", {"driver": "e1000", "id": "d", "netdev": "n"}, "there are: virtio-blk-pci, virtio-net-pci"),
                    ("device_add", {"driver": "virtio-net-pci", "id": "d", "netdev": "disk0"}, "no network called 'disk0'"),
                    ("device_add", {"driver": "virtio-blk-pci", "id": "d", "drive": "disk0"}, "in use by another device"),
                    ("blockdev-add", {"driver": "raw", "node-name": "1", "file": file}, "can't be a name"),
                    ("blockdev-add", {"driver": "raw", "node-name": "disk0", "file": file}, "already"),
                    ("blockdev-add", {"driver": "vmdk", "node-name": "i", "file": file}, '"vmdk" is unknown'),
                    ("blockdev-add", {"driver": "file", "node-name": "i", "filename": str(self.place / "no")}, "No such file"),
                    ("blockdev-add", {"driver": "file", "node-name": "i", "filename": str(self.disk), "cache": {}}, "unexpected"),
                    ("netdev_add", {"type": "tap", "id": "n"}, "either 'fd' or 'ifname'"),
                    ("netdev_add", {"type": "tap", "id": "n", "fd": "x"}, "no descriptor called 'x'"),
                    ("netdev_add", {"type": "vde", "id": "n"}, "there are: tap, bridge, user"),
                    ("netdev_add", {"type": "user", "id": "n", "hostfwd": [1]}, "hostfwd"),
                    ("netdev_del", {"id": "disk0"}, "no network called 'disk0'"),
                    ("getfd", {"fdname": "x"}, "SCM_RIGHTS"),
                    ("device_del", {"id": "x"}, "no device called 'x'")):
                self.assertIn(complaint, qmp.execute(command, **arguments)["error"]["desc"])
            qmp.call("blockdev-add", driver="raw", file=file, **{"node-name": "i"})
            self.assertIn("in use", qmp.execute("blockdev-add", driver="raw", file=file, **{"node-name": "j"})["error"]["desc"])
            for address, complaint in (("0x3", "slots 4 to 31"), ("0x4", "taken"), ("20", "0x4 to 0x1f"), ("5.1", "0x4 to 0x1f")):
                self.assertIn(complaint, qmp.execute("device_add", driver="virtio-blk-pci", id="d", drive="i",
                                                     addr=address)["error"]["desc"])
            self.assertIn("longer", qmp.execute("device_add", driver="virtio-blk-pci", id="d", drive="i", serial="x" * 21)["error"]["desc"])
            qmp.call("device_add", driver="virtio-blk-pci", id="d", drive="i", addr="0x5")
            self.assertEqual([disk["device"] for disk in qmp.call("query-block")], ["disk0", "d"])
            self.assertIn("already", qmp.execute("device_add", driver="virtio-blk-pci", id="d", drive="i")["error"]["desc"])
            qmp.call("netdev_add", type="user", id="n", hostfwd=[{"str": f"tcp:127.0.0.1:{free_port()}-:80"}])
            qmp.call("device_add", driver="virtio-net-pci", id="c", netdev="n")
            self.assertIn("in use", qmp.execute("netdev_del", id="n")["error"]["desc"])
            qmp.call("device_del", id="d")  # this guest does not look
            qmp.call("device_del", id="c")
            self.assertEqual(len(qmp.call("x-ferry-devices")), 3)
            qmp.call("system_reset")
            self.assertEqual({qmp.wait_for("DEVICE_DELETED")["data"]["device"] for _ in "dc"}, {"d", "c"})
            self.assertEqual([disk["device"] for disk in qmp.call("query-block")], ["disk0"])
            qmp.call("netdev_del", id="n")
            qmp.call("blockdev-del", **{"node-name": "i"})
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)

    def test_slots_run_out(self):
        with self.start("idle", "--paused") as console, Qmp(self.socket) as qmp:
            qmp.negotiate()
            for number in range(27):
                qmp.call("netdev_add", type="user", id=f"n{number}")
                qmp.call("device_add", driver="virtio-net-pci", id=f"c{number}", netdev=f"n{number}")
            qmp.call("netdev_add", type="user", id="n27")
            self.assertIn("no PCI slot is free", qmp.execute("device_add", driver="virtio-net-pci", id="x", netdev="n27")["error"]["desc"])
            qmp.call("device_del", id="c3")  # has never run: goes at once
            self.assertEqual(qmp.wait_for("DEVICE_DELETED")["data"], {"device": "c3", "path": "/machine/peripheral/c3"})
            qmp.call("device_add", driver="virtio-net-pci", id="x", netdev="n27")
            qmp.call("cont")
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)

    def test_descriptors_are_handed_over(self):
        """What the VM itself could not open: the file has no name any more."""
        extra = self.place / "extra"
        extra.write_bytes(bytes(1 << 20))
        with self.start() as console, Qmp(self.socket) as qmp, open(extra, "r+b") as image:
            qmp.negotiate()
            extra.unlink()
            self.assertEqual(qmp.call_with_fd(image.fileno(), "add-fd", **{"fdset-id": 7})["fdset-id"], 7)
            file = {"driver": "file", "filename": "/dev/fdset/7"}
            qmp.call("blockdev-add", driver="raw", file=file, **{"node-name": "i"})
            self.assertIn("no descriptor", qmp.execute("blockdev-add", driver="raw", file=file, **{"node-name": "j"})["error"]["desc"])
            qmp.call("device_add", driver="virtio-blk-pci", id="d", drive="i")
            self.assertEqual(qmp.call("query-block")[1]["inserted"]["image"]["virtual-size"], 1 << 20)
            qmp.call_with_fd(image.fileno(), "getfd", fdname="not-a-tap")
            self.assertIn("not a tap interface", qmp.execute("netdev_add", type="tap", id="n", fd="not-a-tap")["error"]["desc"])
            for number in range(40):  # the store has its limit, and what does not fit is closed
                reply = qmp.execute_with_fd(image.fileno(), "getfd", fdname=f"f{number}")
            self.assertIn("wait already", reply["error"]["desc"])
            qmp.call("closefd", fdname="f0")
            qmp.call_with_fd(image.fileno(), "query-status")  # comes with a command that has no use for it
            self.assertLess(len(os.listdir(f"/proc/{self.vmm(console)}/fd")), 80)
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)

    @staticmethod
    def vmm(console):
        """ferry run becomes ferry-vmm."""
        return console.process.pid

    def test_verbs(self):
        with self.start() as console, Qmp(self.socket):
            self.assertEqual(ferry("status", "--control", self.socket)[:2], (0, "running\n"))
            self.assertEqual(ferry("stop", "--control", self.socket)[0], 0)
            self.assertEqual(ferry("status", f"--control={self.socket}")[:2], (0, "paused\n"))
            self.assertEqual(ferry("cont", "--control", self.socket)[0], 0)
            self.assertEqual(ferry("powerdown", "--control", self.socket)[0], 0)
            self.assertEqual(ferry("quit", "--control", self.socket)[0], 0)
            self.assertEqual(console.finish(), 0)

    def test_stale_socket_is_replaced(self):
        with self.start() as console, Qmp(self.socket):
            console.process.kill()
            console.process.wait()
        self.assertTrue(self.socket.exists())
        with self.start(), Qmp(self.socket) as qmp:
            qmp.negotiate()


main()
