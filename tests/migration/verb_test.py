#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ferry migrate, as a user sees it."""
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time

from migration import FERRY, LIMIT, MigrationTest, ferry, main, without_userfaultfd


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
        code, out, _ = ferry("migrate", "--control", self.place / "source", uri, "--dry-run", "--bandwidth=1K", "--downtime=0", "--no-throttle")
        self.assertEqual(code, 0)
        self.assertIn("would not end", out)
        self.control("source").call("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 300})
        self.type(self.start("other", guest="dirty"), "a")  # which finds the destination free
        self.assertEqual(ferry("migrate", "--control", self.place / "other", uri, "--dry-run")[0], 0)
        self.type(source, "b")
        self.assertEqual(into.call("query-status")["status"], "inmigrate")
        self.assertEqual(target.errors, b"")
        self.assertEqual(ferry("migrate", "--control", self.place / "source", uri)[0], 0)
        self.type(target, "c")

    def begin_slowly(self, *options):
        """ferry migrate, with a guest that it can't move soon, when the first pages have gone."""
        uri = f"unix:{self.place}/m"
        source, target, out, _ = self.pair(uri, guest="dirty")
        self.type(source, "a")
        command = subprocess.Popen([FERRY, "migrate", "--control", self.place / "source", uri, "--bandwidth=2M", "--downtime=0", *options],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (command.kill(), command.communicate()))
        while out.call("query-migrate").get("ram", {}).get("normal", 0) == 0:
            time.sleep(0.02)
        return source, target, command

    def test_interrupted(self):
        source, target, command = self.begin_slowly("--no-throttle")
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=LIMIT)
        self.assertEqual(command.returncode, 1, errors)
        self.assertIn("the migration was cancelled in stage transfer memory; the VM goes on here", errors)
        self.assertEqual(target.finish(), 2)
        self.type(source, "b")

    def test_postcopy(self):
        reason = without_userfaultfd()
        if reason:
            self.skipTest(reason)
        source, target, command = self.begin_slowly("--postcopy", "--no-throttle", "--delta")
        text, errors = command.communicate(timeout=LIMIT)
        self.assertEqual(command.returncode, 0, errors)
        self.assertIn("moved in", text)
        self.assertEqual(source.finish(), 0)
        self.type(target, "b")

    def test_terminal(self):
        """On a narrow one the line is shorter, and never wraps."""
        uri = f"unix:{self.place}/m"
        source, target, _, _ = self.pair(uri, guest="dirty")
        self.type(source, "a")
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        with subprocess.Popen([FERRY, "migrate", "--control", self.place / "source", uri, "--bandwidth=8M"], stdout=subprocess.DEVNULL,
                              stderr=theirs) as command:
            os.close(theirs)
            shown = b""
            try:
                while piece := os.read(ours, 4096):
                    shown += piece
            except OSError:  # the other end is closed
                pass
        self.assertEqual(command.returncode, 0, shown)
        lines = [line.removeprefix(b"\x1b[K") for line in shown.split(b"\r") if line]
        self.assertIn(b"transfer memory: round 1", shown)
        self.assertLess(max(map(len, lines)), 40, lines)
        self.type(target, "b")

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
                ((*control, "unix:x", "--resume"), 2, "no migration to resume|nothing to resume"),
                ((*control, "--settle", "run"), 2, "nothing to settle")):
            done = ferry("migrate", *arguments)
            self.assertEqual(done[0], code, done)
            self.assertRegex(done[2], sentence)
        self.assertEqual(ferry("migrate", *control, "--cancel")[0], 0)
        self.assertIn("--settle", ferry("migrate", "--help")[1])
        self.type(source, "b")


main()
