#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A small guest moves: over every transport, between engines, several times, running or paused."""
import itertools
import os
import socket
import time

from migration import ENGINES, LIMIT, MigrationTest, complaints, free_port, main, wait_over, wait_status


# Of QEMU 7.2's MigrationStats, all mandatory.
MEMBERS = {"transferred", "remaining", "total", "duplicate", "skipped", "normal", "normal-bytes", "dirty-pages-rate", "mbps",
           "dirty-sync-count", "postcopy-requests", "page-size", "multifd-bytes", "pages-per-second", "precopy-bytes", "downtime-bytes",
           "postcopy-bytes", "dirty-sync-missed-zero-copy"}


class Move(MigrationTest):
    def move(self, uri, *options, engines=(ENGINES[0], ENGINES[0]), parameters=None, capabilities=None, guest="count"):
        source, target, out, into = self.pair(uri, *options, engines=engines, guest=guest)
        self.type(source, "abc")
        self.assertEqual(into.call("query-status")["status"], "inmigrate")
        out.call("migrate-set-parameters", **(parameters or {}))
        out.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in capabilities or ()])
        out.call("migrate", uri=uri)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "completed", answer)
        self.assertEqual(out.call("query-status")["status"], "postmigrate")
        wait_status(into, "running")  # the source is done when the destination has said that it will be
        self.type(target, "def")
        self.assertIn("postmigrate", out.execute("cont")["error"]["desc"])
        self.assertIn("gone to another host", out.execute("system_reset")["error"]["desc"])
        out.call("quit")
        self.assertEqual(source.finish(), 0)
        self.assertEqual(complaints(source) + complaints(target), [])
        return answer, out, into

    def test_unix(self):
        answer, _, into = self.move(f"unix:{self.place}/m")
        self.assertEqual(answer["x-ferry-stage"], "continue")
        self.assertEqual(into.call("query-migrate")["status"], "completed")
        ram = answer["ram"]
        self.assertEqual(ram["total"], 16 << 20)
        self.assertEqual(ram["remaining"], 0)
        self.assertGreaterEqual(ram["normal"] + ram["duplicate"], 4096)
        parts = answer["x-ferry-downtime-parts-us"]
        self.assertEqual(set(parts), {"cpus", "memory", "state", "destination", "disks", "takeover"})
        self.assertIn(answer["x-ferry-downtime-us"] - sum(parts.values()), range(len(parts)))  # each is rounded down
        self.assertFalse((self.place / "m").exists())

    def test_tcp(self):
        self.move(f"tcp:127.0.0.1:{free_port()}")

    def test_across_engines(self):
        for engines in itertools.permutations(ENGINES, 2):
            with self.subTest(engines=engines):
                self.move(f"unix:{self.place}/m", "--cpu", "x86-64-v1", engines=engines)
                self.doCleanups()
                self.setUp()

    def test_several_channels(self):
        self.move(f"unix:{self.place}/m", parameters={"multifd-channels": 4}, capabilities=["multifd"], guest="dirty")

    def test_compressed(self):
        for method in "zstd", "lz4", "auto":
            with self.subTest(method=method):
                answer, _, _ = self.move(f"unix:{self.place}/m", parameters={"multifd-compression": method}, guest="dirty")
                ram = answer["ram"]
                if method != "auto":
                    self.assertLess(ram["transferred"], ram["normal-bytes"] / 4)
                self.doCleanups()
                self.setUp()

    def test_delta(self):
        """Over a slow way, pages go as differences; on several channels too."""
        for multifd in False, True:
            with self.subTest(multifd=multifd):
                self.move_by_delta(multifd)
                self.doCleanups()
                self.setUp()

    def move_by_delta(self, multifd):
        source, target, out, _ = self.pair(f"unix:{self.place}/m", guest="dirty")
        self.type(source, "abc")
        ways = {"xbzrle": True, "multifd": multifd, "auto-converge": False}
        out.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": on} for name, on in ways.items()])
        # Does not end before it is let.
        out.call("migrate-set-parameters", **{"max-bandwidth": 32 << 20, "downtime-limit": 0, "xbzrle-cache-size": 32 << 20})
        out.call("migrate", uri=f"unix:{self.place}/m")
        deadline = time.monotonic() + LIMIT
        while (answer := out.call("query-migrate")).get("xbzrle-cache", {}).get("pages", 0) < 1000:
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(0.02)
        self.type(source, "de")
        out.call("migrate-set-parameters", **{"downtime-limit": 2000, "max-bandwidth": 0})
        answer = wait_over(out)
        self.assertEqual(answer["status"], "completed", answer)
        delta = answer["xbzrle-cache"]
        self.assertEqual(delta["cache-size"], 32 << 20)
        self.assertGreater(delta["encoding-rate"], 8)
        self.type(target, "fghij")

    def test_memory_that_changes(self):
        self.move(f"unix:{self.place}/m", guest="dirty")

    def test_events(self):
        _, out, into = self.move(f"unix:{self.place}/m", capabilities=["events"])
        out.wait_for("MIGRATION_PASS")
        statuses = [event["data"]["status"] for event in out.events if event["event"] == "MIGRATION"]
        self.assertEqual(statuses, ["setup", "active", "device", "completed"])
        self.assertIn("RESUME", [event["event"] for event in into.events])

    def test_socket_by_descriptor(self):
        ours, theirs = socket.socketpair()
        for end in ours, theirs:
            os.set_inheritable(end.fileno(), True)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        # Both programs inherit both ends; each uses one.
        self.descriptors(ours.fileno(), theirs.fileno())

    def descriptors(self, out_fd, in_fd):
        import console as console_module
        popen = console_module.subprocess.Popen
        console_module.subprocess.Popen = lambda *arguments, **more: popen(*arguments, close_fds=False, **more)
        try:
            source = self.start("source")
            target = self.start("target", "--incoming", f"fd:{in_fd}")
        finally:
            console_module.subprocess.Popen = popen
        self.type(source, "ab")
        out = self.control("source")
        out.call("migrate", uri=f"fd:{out_fd}")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "cd")

    def test_socket_from_the_control_socket(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        source, target = self.start("source"), self.start("target", "--incoming", "defer")
        self.type(source, "ab")
        out, into = self.control("source"), self.control("target")
        for qmp, end in ((out, ours), (into, theirs)):
            socket.send_fds(qmp.socket, [b'{"execute": "getfd", "arguments": {"fdname": "way"}}'], [end.fileno()])
            self.assertIn("return", qmp.message())
            end.close()
        self.assertIn("nothing", out.execute("migrate", uri="fd:nothing")["error"]["desc"])
        into.call("migrate-incoming", uri="fd:way")
        out.call("migrate", uri="fd:way")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "cd")

    def test_paused_stays_paused(self):
        uri = f"unix:{self.place}/m"
        source, target, out, into = self.pair(uri)
        self.type(source, "abc")
        out.call("stop")
        out.call("migrate", uri=uri)
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(into.call("query-status")["status"], "paused")
        into.call("cont")
        self.type(target, "def")

    def test_told_before_it_comes(self):
        """stop and cont at the destination, while it waits."""
        for commands, status in ((("stop",), "paused"), (("stop", "cont"), "running")):
            with self.subTest(commands=commands):
                uri = f"unix:{self.place}/m"
                source, target, out, into = self.pair(uri)
                self.type(source, "a")
                for command in commands:
                    into.call(command)
                out.call("migrate", uri=uri)
                self.assertEqual(wait_over(out)["status"], "completed")
                wait_status(into, status)
                into.call("cont")
                self.type(target, "b")
                self.doCleanups()
                self.setUp()

    def test_any_port(self):
        """The system chooses one; the destination tells it."""
        source, target, out, into = self.pair("tcp:127.0.0.1:0")
        self.type(source, "a")
        address, = into.call("query-migrate")["socket-address"]
        self.assertEqual((address["type"], address["host"]), ("inet", "127.0.0.1"))
        out.call("migrate", uri=f"tcp:127.0.0.1:{address['port']}")
        answer = wait_over(out)
        self.assertEqual(answer["status"], "completed")
        self.type(target, "b")
        self.assertEqual(MEMBERS - answer["ram"].keys(), set())
        ram = answer["ram"]
        self.assertEqual(ram["precopy-bytes"] + ram["downtime-bytes"] + ram["postcopy-bytes"], ram["transferred"])

    def test_deferred(self):
        uri = f"unix:{self.place}/m"
        source, target = self.start("source"), self.start("target", "--incoming", "defer")
        self.type(source, "a")
        out, into = self.control("source"), self.control("target")
        into.call("migrate-incoming", uri=uri)
        self.assertIn("already", into.execute("migrate-incoming", uri=uri)["error"]["desc"])
        out.call("migrate", uri=uri)
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "b")

    def test_there_and_back(self):
        console, qmp = self.start("vm0"), None
        qmp = self.control("vm0")
        for turn in range(1, 11):
            uri, options = f"unix:{self.place}/m{turn}", ("--disk", self.disk())
            if turn == 1:
                console.__exit__()
                console = self.start("vm0", *options)
                qmp = self.control("vm0")
            self.type(console, chr(ord("a") + turn - 1))
            target = self.start(f"vm{turn}", "--incoming", uri, *options)
            into = self.control(f"vm{turn}")
            qmp.call("migrate", uri=uri)
            self.assertEqual(wait_over(qmp)["status"], "completed")
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)
            console, qmp = target, into
        self.type(console, "k")
        self.assertEqual([path.name for path in self.place.glob("*.ferry-*")], [])

    def disk(self):
        path = self.place / "disk"
        if not path.exists():
            path.write_bytes(bytes(1 << 20))
        return path

    def test_images_have_one_writer(self):
        uri, options = f"unix:{self.place}/m", ("--disk", self.disk())
        source, _, out, into = self.pair(uri, *options)
        self.type(source, "a")
        third = self.start("third", *options)
        self.assertEqual(third.finish(), 2)
        self.assertIn(b"in use", third.errors)
        out.call("migrate", uri=uri)
        wait_over(out)
        wait_status(into, "running")
        third = self.start("third", *options)
        self.assertEqual(third.finish(), 2)

    def fate(self, key):
        """A guest that does so while its memory is on its way."""
        uri = f"unix:{self.place}/m"
        source, target, out, into = self.pair(uri, guest="fate")
        while source.partial() != ">":
            source.step()
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0})
        out.call("migrate", uri=uri)
        while out.call("query-migrate")["ram"]["normal"] == 0:
            pass
        source.send(key)
        return source, target, out, into

    def test_guest_that_ends_meanwhile(self):
        """The source ends as it would have, and the destination does not wait."""
        for key, code in (("o", 0), ("p", 3)):
            with self.subTest(key=key):
                source, target, _, _ = self.fate(key)
                self.assertEqual(source.finish(), code)
                self.assertEqual(target.finish(), 2)
                self.assertIn(b"the VM did not run here", target.errors)
                self.assertFalse((self.place / "m").exists())
                self.doCleanups()
                self.setUp()

    def test_guest_that_is_reset_meanwhile(self):
        source, target, out, into = self.fate("r")
        while source.partial() != ">>":
            source.step()
        out.call("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 1000})
        self.assertEqual(wait_over(out)["status"], "completed")
        wait_status(into, "running")
        self.type(target, "ab")

    def test_cancel(self):
        source, target, out = self.slow()
        self.assertIn("being migrated", out.execute("x-ferry-save", file="x")["error"]["desc"])
        self.assertIn("being migrated", out.execute("migrate", uri="tcp:a:1")["error"]["desc"])
        for state in True, False:
            self.assertIn("capabilities are set before", out.execute(
                "migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": state}])["error"]["desc"])
        out.call("migrate_cancel")
        self.assertEqual(wait_over(out)["status"], "cancelled")
        self.type(source, "bc")
        self.assertEqual(target.finish(), 2)
        self.assertIn(b"the migration to here failed: the connection was closed by the source", target.errors)
        out.call("migrate_cancel")

    def test_faster_when_told_so(self):
        source, target, out = self.slow()
        out.call("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 1000})
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "bc")

    def test_guest_faster_than_the_way(self):
        """It is throttled, however little of the CPU it gets, and goes when the rest fits the downtime, which is long only then."""
        uri = f"unix:{self.place}/m"
        source, target, out, _ = self.pair(uri, guest="dirty")
        self.type(source, "a")
        out.call("migrate-set-parameters", **{"max-bandwidth": 16 << 20, "downtime-limit": 0})
        out.call("migrate", uri=uri)
        deadline = time.monotonic() + LIMIT
        while (answer := out.call("query-migrate")).get("cpu-throttle-percentage", 0) < 20:
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(0.02)
        out.call("migrate-set-parameters", **{"max-bandwidth": 16 << 20, "downtime-limit": 2000})
        answer = wait_over(out)
        self.assertEqual(answer["status"], "completed", answer)
        self.assertGreater(answer["cpu-throttle-percentage"], 19)
        self.type(target, "bc")

    def test_source_that_is_ended(self):
        source, target, out = self.slow()
        out.call("quit")
        self.assertEqual(source.finish(), 0)
        self.assertEqual(target.finish(), 2)
        self.assertIn(b"the VM did not run here", target.errors)

    def test_destination_that_is_killed(self):
        source, target, out = self.slow()
        target.process.kill()
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        self.assertRegex(answer["error-desc"], "in stage transfer memory: the connection .*; the VM goes on here")
        self.type(source, "bc")


main()
