#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that checks all of its memory in each turn moves back and forth between the engines, each time another way: plain, on several
channels, packed, under a limit, by post-copy. Argument: how often."""
import itertools
import random
import string
import sys
import time

from migration import ENGINES, MigrationTest, complaints, main, wait_over

MOVES = int(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 200


class Shuttle(MigrationTest):
    def test_shuttle(self):
        engines = itertools.cycle(reversed(ENGINES))
        letters = itertools.cycle(string.ascii_lowercase)
        way, draw = {}, random.Random(5)
        console = self.start("vm0", "--cpu", "x86-64-v1", guest="dirty", engine=next(engines))
        qmp = self.control("vm0")
        self.type(console, next(letters))
        for move in range(1, MOVES + 1):
            uri = f"unix:{self.place}/m{move}"
            target = self.start(f"vm{move}", "--incoming", uri, "--cpu", "x86-64-v1", guest="dirty", engine=next(engines))
            into = self.control(f"vm{move}")
            way = {"multifd": draw.random() < 0.3, "postcopy-ram": draw.random() < 0.3, "xbzrle": draw.random() < 0.4}
            qmp.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": on} for name, on in way.items()])
            qmp.call("migrate-set-parameters", **{"multifd-compression": draw.choice(["none", "none", "zstd", "lz4", "auto"]),
                                                  "max-bandwidth": 256 << 20 if way["postcopy-ram"] else 0})
            qmp.call("migrate", uri=uri)
            if way["postcopy-ram"]:
                time.sleep(draw.uniform(0, 0.02))
                qmp.execute("migrate-start-postcopy")  # may come too early or too late, and is refused then
            try:
                answer = wait_over(qmp)
            except (EOFError, OSError):
                console.finish()
                raise AssertionError(f"move {move} {way}: {console.errors} {target.errors}") from None
            self.assertEqual(answer["status"], "completed", (move, way, answer))
            try:
                wait_over(into, ("completed",))
            except (EOFError, OSError):
                raise AssertionError(f"move {move} {way} to {target.command[5]}: exit {target.finish()}, {target.lines}, {target.errors}") from None
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)
            self.assertEqual(complaints(console), [])
            qmp.__exit__()
            console.__exit__()
            console, qmp = target, into
            if move % -(-MOVES // 20) == 0:  # at most 20 letters
                self.type(console, next(letters))
        self.assertNotIn("!", console.partial())


main()
