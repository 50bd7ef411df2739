# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts as network namespaces, each with a bridge, joined by a link; client namespaces at their bridges. For tests of
migration on one machine: what is made here is removed at the end, whatever happens."""
import os
import signal
import subprocess
import time

from console import Failure  # pylint: disable=import-error

BRIDGE = "br0"


def available():
    """Why namespaces can't be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun"
    probe = f"ferry-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return f"no network namespaces here: {done.stderr.strip()}"
    done = subprocess.run(["ip", "-n", probe, "link", "add", "br0", "type", "bridge"], stderr=subprocess.PIPE, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return f"no bridges here: {done.stderr.strip()}" if done.returncode != 0 else None


def ip(*words):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """Use it in a with statement. Names are of this process alone; processes that are started in a namespace are ended with it."""

    def __init__(self, tag="ferry"):
        self.prefix = f"{tag}{os.getpid()}"
        self.namespaces = []
        self.processes = []
        self.links = 0
        self._handlers = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):  # so that the end below is reached
            self._handlers[number] = signal.signal(number, lambda n, _: (_ for _ in ()).throw(SystemExit(128 + n)))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def namespace(self, name):
        full = f"{self.prefix}-{name}"
        ip("netns", "add", full)
        self.namespaces.append(full)
        self.run(full, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
        ip("-n", full, "link", "set", "lo", "up")
        return full

    def host(self, name, address):
        """A namespace with a bridge that has the address."""
        full = self.namespace(name)
        # An address of its own: else it is the lowest of its ports', and changes as taps come and go.
        mac = f"02:fe:{os.getpid() >> 16 & 255:02x}:{os.getpid() >> 8 & 255:02x}:{os.getpid() & 255:02x}:{len(self.namespaces):02x}"
        ip("-n", full, "link", "add", BRIDGE, "address", mac, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        ip("-n", full, "addr", "add", address, "dev", BRIDGE)
        ip("-n", full, "link", "set", BRIDGE, "up")
        return full

    def _veth(self, first, second):
        """Two ends of a cable in two namespaces; their names."""
        self.links += 1
        names = [f"v{self.links}a", f"v{self.links}b"]
        ip("link", "add", "name", f"{self.prefix}x"[:15], "type", "veth", "peer", "name", f"{self.prefix}y"[:15])
        for end, name, where in ((f"{self.prefix}x"[:15], names[0], first), (f"{self.prefix}y"[:15], names[1], second)):
            ip("link", "set", end, "netns", where, "name", name)
            ip("-n", where, "link", "set", name, "up")
        return names

    def join(self, first, second):
        """A cable between two hosts' bridges."""
        for name, where in zip(self._veth(first, second), (first, second)):
            ip("-n", where, "link", "set", name, "master", BRIDGE)

    def client(self, name, host, address, gateway):
        """A namespace with one interface, at the host's bridge."""
        full = self.namespace(name)
        port, own = self._veth(host, full)
        ip("-n", host, "link", "set", port, "master", BRIDGE)
        ip("-n", full, "addr", "add", address, "dev", own)
        ip("-n", full, "route", "add", "default", "via", gateway)
        return full

    @staticmethod
    def inside(namespace, *command):
        """The command line that runs the command in a namespace."""
        return ["ip", "netns", "exec", namespace, *map(str, command)]

    def run(self, namespace, *command):
        done = subprocess.run(self.inside(namespace, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    def start(self, namespace, *command, **more):
        process = subprocess.Popen(self.inside(namespace, *command), **more)  # pylint: disable=consider-using-with
        self.processes.append(process)
        return process

    def wait_for_answer(self, namespace, address, limit):
        """Until a ping is answered."""
        deadline = time.monotonic() + limit
        while True:
            done = subprocess.run(self.inside(namespace, "busybox", "ping", "-c", "1", "-W", "1", address), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise Failure(f"{address} does not answer within {limit} s")
