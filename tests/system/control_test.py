#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket of a running VM, and the verbs of the ferry command."""
import os
import stat

from system import ENGINES, Qmp, SystemTest, ferry, main


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
