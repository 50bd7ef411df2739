#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Losses at the handover, placed message by message, with the decision that both sides can read beside the disk; and a destination
that lives and falls silent."""
import os
import signal

from migration import MigrationTest, main, wait_over, wait_status
from proxy import Proxy


def kill(console):
    console.process.kill()
    console.process.wait()


class Handover(MigrationTest):
    def setUp(self):
        super().setUp()
        self.disk = self.place / "disk"
        self.disk.write_bytes(bytes(1 << 20))

    def migrate_until(self, message, act):
        """A pair whose migration is cut off at that message: (source, destination, their control sockets)."""
        source, target, out, into = self.pair(f"unix:{self.place}/m", "--disk", self.disk)
        self.type(source, "ab")
        proxy = Proxy(self.place / "p", self.place / "m", message, act)
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p")
        self.assertTrue(proxy.done.wait(60), proxy.seen)
        return source, target, out, into

    def decisions(self):
        return [os.readlink(path) for path in self.place.glob("disk.ferry-*")]

    def check_old_copy_never_runs(self, target, into):
        wait_over(into, ("x-ferry-unsettled",))
        into.call("x-ferry-migrate-settle", outcome="run")
        self.assertEqual(target.finish(), 2)
        self.assertIn(b"the source has taken the VM back", target.errors)
        self.assertEqual(self.decisions(), [])

    def test_copy_of_a_guest_that_ran_on_and_died(self):
        source, target, out, into = self.migrate_until("READY", Proxy.cut)
        self.assertEqual(wait_over(out)["status"], "failed")
        self.type(source, "cd")
        self.assertEqual(self.decisions(), ["source"])
        kill(source)
        self.check_old_copy_never_runs(target, into)

    def test_destination_falls_silent_in_the_stop(self):
        """It lives and its kernel answers, but its process stands: for ROUND_DONE nobody waits for ever while the guest stands too."""
        source, target, out, _ = self.pair(f"unix:{self.place}/m", "--disk", self.disk)
        self.type(source, "ab")

        def in_the_stop(name, _):
            return name == "ROUND" and out.call("query-migrate")["x-ferry-stage"] == "transfer state"

        proxy = Proxy(self.place / "p", self.place / "m", in_the_stop, lambda _: target.process.send_signal(signal.SIGSTOP))
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p")
        self.assertTrue(proxy.done.wait(60), proxy.seen)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        self.assertIn("the destination sent no ROUND_DONE in 30 s; the VM goes on here", answer["error-desc"])
        self.type(source, "cd")
        self.assertEqual(self.decisions(), ["source"])
        proxy.cut()
        target.process.send_signal(signal.SIGCONT)
        self.assertEqual(target.finish(), 2)  # it never had STATE
        self.type(source, "e")

    def test_destination_that_reads_nothing(self):
        source, target, out = self.slow()
        target.process.send_signal(signal.SIGSTOP)
        out.call("migrate-set-parameters", **{"max-bandwidth": 0})
        answer = wait_over(out)
        target.process.send_signal(signal.SIGCONT)
        self.assertEqual(answer["status"], "failed")
        self.assertIn("the connection to the destination broke: Connection timed out", answer["error-desc"])
        self.type(source, "bc")
        self.assertEqual(target.finish(), 2)

    def test_commit_lost_with_the_connection(self):
        source, target, out, into = self.migrate_until("COMMIT", Proxy.cut)
        self.assertEqual(wait_over(out)["status"], "failed")
        self.type(source, "cd")
        wait_over(into, ("x-ferry-unsettled",))
        into.call("x-ferry-migrate-settle", outcome="run")  # the disk is the source's
        while b"is in use by another" not in target.errors:
            target.step()
        self.type(source, "e")
        out.call("quit")
        self.assertEqual(source.finish(), 0)
        self.check_old_copy_never_runs(target, into)

    def test_taken_lost_with_the_connection(self):
        _, target, out, into = self.migrate_until("TAKEN", Proxy.cut)
        wait_status(into, "running")
        self.type(target, "cd")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertIn("behind the handover", out.call("query-migrate").get("error-desc", "behind the handover"))
        self.assertIn("desc", out.execute("cont").get("error", {}))
        self.assertEqual(self.decisions(), ["destination"])

    def test_destination_dies_before_it_decided(self):
        source, dying, out, into = self.pair(f"unix:{self.place}/m", "--disk", self.disk)
        self.type(source, "ab")
        proxy = Proxy(self.place / "p", self.place / "m", "COMMIT", lambda proxy: (kill(dying), proxy.cut()))
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p")
        self.assertEqual(wait_over(out)["status"], "failed")
        self.type(source, "cd")
        self.assertEqual(out.call("query-status")["status"], "running")

    def test_destination_dies_after_it_decided(self):
        source, dying, out, _ = self.pair(f"unix:{self.place}/m", "--disk", self.disk)
        self.type(source, "ab")
        proxy = Proxy(self.place / "p", self.place / "m", "TAKEN", lambda proxy: (kill(dying), proxy.cut()))
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(out.call("query-status")["status"], "postmigrate")

    def test_leftover_decision(self):
        """Both sides die and leave it; the next VM on this disk cleans up, one that takes the disk over does not."""
        source, target, out, _ = self.migrate_until("READY", Proxy.cut)
        self.assertEqual(wait_over(out)["status"], "failed")
        self.assertEqual(self.decisions(), ["source"])
        kill(source)
        third = self.start("third", "--disk", self.disk, "--incoming", f"unix:{self.place}/n")
        self.control("third")
        self.assertEqual(self.decisions(), ["source"])
        fourth = self.start("fourth", "--disk", self.disk)
        self.assertEqual(fourth.finish(), 2)  # others have it open
        self.assertEqual(self.decisions(), ["source"])
        for console in (target, third):
            kill(console)
        fifth = self.start("fifth", "--disk", self.disk)
        self.control("fifth")
        self.assertEqual(self.decisions(), [])
        self.type(fifth, "a")

    def test_copy_that_is_not_wanted(self):
        source, target, out, into = self.migrate_until("READY", Proxy.cut)
        self.assertEqual(wait_over(out)["status"], "failed")
        wait_over(into, ("x-ferry-unsettled",))
        self.assertEqual(self.decisions(), ["source"])
        into.call("quit")
        target.finish()
        self.assertEqual(self.decisions(), [])
        self.type(source, "cd")


if __name__ == "__main__":
    main()
