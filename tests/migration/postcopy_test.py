#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy: a guest that no way is fast enough for runs on the destination before its memory is there; and goes on after the
connection was lost in the middle."""
import sys
import time

from migration import ENGINES, MigrationTest, free_port, main, wait_over
from proxy import Proxy


class Postcopy(MigrationTest):
    def begin(self, uri, listen=None, engines=(ENGINES[0], ENGINES[0]), options=()):
        """A migration that is in its first round and told to switch."""
        source, target, out, into = self.pair(listen or uri, *options, engines=engines, guest="dirty")
        self.type(source, "ab")
        out.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0})
        self.assertIn("no migration", out.execute("migrate-start-postcopy")["error"]["desc"])
        out.call("migrate", uri=uri)
        while out.call("query-migrate")["ram"]["normal"] == 0:
            time.sleep(0.01)
        out.call("migrate-start-postcopy")
        return source, target, out, into

    def test_switch(self):
        for engine in ENGINES:
            with self.subTest(engine=engine):
                source, target, out, into = self.begin(f"unix:{self.place}/m", engines=(engine, engine))
                answer = wait_over(out)
                self.assertEqual(answer["status"], "completed", answer)
                self.type(target, "cdefg")
                self.assertEqual(wait_over(into)["status"], "completed")
                self.type(target, "hijkl")
                out.call("quit")
                self.assertEqual(source.finish(), 0)
                self.doCleanups()
                self.setUp()

    def test_connection_lost(self):
        place = self.place
        lost = Proxy(place / "p", place / "m", "TAKEN", Proxy.cut, after=True, channels=2)
        self.addCleanup(lost.close)
        source, target, out, into = self.begin(f"unix:{place}/p", listen=f"unix:{place}/m")
        answer = wait_over(out, ("postcopy-paused", "completed"))
        self.assertEqual(answer["status"], "postcopy-paused", answer)
        self.assertIn("migrate with resume", answer["error-desc"])
        wait_over(into, ("postcopy-paused",))
        self.assertIn("still on its way", into.execute("stop")["error"]["desc"])
        self.assertIn("cannot connect", self.failed_resume(out))
        out.call("migrate", uri=f"unix:{place}/m", resume=True)
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(wait_over(into)["status"], "completed")
        self.type(target, "cdefghijkl")
        self.assertTrue(source.process.poll() is None)

    def test_pause_and_recover(self):
        """The operator breaks the connection off, and it goes on at another address."""
        place = self.place
        slow = Proxy(place / "p", place / "m", lambda *_: False, Proxy.cut, channels=2)
        self.addCleanup(slow.close)
        source, target, out, into = self.begin(f"unix:{place}/p", listen=f"unix:{place}/m")
        self.assertIn("nothing to recover", into.execute("migrate-recover", uri=f"unix:{place}/new")["error"]["desc"])
        wait_over(out, ("postcopy-active",))
        out.call("migrate-pause")
        answer = wait_over(out, ("postcopy-paused",))
        slow.cut()  # it holds pages back, and does not see the source go
        self.assertIn("migrate with resume", answer["error-desc"])
        wait_over(into, ("postcopy-paused",))
        self.assertIn("only post-copy", out.execute("migrate-pause")["error"]["desc"])
        self.assertIn("fd:", into.execute("migrate-recover", uri="nowhere")["error"]["desc"])
        new = f"tcp:127.0.0.1:{free_port()}"
        into.call("migrate-recover", uri=new)
        self.assertFalse((place / "m").exists())
        out.call("migrate", uri=new, resume=True)
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(wait_over(into)["status"], "completed")
        self.type(target, "cdefghijkl")
        self.assertTrue(source.process.poll() is None)

    def test_source_dies(self):
        """In post-copy, its memory is lost: the destination says so, waits and ends when it is told to."""
        place = self.place
        slow = Proxy(place / "p", place / "m", lambda *_: False, Proxy.cut, channels=2)
        self.addCleanup(slow.close)
        source, target, out, into = self.begin(f"unix:{place}/p", listen=f"unix:{place}/m")
        wait_over(out, ("postcopy-active",))
        source.process.kill()
        answer = wait_over(into, ("postcopy-paused",))
        self.assertIn("lacks memory that is on the source", answer["error-desc"])
        target.terminate()
        self.assertEqual(target.finish(), 128 + 15)

    def failed_resume(self, out):
        out.call("migrate", uri=f"unix:{self.place}/nowhere", resume=True)
        while True:
            answer = out.call("query-migrate")
            if answer["status"] == "postcopy-paused" and "cannot connect" in answer.get("error-desc", ""):
                return answer["error-desc"]
            time.sleep(0.01)

    def test_destination_ends(self):
        """The guest is lost then, and nothing pretends otherwise."""
        place = self.place
        lost = Proxy(place / "p", place / "m", "TAKEN", Proxy.cut, after=True, channels=2)
        self.addCleanup(lost.close)
        _, target, out, into = self.begin(f"unix:{place}/p", listen=f"unix:{place}/m")
        wait_over(out, ("postcopy-paused",))
        wait_over(into, ("postcopy-paused",))
        target.terminate()
        self.assertEqual(target.finish(), 128 + 15)
        self.assertIn("postmigrate", out.execute("cont")["error"]["desc"])

    def test_not_prepared(self):
        source, _, out, _ = self.pair(f"unix:{self.place}/m", guest="dirty")
        self.type(source, "a")
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0})
        out.call("migrate", uri=f"unix:{self.place}/m")
        self.assertIn("postcopy-ram", out.execute("migrate-start-postcopy")["error"]["desc"])
        self.assertIn("nothing to resume", out.execute("migrate", uri=f"unix:{self.place}/m", resume=True)["error"]["desc"])
        out.call("migrate_cancel")
        self.assertEqual(wait_over(out)["status"], "cancelled")
        self.type(source, "b")


if __name__ == "__main__":
    with open("/proc/self/status", encoding="ascii") as status, open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as allowed:
        if "\nUid:\t0\t" not in status.read() and allowed.read().strip() != "1":
            print("no userfaultfd for ordinary users here")
            sys.exit(77)
    main()
