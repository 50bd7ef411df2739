#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that the two sides do not share are copied while the guest writes to them: contents, resuming, refusals, the handover without
an arbiter."""
import os
import random
import shutil
import subprocess
import unittest

from migration import PAGE, PLACES, MigrationTest, complaints, ferry, main, wait_over, wait_status, written
from nfs_server import NfsServer
from proxy import Proxy

MIB = 1 << 20


class Storage(MigrationTest):
    def image(self, name, size=16 * MIB, full=False):
        """Room for guests/disk.c, with other data in between if it is to be full."""
        path = self.place / name
        with open(path, "wb") as out:
            out.truncate(size)
            apart = size // PAGE // PLACES * PAGE
            source = random.Random(1)
            for place in range(PLACES if full else 0):
                out.seek(place * apart + PAGE)
                out.write(source.randbytes(apart - PAGE))
        return path

    def others(self, path):
        """What lies between the guest's places."""
        data = path.read_bytes()
        apart = len(data) // PAGE // PLACES * PAGE
        return [data[place * apart + PAGE:(place + 1) * apart] for place in range(PLACES)]

    def disks(self, ours, theirs, guest="disk", uri=None, more=()):
        """A pair with a disk each."""
        return self.pair(uri or f"unix:{self.place}/m", *more, guest=guest, source_options=("--disk", ours), target_options=("--disk", theirs))

    def copy(self, out, uri=None, **parameters):
        out.call("migrate-set-parameters", **parameters)
        out.call("migrate", uri=uri or f"unix:{self.place}/m", blk=True)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "completed", answer)
        return answer

    def move(self, ours, theirs, capabilities=(), **parameters):
        source, target, out, into = self.disks(ours, theirs)
        out.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in capabilities])
        self.type(source, "ab")
        answer = self.copy(out, **parameters)
        self.type(target, "cd")
        into.call("stop")
        into.call("quit")
        out.call("quit")
        self.assertEqual((source.finish(), target.finish()), (0, 0))
        self.assertEqual(complaints(source) + complaints(target), [])
        return answer

    def check_contents(self, ours, theirs):
        before, after = written(ours), written(theirs)
        self.assertLess(0, before)
        self.assertLess(before, after)
        self.assertEqual(self.others(ours), self.others(theirs))

    def test_while_the_guest_writes(self):
        for options, parameters in (((), {}), (("multifd",), {"multifd-channels": 3, "multifd-compression": "zstd"}),
                                    ((), {"max-bandwidth": 64 * MIB, "multifd-compression": "lz4"})):
            with self.subTest(parameters):
                ours, theirs = self.image("a", full=True), self.image("b")
                disk = self.move(ours, theirs, options, **parameters)["disk"]
                self.assertEqual((disk["total"], disk["remaining"]), (16 * MIB, 0))
                self.check_contents(ours, theirs)
                self.doCleanups()
                self.setUp()

    def test_onto_a_disk_that_holds_something_else(self):
        ours, theirs = self.image("a"), self.image("b")
        theirs.write_bytes(bytes([7]) * theirs.stat().st_size)
        self.move(ours, theirs)
        self.check_contents(ours, theirs)

    def test_an_odd_size(self):
        ours, theirs = self.image("a", 3 * MIB + 512 * 3), self.image("b", 3 * MIB + 512 * 3)
        with open(ours, "r+b") as out:
            out.seek(-512, 2)
            out.write(b"e" * 512)
        self.move(ours, theirs)
        self.assertLess(written(ours), written(theirs))
        self.assertEqual(theirs.read_bytes()[-512:], b"e" * 512)

    @unittest.skipIf(shutil.which("qemu-img") is None, "qemu-img is needed to make qcow2 images")
    def test_formats(self):
        raw, back, qcow2 = self.image("a", full=True), self.image("c"), self.place / "b"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "16M"], check=True)
        source, middle, out, into = self.disks(raw, f"{qcow2},format=qcow2")
        self.type(source, "a")
        self.copy(out)
        self.type(middle, "b")
        target = self.start("last", "--incoming", f"unix:{self.place}/n", "--disk", back, guest="disk")
        last = self.control("last")
        self.copy(into, uri=f"unix:{self.place}/n")
        self.type(target, "c")
        last.call("quit")
        target.finish()
        self.check_contents(raw, back)

    def interrupted(self, guest, stop):
        """A migration of a full disk that is ended by stop() when half of it has been sent: (source, out, images, bytes sent)."""
        ours, theirs = self.image("a", 32 * MIB, full=True), self.image("b", 32 * MIB)
        source, target, out, _ = self.disks(ours, theirs, guest)
        proxy = Proxy(self.place / "p", self.place / "m", lambda *_: False, None)
        self.addCleanup(proxy.close)
        self.type(source, "ab")
        out.call("migrate-set-parameters", **{"max-bandwidth": 6 * MIB})
        out.call("migrate", uri=f"unix:{self.place}/p", blk=True)
        while out.call("query-migrate").get("disk", {}).get("transferred", 0) < 16 * MIB:
            pass
        stop(out, proxy)
        answer = wait_over(out)
        self.assertEqual(target.finish(), 2)
        self.type(source, "cd")
        return source, out, (ours, theirs), answer

    def again(self, source, out, theirs, guest):
        target = self.start("second", "--incoming", f"unix:{self.place}/n", "--disk", theirs, guest=guest)
        into = self.control("second")
        answer = self.copy(out, uri=f"unix:{self.place}/n", **{"max-bandwidth": 0})
        self.type(target, "ef")
        into.call("quit")
        target.finish()
        out.call("quit")
        self.assertEqual(source.finish(), 0)
        return answer["disk"]

    def test_cancelled_and_resumed(self):
        source, out, (ours, theirs), answer = self.interrupted("count", lambda out, _: out.call("migrate_cancel"))
        self.assertEqual(answer["status"], "cancelled")
        disk = self.again(source, out, theirs, "count")
        # What was on its way and not yet written there may be missing: less than the sockets hold.
        self.assertLess(disk["transferred"], 32 * MIB - answer["disk"]["transferred"] + 12 * MIB)
        self.assertEqual(ours.read_bytes(), theirs.read_bytes())

    def test_broken_and_resumed(self):
        source, out, (ours, theirs), answer = self.interrupted("disk", lambda _, proxy: proxy.cut())
        self.assertEqual(answer["status"], "failed")
        self.assertIn("in stage transfer memory: the connection", answer["error-desc"])
        self.again(source, out, theirs, "disk")
        self.check_contents(ours, theirs)

    def test_by_the_command(self):
        ours, theirs = self.image("a", full=True), self.image("b")
        source, target, _, into = self.disks(ours, theirs)
        self.type(source, "ab")
        moving = ("migrate", "--control", self.place / "source", f"unix:{self.place}/m", "--copy-storage")
        code, text, complaint = ferry(*moving, "--dry-run")
        self.assertEqual((code, complaint), (0, ""))
        self.assertIn("its disks that would be copied hold 16 MiB", text)
        self.type(source, "c")
        code, _, complaint = ferry(*moving, "--bandwidth", "16M")
        self.assertEqual(code, 0, complaint)
        self.assertIn("of 16 MiB of disks", complaint)
        self.assertEqual(source.finish(), 0)
        self.type(target, "d")
        into.call("quit")
        target.finish()
        self.check_contents(ours, theirs)

    def refused(self, out, **arguments):
        out.call("migrate", uri=f"unix:{self.place}/m", **arguments)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        return answer["error-desc"]

    def test_refusals(self):
        ours, theirs, short = self.image("a"), self.image("b"), self.image("c", 8 * MIB)
        source, _, out, into = self.disks(ours, theirs)
        self.assertIn(f"disk 0 has the path {ours} on the source", self.refused(out))
        into.call("quit")
        target = self.start("t2", "--incoming", f"unix:{self.place}/m", "--disk", short, guest="disk")
        into = self.control("t2")
        self.assertIn(f"has {8 * MIB}: truncate -s {16 * MIB} {short} there", self.refused(out, blk=True))
        into.call("quit")
        target.finish()
        target = self.start("t3", "--incoming", f"unix:{self.place}/m", "--disk", f"{theirs},readonly=on", guest="disk")
        into = self.control("t3")
        self.assertIn("written to on the source and read-only on the destination", self.refused(out, blk=True))
        into.call("quit")
        target.finish()
        holder = self.start("holder", "--disk", theirs)
        self.control("holder")
        target = self.start("t4", "--incoming", f"unix:{self.place}/m", "--disk", theirs, guest="disk")
        self.control("t4")
        self.assertIn(f"disk image {theirs} is in use", self.refused(out, blk=True))
        holder.process.kill()
        holder.process.wait()
        self.copy(out)  # the destination waited for another try
        self.type(target, "a")
        self.assertEqual(source.partial(), "")

    @unittest.skipIf(os.geteuid() != 0, "a small file system is mounted by root alone")
    def test_no_room(self):
        small = self.place / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", small], check=False).returncode != 0:
            self.skipTest("tmpfs can't be mounted here")
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        ours, theirs = self.image("a", full=True), self.image("small/b")
        source, target, out, _ = self.disks(ours, theirs)
        self.assertRegex(self.refused(out, blk=True), f"disk {theirs} needs up to 1[56] MiB more on the destination, whose file system has")
        self.type(source, "ab")
        target.process.kill()
        target.process.wait()

    @unittest.skipIf(os.geteuid() != 0 or shutil.which("ganesha.nfsd") is None, "needs root and NFS-Ganesha")
    def test_no_room_on_a_server(self):
        """The server tells how much there is, of its file system, and of the file in it."""
        with NfsServer(size="24M") as server:
            for name in "b", "c":
                (server.export / name).write_bytes(b"")
                os.truncate(server.export / name, 16 * MIB)
            ours = self.image("a", full=True)
            source, target, out, _ = self.pair(f"unix:{self.place}/m", guest="disk", source_options=("--disk", ours),
                                               target_options=("--disk", server.url("b")), target_prefix=server.inside())
            (server.export / "c").write_bytes(bytes([1]) * 12 * MIB)
            self.assertRegex(self.refused(out, blk=True), "disk nfs:.* needs up to 1[56] MiB more on the destination, whose file system has")
            (server.export / "c").unlink()
            self.type(source, "ab")
            self.copy(out)
            self.type(target, "c")
            target.process.kill()
            target.process.wait()

    def test_one_shared_and_one_copied(self):
        """The shared one is handed over, and beside it is decided."""
        shared, ours, theirs = self.image("shared"), self.image("a", full=True), self.image("b")
        source, target, out, into = self.pair(f"unix:{self.place}/m", guest="disk", source_options=("--disk", ours, "--disk", shared),
                                              target_options=("--disk", theirs, "--disk", shared))
        self.type(source, "ab")
        proxy = Proxy(self.place / "p", self.place / "m", "COMMIT", Proxy.cut)
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p", blk=True)
        self.assertEqual(wait_over(out)["status"], "failed")
        self.type(source, "cd")
        self.assertEqual([os.readlink(path) for path in self.place.glob("*.ferry-*")], ["source"])
        wait_over(into, ("x-ferry-unsettled",))
        into.call("x-ferry-migrate-settle", outcome="discard")
        target.finish()
        target = self.start("second", "--incoming", f"unix:{self.place}/n", "--disk", theirs, "--disk", shared, guest="disk")
        self.control("second")
        self.assertEqual(self.copy(out, uri=f"unix:{self.place}/n")["disk"]["total"], 16 * MIB)
        self.type(target, "ef")

    def test_nothing_that_is_shared_is_copied(self):
        shared = self.image("a", full=True)
        source, target, out, _ = self.disks(shared, shared)
        self.type(source, "ab")
        self.assertNotIn("disk", self.copy(out))
        self.type(target, "cd")

    def cut_at(self, message):
        ours, theirs = self.image("a", full=True), self.image("b")
        source, target, out, into = self.disks(ours, theirs)
        self.type(source, "ab")
        proxy = Proxy(self.place / "p", self.place / "m", message, Proxy.cut)
        self.addCleanup(proxy.close)
        out.call("migrate", uri=f"unix:{self.place}/p", blk=True)
        self.assertTrue(proxy.done.wait(60), proxy.seen)
        return source, target, out, into

    def test_commit_lost(self):
        """No disk is shared, so there is no arbiter: whoever is in doubt waits to be told."""
        source, target, out, into = self.cut_at("COMMIT")
        self.assertEqual(wait_over(out)["status"], "x-ferry-unsettled")
        wait_over(into, ("x-ferry-unsettled",))
        self.assertEqual(list(self.place.glob("*.ferry-*")), [])
        into.call("x-ferry-migrate-settle", outcome="discard")
        target.finish()
        out.call("x-ferry-migrate-settle", outcome="run")
        wait_status(out, "running")
        self.type(source, "cd")

    def test_taken_lost(self):
        _, target, out, into = self.cut_at("TAKEN")
        wait_status(into, "running")
        self.assertEqual(wait_over(out)["status"], "x-ferry-unsettled")
        self.type(target, "cd")
        out.call("x-ferry-migrate-settle", outcome="discard")
        wait_over(out, ("completed",))

    def test_with_postcopy(self):
        ours, theirs = self.image("a", full=True), self.image("b")
        source, target, out, into = self.disks(ours, theirs)
        out.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}, {"capability": "block", "state": True}])
        out.call("migrate-set-parameters", **{"max-bandwidth": 4 * MIB})
        self.type(source, "ab")
        out.call("migrate", uri=f"unix:{self.place}/m")
        while out.call("query-migrate").get("disk", {}).get("transferred", 0) < 2 * MIB:
            pass
        out.call("migrate-start-postcopy")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "cd")
        into.call("quit")
        out.call("quit")
        target.finish()
        source.finish()
        self.check_contents(ours, theirs)


if __name__ == "__main__":
    main()
