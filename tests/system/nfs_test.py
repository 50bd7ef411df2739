#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks on an NFS server: nothing that was acknowledged is lost when the server is killed, locks hold, errors are sentences."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import threading
import time
import unittest

from nfs_server import NfsServer, skip_unless_possible

BUILD = pathlib.Path(os.environ["FERRY_BUILD"])
SIZE = 48 << 20


class Tool:
    """image_tool on an image, in the server's namespace."""

    def __init__(self, server, name, seed):
        command = server.inside(BUILD / "tests/system/image_tool", server.url(name), "raw", seed)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def do(self, line):
        self.send(line)
        return self.answer()

    def quit(self):
        """What it said on standard error."""
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.stdin = open(os.devnull, "w", encoding="ascii")
        said = self.process.stderr.read()
        code = self.process.wait()
        if code != 0:
            raise AssertionError(f"image_tool ended with {code}: {said}")
        return said


class Nfs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = NfsServer().__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def image(self, name):
        path = self.server.export / name
        path.write_bytes(b"")
        os.truncate(path, SIZE)
        return path

    def test_reads_what_was_written(self):
        path = self.image("plain")
        with Tool(self.server, "plain", 1) as tool:
            self.assertEqual(tool.first, f"ok {SIZE}")
            for line in ("write 300", "read", "flush", "read"):
                self.assertEqual(tool.do(line), "ok")
            self.assertEqual(tool.quit(), "")
        self.assertEqual(path.stat().st_size, SIZE)

    def test_server_killed_in_the_middle(self):
        path = self.image("killed")
        with Tool(self.server, "killed", 2) as tool:
            self.assertEqual(tool.do("write 100"), "ok")
            for round_number in range(3):
                tool.send("write 1500")
                time.sleep(0.1 + 0.1 * round_number)
                self.server.kill()
                time.sleep(0.3)
                self.server.start()
                self.assertEqual(tool.answer(), "ok")
            self.assertEqual(tool.do("flush"), "ok")
            self.assertEqual(tool.do("read"), "ok")
            said = tool.quit()
        self.assertIn("does not answer", said)
        self.assertIn("started anew", said)
        self.assertEqual(path.stat().st_size, SIZE)

    def test_server_loses_what_it_had_not_committed(self):
        """The file goes back to what it was at the last flush, as if the server's host had lost its power."""
        path = self.image("lost")
        with Tool(self.server, "lost", 3) as tool:
            self.assertEqual(tool.do("write 50"), "ok")
            self.assertEqual(tool.do("flush"), "ok")
            shutil.copyfile(path, self.server.place / "then")
            self.assertEqual(tool.do("write 50"), "ok")
            self.server.kill()
            changed = path.read_bytes()
            path.write_bytes((self.server.place / "then").read_bytes())
            self.assertNotEqual(path.read_bytes(), changed)
            self.server.start()
            self.assertEqual(tool.do("read"), "ok")
            self.assertEqual(tool.do("flush"), "ok")
            self.assertEqual(hashlib.sha256(path.read_bytes()).digest(), hashlib.sha256(changed).digest())
            tool.quit()

    def test_requests_wait_for_the_server(self):
        self.image("waits")
        with Tool(self.server, "waits", 4) as tool:
            self.server.kill()
            tool.send("write 20")
            answers = []
            reader = threading.Thread(target=lambda: answers.append(tool.answer()))
            reader.start()
            time.sleep(1)
            self.assertEqual(answers, [])
            self.server.start()
            reader.join(60)
            self.assertEqual(answers, ["ok"])
            self.assertEqual(tool.do("read"), "ok")
            tool.quit()

    def test_lock_survives_the_server_and_idle_times(self):
        self.image("locked")
        with Tool(self.server, "locked", 5) as tool:
            self.assertEqual(tool.first, f"ok {SIZE}")
            with Tool(self.server, "locked", 6) as second:
                self.assertIn("in use by another virtual machine", second.first)
            self.server.kill()
            self.server.start()
            with Tool(self.server, "locked", 7) as second:  # waits for the end of the grace period
                self.assertIn("in use by another virtual machine", second.first)
            time.sleep(5)  # longer than a lease
            self.assertEqual(tool.do("write 5"), "ok")
            with Tool(self.server, "locked", 8) as second:
                self.assertIn("in use by another virtual machine", second.first)
            self.assertEqual(tool.do("flush"), "ok")
            tool.quit()
        with Tool(self.server, "locked", 9) as tool:
            self.assertEqual(tool.first, f"ok {SIZE}")

    def test_lost_file_is_given_up(self):
        """A server that has forgotten its clients may have given the file to somebody else."""
        self.image("forgotten")
        with Tool(self.server, "forgotten", 10) as tool:
            self.assertEqual(tool.do("write 5"), "ok")
            self.server.kill()
            shutil.rmtree(self.server.place / "recovery")
            (self.server.place / "recovery").mkdir()
            self.server.start()
            self.assertIn("error", tool.do("flush"))
            self.assertIn("error", tool.do("write 1"))
            self.assertIn("can't be used any more", tool.quit())

    def test_handover_is_decided_beside_the_image(self):
        path = self.image("moved")
        tool = BUILD / "tests/system/image_tool"

        def decide(side, name="moved"):
            done = subprocess.run(self.server.inside(tool, self.server.url(name), side), stdout=subprocess.PIPE, text=True, check=True)
            return done.stdout.strip()

        self.assertEqual(decide("destination"), "ok destination")
        self.assertEqual(decide("source"), "ok destination")
        self.assertEqual(os.readlink(path.with_name("moved.ferry-test-1")), "destination")
        decide("forget")
        self.assertEqual(decide("source"), "ok source")
        decide("forget")
        self.assertFalse(os.path.lexists(path.with_name("moved.ferry-test-1")))
        self.assertIn("error", decide("source", "nowhere/moved"))

    def test_errors_are_sentences(self):
        for name, complaint in (("nothing", "No such file"), ("", "cannot open"), ("../storage", "part of the path")):
            with Tool(self.server, name, 1) as tool:
                self.assertIn(complaint, tool.first)
        (self.server.export / "empty").write_bytes(b"")
        with Tool(self.server, "empty", 1) as tool:
            self.assertIn("is empty", tool.first)


if __name__ == "__main__":
    skip_unless_possible()
    unittest.main(verbosity=2)
