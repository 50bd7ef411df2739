#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ferry migrate, as a user sees it."""
from migration import MigrationTest, ferry, main


class Verb(MigrationTest):
    def test_move(self):
        uri = f"unix:{self.place}/m"
        source, target, _, _ = self.pair(uri, guest="dirty")
        self.type(source, "a")
        code, out, err = ferry("migrate", "--control", self.place / "source", uri, "--bandwidth", "512M", "--downtime=200")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"^moved in [\d.]+ s: \d+ rounds, [\d.]+ MiB, downtime [\d.]+ ms\n$")
        self.assertEqual(source.finish(), 0)
        self.type(target, "b")

    def test_dry_run(self):
        uri = f"unix:{self.place}/m"
        source, target, _, into = self.pair(uri, guest="dirty")
        self.type(source, "a")
        for _ in range(2):
            code, out, err = ferry("migrate", "--control", self.place / "source", uri, "--dry-run")
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"8 MiB in use, [\d.]+ MiB/s measured, [\d.]+ MiB/s dirtied\nit (would|dirties)")
        self.type(self.start("other", guest="dirty"), "a")  # which finds the destination free
        self.assertEqual(ferry("migrate", "--control", self.place / "other", uri, "--dry-run")[0], 0)
        self.type(source, "b")
        self.assertEqual(into.call("query-status")["status"], "inmigrate")
        self.assertEqual(target.errors, b"")
        self.assertEqual(ferry("migrate", "--control", self.place / "source", uri)[0], 0)
        self.type(target, "c")

    def test_errors(self):
        source = self.start("source")
        self.type(source, "a")
        control = ("--control", self.place / "source")
        for arguments, code, sentence in (
                ((), 2, "--control SOCKET is missing"),
                (control, 2, "where the VM is to go is missing"),
                ((*control, "a", "b"), 2, "one argument too many"),
                ((*control, "unix:x", "--speed", "1"), 2, "unknown option '--speed'"),
                ((*control, "unix:x", "--downtime"), 2, "its value is missing"),
                ((*control, "unix:x", "--downtime", "soon"), 2, "must be a number"),
                ((*control, "unix:x", "--bandwidth", "fast"), 2, "--bandwidth must be bytes a second"),
                ((*control, "unix:x", "--compress", "zip"), 2, "none, zstd, lz4 or auto"),
                ((*control, "carrier:pigeon"), 2, "unknown migration address"),
                ((*control, f"unix:{self.place}/none"), 1, "the VM goes on here"),
                ((*control, f"unix:{self.place}/none", "--dry-run"), 1, "cannot connect"),
                ((*control, "--settle", "run"), 2, "nothing to settle")):
            done = ferry("migrate", *arguments)
            self.assertEqual(done[0], code, done)
            self.assertIn(sentence, done[2])
        self.assertEqual(ferry("migrate", *control, "--cancel")[0], 0)
        self.assertIn("--settle", ferry("migrate", "--help")[1])
        self.type(source, "b")


main()
