# SPDX-License-Identifier: GPL-2.0-or-later
"""What the interop tests share: a ferryd in a directory of its own, and Debian's clients talking to it."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
BUILD = pathlib.Path(os.environ.get("FERRY_BUILD", ROOT / "build"))
GUESTS = BUILD / "tests" / "system"
LIMIT = 120  # seconds that one command may take on a busy machine


def need(*programs):
    """Ends the test program, skipped, when a client is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            print(f"SKIPPED: {program} is not installed")
            sys.exit(77)


class Daemon:
    """A ferryd that serves a socket in a directory; start() after stop() or kill() continues with the same state."""

    def __init__(self, place, *options, prefix=()):
        self.place = pathlib.Path(place)
        self.options = [str(option) for option in options]
        self.prefix = list(prefix)
        self.process = None
        self.socket = self.place / "s" / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.uri_readonly = f"qemu+unix:///system?socket={self.socket}-ro"
        self.start()

    def start(self):
        place = self.place
        with open(place / "ferryd.log", "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [*self.prefix, BUILD / "ferryd", "--socket-dir", place / "s", "--state-dir", place / "state", "--run-dir", place / "run",
                 "--log-dir", place / "log", "--verbose", *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + LIMIT
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"ferryd did not start: {self.log()}")
            time.sleep(0.05)

    def answers(self):
        return self.socket.exists() and self.virsh("hostname")[0] == 0

    def log(self):
        return (self.place / "ferryd.log").read_text()

    def end(self, number=signal.SIGTERM):
        """Ends it by a signal; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def kill(self):
        self.end(signal.SIGKILL)

    def command(self, *arguments, readonly=False, text=None):
        """Runs virsh: (exit code, standard output, standard error)."""
        done = subprocess.run(["virsh", "-q", "-c", self.uri_readonly if readonly else self.uri, *map(str, arguments)],
                              stdin=subprocess.DEVNULL if text is None else None, input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=LIMIT, check=False, text=True)
        return done.returncode, done.stdout, done.stderr

    def virsh(self, *arguments, **more):
        return self.command(*arguments, **more)


class InteropTest(unittest.TestCase):
    """A test with a ferryd of its own; VMs that it left running are ended."""

    OPTIONS = ()

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.place = pathlib.Path(directory.name)
        self.daemon = Daemon(self.place, *self.OPTIONS)
        self.addCleanup(self.clean_up)

    def clean_up(self):
        code = self.daemon.end()
        self.assertIn(code, (0, -signal.SIGKILL), self.daemon.log()[-6000:])  # a sanitizer's complaint is another
        for path in (self.place / "run").glob("**/*.lock"):
            pid = path.read_text().strip()
            if pid.isdigit() and os.path.exists(f"/proc/{pid}") and "ferry-vmm" in os.readlink(f"/proc/{pid}/exe"):
                os.kill(int(pid), signal.SIGKILL)

    def virsh(self, *arguments, **more):
        """Standard output of a virsh command that must succeed."""
        code, out, err = self.daemon.virsh(*arguments, **more)
        self.assertEqual(code, 0, f"virsh {' '.join(map(str, arguments))}: {err}{self.daemon.log()[-2000:]}")
        return out.strip()

    def refused(self, *arguments, **more):
        """What virsh complains about for a command that must fail."""
        code, out, err = self.daemon.virsh(*arguments, **more)
        self.assertNotEqual(code, 0, f"virsh {' '.join(map(str, arguments))} should fail: {out}")
        return err.strip()

    def wait_for(self, condition, what):
        deadline = time.monotonic() + LIMIT
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"timed out: {what}; {self.daemon.log()[-2000:]}")
            time.sleep(0.1)


def main():
    unittest.main(verbosity=2)
