# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM as a child process whose serial console is read line by line, with times; shared by tools/lab, tools/bench and tests/system."""
import os
import pathlib
import selectors
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FERRY_BUILD", ROOT / "build"))
FERRY = BUILD / "ferry"


class Failure(Exception):
    """A sentence for the user."""


class Console:
    """Runs a command; its standard output is the guest's serial port, its standard error is kept apart."""

    def __init__(self, command, limit, echo=None, on_line=None):
        self.on_line = on_line  # called with each line as it comes
        self.command, self.deadline, self.echo = [str(word) for word in command], time.monotonic() + limit, echo
        self.start = time.monotonic()
        self.lines = []      # (seconds since the start, text)
        self.errors = b""
        self._partial = b""
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._selector = selectors.DefaultSelector()
        for stream in (self.process.stdout, self.process.stderr):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def _line(self, raw):
        text = raw.decode(errors="replace").rstrip("\r\n")
        self.lines.append((time.monotonic() - self.start, text))
        if self.on_line:
            self.on_line(text)
        if self.echo:
            print(f"{self.echo}{text}", flush=True)

    def follow(self, other):
        """Goes on where another console, whose output is over, has ended: its guest has moved here."""
        self.lines, self._partial, self.start = other.lines, other._partial, other.start

    def step(self, patience=1):
        """Reads what there is, or comes within so many seconds; False at the end of all output."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failure(f"{self.command[0]} did not finish in time; its last lines:\n" + self.tail())
        for key, _ in self._selector.select(min(left, patience)):
            data = key.fileobj.read(65536)
            if not data:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self.process.stderr:
                self.errors += data
            else:
                *whole, self._partial = (self._partial + data).split(b"\n")
                for raw in whole:
                    self._line(raw)
        return bool(self._selector.get_map())

    def partial(self):
        """What came behind the last line end."""
        return self._partial.decode(errors="replace")

    def tail(self, count=15):
        return "\n".join("    " + text for _, text in self.lines[-count:]) + self.errors.decode(errors="replace")

    def wait_for(self, mark, after=0):
        """Waits for a line that contains the mark; returns its seconds and text."""
        seen = after
        while True:
            for seconds, text in self.lines[seen:]:
                seen += 1
                if mark in text:
                    return seconds, text
            if not self.step():
                raise Failure(f"{self.command[0]} ended (exit code {self.process.wait()}) before '{mark}':\n" + self.tail())

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def finish(self):
        """Reads to the end; returns the exit code."""
        while self.step():
            pass
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        return self.process.wait(max(1, self.deadline - time.monotonic()))

    def first(self, mark):
        """The first line with the mark so far: (seconds, text) or None."""
        return next(((seconds, text) for seconds, text in self.lines if mark in text), None)


def guest(*arguments):
    """Paths that tools/guest prints for these arguments."""
    done = subprocess.run([ROOT / "tools" / "guest", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Failure(done.stderr.decode(errors="replace").strip())
    return done.stdout.decode().split()
