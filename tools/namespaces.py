# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces for tests and labs: this program gets one of its own, and makes more. All are gone with it."""
import os
import signal
import subprocess
import sys
import time

LIMIT = 120
# Number 1 of the new process namespace, which collects whatever daemon ends.
FIRST = '"$@" & wait $!'


def enter():
    """Starts this program again with a network of its own (lo is up) and processes of its own: when it ends, however that may be, nothing
    that it started is left. Ends it, skipped, without the right to."""
    if os.environ.get("FERRY_ENTERED") == "yes":
        command("ip link set lo up")
        return
    unshare = ["unshare", "-n", "-p", "-f", "--kill-child=KILL", "--mount-proc"]
    if os.geteuid() != 0 or command([*unshare, "true"], check=False)[0] != 0:
        print("SKIPPED: no right to make network and process namespaces")
        sys.exit(77)
    inner = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *unshare, "bash", "-c", FIRST, "first", sys.executable, *sys.argv],
                             env={**os.environ, "FERRY_ENTERED": "yes"})
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: inner.kill())
    code = inner.wait()
    sys.exit(code if code >= 0 else 128 - code)


def command(line, check=True):
    """Runs a line of words: (exit code, both outputs)."""
    done = subprocess.run(line if isinstance(line, list) else line.split(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT, check=False, text=True)
    if check and done.returncode != 0:
        raise AssertionError(f"{line}: {done.stdout}")
    return done.returncode, done.stdout.strip()


class Namespace:
    """Another network namespace, held by a process that sleeps and dies with us."""

    HOLD = ["unshare", "-n", "sleep", "infinity"]

    def __init__(self):
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.HOLD])
        self.pid = self.holder.pid
        wait_until(lambda: namespace_of(self.pid) not in (None, namespace_of("self")), "no new network namespace")
        self.run("ip link set lo up")

    def close(self):
        self.holder.kill()
        self.holder.wait()

    def words(self, line):
        return ["nsenter", "-t", str(self.pid), "-n", *(line if isinstance(line, list) else line.split())]

    def run(self, line, check=True):
        return command(self.words(line), check)

    def start(self, line, **more):
        """A process in it, for the caller to end."""
        return subprocess.Popen(self.words(line), **more)

    def plug(self, name, bridge=None, mac=None, inside="eth0", here=None):
        """A cable from this process's namespace (or that of `here`; interface `name`, a port of the bridge) to its `inside`."""
        run = here.run if here else command
        address = f"address {mac} " if mac else ""
        run(f"ip link add {name} type veth peer name {inside} {address}netns {self.pid}")
        if bridge:
            run(f"ip link set {name} master {bridge}")
        run(f"ip link set {name} up")
        self.run(f"ip link set {inside} up")


# A root directory of its own over the machine's, in which everything may be written, and processes that end together.
MACHINE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs machine "$1"
mkdir "$1/upper" "$1/work" "$1/files"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" machine "$1/files"
for directory in sys dev; do mount --rbind "/$directory" "$1/files/$directory"; done
mount -t proc proc "$1/files/proc"
mount -t tmpfs -o mode=755 run "$1/files/run"
mkdir -p "$1/files/storage"
[ -z "$3" ] || mount --bind "$3" "$1/files/storage"
hostname "$2"
cd "$1/files"
exec chroot . bash -c 'touch /run/machine; while :; do sleep 3600 & wait; done'
"""


def machines_possible(place):
    """Why there can be no Machine here, or None."""
    probe = ('mount -t tmpfs probe "$1" && mkdir "$1/u" "$1/w" "$1/r" && '
             'mount -t overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" probe "$1/r"')
    code, out = command(["unshare", "-n", "-m", "-u", "-p", "-f", "sh", "-c", probe, "probe", str(place)], check=False)
    return None if code == 0 else f"no namespaces with an overlay file system: {out}"


class Machine(Namespace):
    """A host of its own: network, files, host name, processes. Everything in it ends with us."""

    def __init__(self, place, name, storage=None):
        self.name = name
        self.root = place / name
        self.root.mkdir()
        self.HOLD = ["unshare", "-n", "-m", "-u", "-p", "-f", "--kill-child=KILL", "bash", "-c", MACHINE, "machine", str(self.root), name,
                     str(storage or "")]
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *self.HOLD], stderr=subprocess.DEVNULL)
        wait_until(self.find, f"{name} does not start")
        command(["nsenter", "-t", str(self.pid), "-n", "ip", "link", "set", "lo", "up"])

    def find(self):
        """The process that is number 1 inside is the child of the one that we started."""
        children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
        if self.holder.poll() is not None:
            raise AssertionError(f"{self.name} did not start")
        with open(children, encoding="ascii") as file:
            pids = file.read().split()
        self.pid = int(pids[0]) if pids else None
        return self.pid and os.path.exists(self.path("/run/machine"))

    def close(self):
        if self.pid:
            subprocess.run(["kill", "-KILL", str(self.pid)], check=False)  # the kernel ends all others with it
        self.holder.wait()

    def words(self, line):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", "-r", "-w", *(line if isinstance(line, list) else line.split())]

    def network_words(self, line):
        """In its network, but with this machine's process numbers."""
        return ["nsenter", "-t", str(self.pid), "-n", *(line if isinstance(line, list) else line.split())]

    def path(self, name):
        """A file of it, as seen from here."""
        return f"/proc/{self.pid}/root{name}"


def namespace_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except FileNotFoundError:
        return None


def wait_until(condition, what, limit=LIMIT):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.05)
