#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that looks at its clocks all the time (guests/clock.c) finds nothing wrong with them while it moves: nothing goes back, no
deadline of its timer is early, doubled or lost."""
import string

from migration import ENGINES, MigrationTest, main, wait_over

HERTZ = 1817295000, 3999999000


class Clock(MigrationTest):
    def keys(self, console):
        """Three turns. What the guest says of a clock that is wrong ends up in a line."""
        for _ in range(3):
            letter = next(self.letters)
            console.send(".")
            while not console.partial().endswith(letter):
                self.assertTrue(console.step(), (letter, console.partial(), console.errors))
                self.assertEqual(console.lines, [])

    def shuttle(self, engines, model, later=None):
        """From engine to engine; the last one is stopped and goes on, too."""
        self.letters = iter(string.ascii_lowercase * 9)
        console = qmp = None
        for number, engine in enumerate(engines):
            uri = f"unix:{self.place}/m{number}"
            incoming = () if console is None else ("--incoming", uri)
            name = f"vm{number}"
            target = self.start(name, "--cpu", later or model if console is not None else model, "--append", "deadlines", *incoming, guest="clock",
                                engine=engine)
            into = self.control(name)
            if console is not None:
                qmp.call("migrate", uri=uri)
                self.assertEqual(wait_over(qmp)["status"], "completed", qmp.call("query-migrate"))
                wait_over(into, ("completed",))
                qmp.call("quit")
                console.finish()
                (self.place / f"vm{number - 1}").unlink(missing_ok=True)
            console, qmp = target, into
            self.keys(console)
        for _ in range(5):
            qmp.call("stop")
            qmp.call("cont")
            self.keys(console)
        qmp.call("quit")
        console.finish()
        (self.place / name).unlink(missing_ok=True)

    def test_frequencies(self):
        """Other ones than the host's, in every way of running guest code."""
        for hertz in HERTZ:
            with self.subTest(hertz=hertz):
                self.shuttle(["dbt", "dbt,tier=interp", "dbt,checks=on", "dbt,lockstep=20", "dbt,mirror=always", "dbt"],
                             f"x86-64-v1,tsc-frequency={hertz}", "x86-64-v1")

    def test_engines(self):
        if len(ENGINES) < 2:
            self.skipTest("one engine only")
        self.shuttle(["kvm", "dbt", "kvm", "kvm", "dbt,tier=interp", "kvm", "dbt"], "x86-64-v1")


main()
