#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2 images through Ferry's block layer, with qemu-img as the judge: contents, tables, what a kill in the middle leaves."""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(os.environ["FERRY_BUILD"])
SIZE = 12 << 20
CLEAN, CORRUPT, LEAKS = 0, 2, 3  # exit codes of qemu-img check


class Tool:
    """image_tool on an image."""

    def __init__(self, path, seed=1, initial=None, image_format="qcow2"):
        command = [BUILD / "tests/system/image_tool", path, image_format, str(seed), *([initial] if initial else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def do(self, line):
        self.send(line)
        return self.process.stdout.readline().strip()

    def quit(self):
        self.send("quit")
        return self.process.wait()


class Qcow2(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="ferry-qcow2-")
        self.addCleanup(directory.cleanup)
        self.place = pathlib.Path(directory.name)
        self.image = self.place / "image"

    def qemu(self, *words):
        done = subprocess.run(["qemu-img", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def create(self, *options, path=None, size=SIZE):
        code, said = self.qemu("create", "-q", "-f", "qcow2", *options, path or self.image, *([size] if size else []))
        self.assertEqual(code, 0, said)

    def check(self, *allowed, path=None):
        code, said = self.qemu("check", path or self.image)
        self.assertIn(code, allowed or (CLEAN,), said)

    def same(self, raw, path=None):
        code, said = self.qemu("compare", "-f", "raw", "-F", "qcow2", raw, path or self.image)
        self.assertEqual(code, 0, said)

    def exercise(self, seed, initial=None, rounds=2):
        with Tool(self.image, seed, initial) as tool:
            self.assertTrue(tool.first.startswith("ok"), tool.first)
            if initial:
                self.assertEqual(tool.do("read"), "ok")
            for _ in range(rounds):
                for line in ("write 60", "read", "zero 20", "flush", "discard 20", "write 30", "flush", "read"):
                    self.assertEqual(tool.do(line), "ok", line)
            self.assertEqual(tool.do(f"dump {self.place / 'dump'}"), "ok")
            self.assertEqual(tool.quit(), 0)
        self.check()
        self.same(self.place / "dump")

    def test_kinds_of_images(self):
        for seed, options in enumerate(("cluster_size=512", "cluster_size=4k", "cluster_size=64k", "cluster_size=2M", "compat=0.10",
                                        "refcount_bits=8", "refcount_bits=64", "refcount_bits=32,cluster_size=1k",
                                        "preallocation=metadata", "lazy_refcounts=on"), 1):
            with self.subTest(options=options):
                self.create("-o", options)
                self.exercise(seed)

    def test_made_by_ferry_read_by_qemu_and_back(self):
        self.create()
        self.exercise(50, rounds=1)
        (self.place / "dump").rename(self.place / "initial")
        self.qemu("convert", "-f", "qcow2", "-O", "qcow2", self.image, self.place / "other")
        (self.place / "other").rename(self.image)
        self.exercise(51, initial=self.place / "initial", rounds=1)

    def test_backing_images(self):
        base, middle = self.place / "base", self.place / "middle"
        base.write_bytes(random.Random(7).randbytes(SIZE // 2))  # shorter than the image above
        self.create("-b", "base", "-F", "raw", path=middle)
        self.create("-b", "middle", "-F", "qcow2", "-o", "cluster_size=16k")
        initial = self.place / "initial"
        initial.write_bytes(base.read_bytes() + bytes(SIZE // 2))
        before = base.read_bytes(), middle.read_bytes()
        self.exercise(60, initial=initial)
        self.assertEqual((base.read_bytes(), middle.read_bytes()), before)

    def test_compressed(self):
        raw = self.place / "raw"
        raw.write_bytes(b"".join(bytes([value % 251]) * 1000 for value in range(SIZE // 1000 + 1))[:SIZE])
        for seed, options in enumerate(("compression_type=zlib", "compression_type=zstd", "compression_type=zlib,cluster_size=4k")):
            with self.subTest(options=options):
                self.assertEqual(self.qemu("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, self.image)[0], 0)
                self.assertLess(self.image.stat().st_size, SIZE // 4)
                self.exercise(70 + seed, initial=raw, rounds=1)

    def test_snapshots_keep_what_they_had(self):
        self.create()
        self.exercise(80, rounds=1)
        (self.place / "dump").rename(self.place / "then")
        self.assertEqual(self.qemu("snapshot", "-c", "then", self.image)[0], 0)
        self.exercise(81, initial=self.place / "then", rounds=1)
        self.assertEqual(self.qemu("snapshot", "-a", "then", self.image)[0], 0)
        self.same(self.place / "then")
        self.check()

    def test_space_is_given_back(self):
        self.create()
        with Tool(self.image) as tool:
            tool.do("write 200")
            tool.do("flush")
            full = self.image.stat().st_blocks
            for line in ("discard 300", "flush", "flush"):
                self.assertEqual(tool.do(line), "ok")
            self.assertLess(self.image.stat().st_blocks, full)
            before = self.image.stat().st_size
            for line in ("write 20", "flush"):
                tool.do(line)
            self.assertLessEqual(self.image.stat().st_size, before + (1 << 20))  # used again, not appended
            tool.quit()
        self.check()

    def test_killed_in_the_middle(self):
        """What was flushed is there, and no table points to nothing."""
        for seed in range(8):
            self.create("-o", "cluster_size=4k" if seed % 2 else "cluster_size=64k")
            with Tool(self.image, 100 + seed) as tool:
                for line in ("write 40", "flush", f"dump {self.place / 'dump'}"):
                    self.assertEqual(tool.do(line), "ok")
                for line in ("discard 20", "write 2000", "flush", "write 2000", "flush"):
                    tool.send(line)
                time.sleep(0.02 * seed)
                tool.process.kill()
            self.check(CLEAN, LEAKS)
            self.assertEqual(self.qemu("check", "-r", "leaks", self.image)[0], 0)
            self.check()
            with Tool(self.image, seed) as tool:
                self.assertTrue(tool.first.startswith("ok"))
                self.assertEqual(tool.do("write 20"), "ok")
                tool.quit()
            self.check()

    def test_what_was_flushed_stays(self):
        self.create()
        with Tool(self.image, 5) as tool:
            for line in ("write 100", "zero 10", "flush", f"dump {self.place / 'dump'}"):
                self.assertEqual(tool.do(line), "ok")
            tool.process.kill()
        self.check(CLEAN, LEAKS)
        self.same(self.place / "dump")

    def refuses(self, *complaints):
        with Tool(self.image) as tool:
            for complaint in complaints:
                self.assertIn(complaint, tool.first)

    def patch(self, offset, data):
        with open(self.image, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def test_what_is_refused(self):
        self.image.write_bytes(bytes(1 << 20))
        self.refuses("is not a qcow2 image")
        self.image.write_bytes(b"QFI\xfb")
        self.refuses("too short")
        self.create("-o", "extended_l2=on")
        self.refuses("extended_l2")
        self.create("-o", f"data_file={self.place / 'data'}")
        self.refuses("another file")
        for offset, data, complaint in ((4, b"\0\0\0\4", "version 4"), (20, b"\0\0\0\5", "can't be right"), (20, b"\0\0\0\x40", "can't be right"),
                                        (24, b"\xff" * 8, "can't be right"), (24, b"\0" * 8, "can't be right"), (32, b"\0\0\0\1", "encrypted"),
                                        (36, b"\0\0\0\0", "L1 table"), (36, b"\xff" * 4, "L1 table"), (40, b"\0" * 7 + b"\1", "L1 table"),
                                        (48, b"\xff" * 8, "refcount table"), (56, b"\xff" * 4, "refcount table"), (79, b"\1", "repair"),
                                        (79, b"\2", "repair"), (72, b"\1", "not known"), (96, b"\0\0\0\7", "can't be right")):
            self.create()
            self.patch(offset, data)
            self.refuses(complaint)
        self.create("-b", self.place / "nothing", "-F", "raw", "-u")
        self.refuses("images below", "No such file")
        (self.place / "base").write_bytes(bytes(1 << 20))
        self.create("-b", "base", "-F", "vmdk", "-u")
        self.refuses("raw and qcow2")
        for number in range(20):
            self.create("-b", f"loop{number + 1}", "-F", "qcow2", "-u", path=self.place / f"loop{number}")
        self.create("-b", "loop0", "-F", "qcow2", "-u")
        self.refuses("more than 16 images below")
        self.create("-b", "image", "-F", "qcow2", "-u")
        self.refuses("in use")  # by itself

    def test_tables_that_lie(self):
        """Reads end in an error, not in a crash; and nothing is written by such tables."""
        for seed in range(24):
            self.create("-o", "cluster_size=4k")
            with Tool(self.image, seed) as tool:
                tool.do("write 50")
                tool.do("flush")
                tool.quit()
            random.seed(seed)
            data = bytearray(self.image.read_bytes())
            for _ in range(60):  # tables lie near the front as well as between
                at = random.randrange(104, len(data) - 8) & ~7
                data[at:at + 8] = random.choice((b"\xff" * 8, b"\x80" + bytes(6) + b"\x01", random.randbytes(8)))
            self.image.write_bytes(data)
            with Tool(self.image, seed) as tool:
                if tool.first.startswith("ok"):
                    for line in ("read", "write 20", "discard 5", "zero 5", "flush"):
                        self.assertRegex(tool.do(line), "^(ok|error)")
                    self.assertEqual(tool.quit(), 0)


if __name__ == "__main__":
    if shutil.which("qemu-img") is None:
        print("SKIPPED: qemu-img (package qemu-utils) is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
