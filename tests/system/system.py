# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests share: engines to try, tiny guests, a scratch directory, a client of the control socket."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from console import BUILD, FERRY, Console, Failure  # noqa: E402,F401 pylint: disable=wrong-import-position

GUESTS = BUILD / "tests" / "system"
LIMIT = 30  # seconds that one VM of these tests may live


def usable(engine):
    """Whether the engine can run guests here."""
    if engine == "kvm":
        return os.access("/dev/kvm", os.R_OK | os.W_OK)
    return True


ENGINES = [engine for engine in os.environ.get("FERRY_ENGINES", "dbt kvm").split() if usable(engine)]


class SystemTest(unittest.TestCase):
    """A test with a scratch directory that must hold only what the test put there when it ends."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="ferry-system-")  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.place = pathlib.Path(directory.name)

    def vm(self, guest, *options, engine=ENGINES[0], serial="stdio"):
        """A VM on its console; use it in a with statement."""
        return Console([FERRY, "run", "--engine", engine, "--memory", "16M", "--kernel", GUESTS / f"{guest}.elf", "--serial", serial,
                        *options], LIMIT)

    def run_vm(self, guest, *options, **more):
        """Runs a VM to its end: (exit code, console)."""
        with self.vm(guest, *options, **more) as console:
            code = console.finish()
        return code, console

    @staticmethod
    def text(console):
        return "\n".join(text for _, text in console.lines)


class Qmp:
    """A client of a control socket."""

    def __init__(self, path, limit=10):
        self.deadline = time.monotonic() + limit
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(limit)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > self.deadline:
                    raise
                time.sleep(0.02)
        self.file = self.socket.makefile("r")
        self.events = []
        self.greeting = json.loads(self.file.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def raw(self, text):
        self.socket.sendall(text.encode())

    def message(self):
        """The next message that is no event."""
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("the VM hung up")
            message = json.loads(line)
            if "event" not in message:
                return message
            self.events.append(message)

    def execute(self, command, **arguments):
        """The whole reply."""
        self.raw(json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})}))
        return self.message()

    def execute_with_fd(self, descriptor, command, **arguments):
        """The whole reply to a command that comes with a descriptor."""
        text = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        socket.send_fds(self.socket, [text.encode()], [descriptor])
        return self.message()

    def call_with_fd(self, descriptor, command, **arguments):
        reply = self.execute_with_fd(descriptor, command, **arguments)
        if "return" not in reply:
            raise AssertionError(f"{command}: {reply}")
        return reply["return"]

    def call(self, command, **arguments):
        """The value of a command that must succeed."""
        reply = self.execute(command, **arguments)
        if "return" not in reply:
            raise AssertionError(f"{command}: {reply}")
        return reply["return"]

    def negotiate(self):
        self.call("qmp_capabilities")
        return self

    def wait_for(self, event):
        """The next event of that name."""
        while True:
            for seen in self.events:
                if seen["event"] == event:
                    self.events.remove(seen)
                    return seen
            line = self.file.readline()
            if not line:
                raise EOFError(f"the VM hung up before {event}")
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)


def ferry(*arguments, stdin=None):
    """Runs the ferry command: (exit code, standard output, standard error)."""
    done = subprocess.run([FERRY, *map(str, arguments)], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def main():
    unittest.main(verbosity=2)
