#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A migrated VM tells its network where it is, when it runs there and not before."""
import subprocess
import sys

from migration import FERRY, GUESTS, LIMIT, Console, MigrationTest, main, wait_over, wait_status
from system import ROOT
from hosts import BRIDGE, Hosts, available  # pylint: disable=wrong-import-order

MAC = "52:54:00:fe:00:03"


class Announce(MigrationTest):
    def setUp(self):
        super().setUp()
        self.hosts = Hosts("fa")
        self.hosts.__enter__()  # pylint: disable=unnecessary-dunder-call
        self.addCleanup(self.hosts.__exit__, None, None, None)
        self.host = self.hosts.host("host", "10.9.0.1/24")
        client = self.hosts.client("client", self.host, "10.9.0.2/24", "10.9.0.1")
        self.listener = self.hosts.start(client, sys.executable, ROOT / "tools" / "lab-traffic", "listen", stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.listener.stdout.readline()

    def start(self, name, *options, **_):  # pylint: disable=arguments-differ
        console = Console(Hosts.inside(self.host, FERRY, "run", "--engine", "dbt", "--memory", "16M", "--kernel", GUESTS / "idle.elf",
                                       "--serial", "none", "--net", f"bridge={BRIDGE},mac={MAC}", "--control", self.place / name, *options),
                          LIMIT)
        self.addCleanup(console.__exit__)
        return console

    def migrate(self):
        _, _, out, into = self.pair(f"unix:{self.place}/m")
        return out, into

    def finish(self, out):
        """Moves the VM and ends the source: nothing but the destination speaks from then on."""
        out.call("migrate", uri=f"unix:{self.place}/m")
        self.assertEqual(wait_over(out)["status"], "completed")
        out.call("quit")

    def heard(self):
        return self.listener.stdout.readline().split()[1:]

    def test_running(self):
        out, into = self.migrate()
        self.finish(out)
        wait_status(into, "running")
        for _ in range(5):
            self.assertEqual(self.heard(), ["rarp", MAC])

    def test_paused(self):
        out, into = self.migrate()
        out.call("stop")
        self.finish(out)
        wait_status(into, "paused")
        self.listener.stdin.close()  # it ends, and has heard nothing
        self.assertEqual(self.listener.stdout.read(), "")

    def test_paused_and_continued(self):
        out, into = self.migrate()
        out.call("stop")
        self.finish(out)
        wait_status(into, "paused")
        into.call("cont")
        for _ in range(5):
            self.assertEqual(self.heard(), ["rarp", MAC])
        into.call("stop")
        into.call("cont")  # only the first time
        self.listener.stdin.close()
        self.assertEqual(self.listener.stdout.read(), "")


if __name__ == "__main__":
    reason = available()
    if reason:
        print(f"SKIPPED: {reason}")
        sys.exit(77)
    main()
