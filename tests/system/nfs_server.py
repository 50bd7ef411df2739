# SPDX-License-Identifier: GPL-2.0-or-later
"""An NFS server (NFS-Ganesha) in a network namespace of its own, that can be killed and started again."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ADDRESS = "10.77.0.1"
CONFIGURATION = """
NFS_CORE_PARAM {{ Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Grace_Period = 5; Lease_Lifetime = 3; RecoveryBackend = fs; RecoveryRoot = {place}/recovery; }}
EXPORT_DEFAULTS {{ Access_Type = RW; Squash = No_Root_Squash; SecType = sys; }}
EXPORT {{ Export_Id = 1; Path = {place}/export; Pseudo = /storage; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
"""


def skip_unless_possible():
    if os.geteuid() != 0 or shutil.which("ganesha.nfsd") is None or shutil.which("ip") is None:
        print("SKIPPED: needs root, iproute2 and the packages nfs-ganesha and nfs-ganesha-vfs")
        sys.exit(77)


class NfsServer:
    """with NfsServer() as server: files in server.export are nfs://10.77.0.1/storage/... inside of server.namespace."""

    def __init__(self, size=None):
        """size: of the file system with the exported files, which is one of its own then, like "4M"."""
        self.size = size
        self.namespace = f"ferry-nfs-{os.getpid()}"
        self.process = None

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ferry-nfs-")
        self.place = pathlib.Path(self.directory.name)
        self.export = self.place / "export"
        self.export.mkdir()
        if self.size is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", self.export], check=True)
        (self.place / "recovery").mkdir()
        (self.place / "ganesha.conf").write_text(CONFIGURATION.format(place=self.place))
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        try:
            for words in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/24", "dev", "lo"]):
                subprocess.run(["ip", "-n", self.namespace, *words], check=True)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.kill()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)
        if self.size is not None:
            subprocess.run(["umount", self.export], check=False)
        self.directory.cleanup()

    def inside(self, *command):
        """The command as it is run in the server's namespace."""
        return ["ip", "netns", "exec", self.namespace, *map(str, command)]

    def start(self):
        log = self.place / "ganesha.log"
        log.unlink(missing_ok=True)
        command = self.inside("ganesha.nfsd", "-F", "-L", log, "-f", self.place / "ganesha.conf", "-p", self.place / "ganesha.pid")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (log.exists() and "NFS SERVER INITIALIZED" in log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the NFS server did not start: " + (log.read_text(errors="replace")[-2000:] if log.exists() else ""))
            time.sleep(0.05)

    def kill(self):
        """Like a power failure, as far as the server is concerned. ip netns exec has become the server."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @staticmethod
    def url(name):
        return f"nfs://{ADDRESS}/storage/{name}?version=4"
