# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces for tests: this process gets one of its own, and makes more. All are gone with the process."""
import ctypes
import os
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
LIMIT = 120


def enter():
    """Moves this process into a network namespace of its own, with lo up; ends the program, skipped, without the right to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNET) != 0:
        print("SKIPPED: no right to make network namespaces")
        sys.exit(77)
    command("ip link set lo up")


def command(line, check=True):
    """Runs a line of words: (exit code, both outputs)."""
    done = subprocess.run(line if isinstance(line, list) else line.split(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT, check=False, text=True)
    if check and done.returncode != 0:
        raise AssertionError(f"{line}: {done.stdout}")
    return done.returncode, done.stdout.strip()


class Namespace:
    """Another network namespace, held by a process that sleeps and dies with us."""

    def __init__(self):
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-n", "sleep", "infinity"])
        deadline = time.monotonic() + LIMIT
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            if time.monotonic() > deadline:
                raise AssertionError("no new network namespace")
            time.sleep(0.02)
        self.run("ip link set lo up")

    def close(self):
        self.holder.kill()
        self.holder.wait()

    def words(self, line):
        return ["nsenter", "-t", str(self.holder.pid), "-n", *(line if isinstance(line, list) else line.split())]

    def run(self, line, check=True):
        return command(self.words(line), check)

    def start(self, line, **more):
        """A process in it, for the caller to end."""
        return subprocess.Popen(self.words(line), **more)

    def plug(self, name, bridge=None, mac=None):
        """A cable from here (interface `name`, a port of the bridge) to its eth0."""
        address = f"address {mac} " if mac else ""
        command(f"ip link add {name} type veth peer name eth0 {address}netns {self.holder.pid}")
        if bridge:
            command(f"ip link set {name} master {bridge}")
        command(f"ip link set {name} up")
        self.run("ip link set eth0 up")
