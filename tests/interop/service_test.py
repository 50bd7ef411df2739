#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ferryd as a service: its configuration file, sockets and readiness as systemd handles them, the files that are installed."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

from interop import BUILD, LIMIT, ROOT, Daemon, main, need

need("virsh")


class Service(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.place = pathlib.Path(directory.name)

    def file(self, text):
        path = self.place / "ferryd.conf"
        path.write_text(text)
        return path

    def daemon(self, *options):
        daemon = Daemon(self.place, *options)
        self.addCleanup(daemon.end)
        return daemon

    def refused(self, *options):
        """What ferryd says to options with which it does not start."""
        done = subprocess.run([BUILD / "ferryd", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_configuration(self):
        path = self.file('# comment\n\n hostname = "first.example"  # why\nauth_tls = none\ndefault_network=none\nverbose = yes\n')
        daemon = self.daemon("--config", path)
        self.assertEqual(daemon.virsh("hostname")[1].strip(), "first.example")
        self.assertEqual(daemon.virsh("net-list", "--all")[1].strip(), "")
        daemon.end()
        daemon.options = ["--hostname", "second.example", f"--config={path}"]
        daemon.start()
        self.assertEqual(daemon.virsh("hostname")[1].strip(), "second.example")

    def test_bad_configuration(self):
        for text, sentence in (
                ("\nhostnam = x\n", 'line 2: there is no setting "hostnam"'),
                ("hostname\n", 'line 1: "hostname" is not of the form key = value'),
                ("= x\n", "is not of the form key = value"),
                ('hostname = "x\n', "one word, or text in double quotes"),
                ("hostname = a b\n", "one word, or text in double quotes"),
                ('hostname = ""\n', "hostname needs a value that is not empty"),
                ("verbose = maybe\n", "neither yes nor no"),
                ('auth_unix_rw = "polkit"\n', 'auth_unix_rw is "polkit", but there is neither SASL nor polkit here, only "none"'),
                ("auth_tcp = sasl\n", "use listen_tls, or ssh"),
                ("default_network = maybe\n", "neither autostart nor define nor none")):
            with self.subTest(text=text):
                directories = [f"--{name}-dir={self.place}/{name}" for name in ("socket", "state", "run", "log")]
                self.assertIn(sentence, self.refused("--config", self.file(text), *directories))
        self.assertIn("cannot read the configuration /no/such/file: No such file", self.refused("--config", "/no/such/file"))
        self.assertIn("--config needs a value", self.refused("--config"))

    def test_sockets_and_readiness(self):
        """What systemd does for ferryd.socket, ferryd-ro.socket and Type=notify."""
        sockets = []
        for name in ("libvirt-sock", "libvirt-sock-ro"):
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self.place / name))
            listening.listen()
            self.addCleanup(listening.close)
            sockets.append(listening)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(str(self.place / "notify"))
        notify.settimeout(LIMIT)
        directories = [f"--{name}-dir={self.place}/{name}" for name in ("socket", "state", "run", "log")]
        launcher = ("import os, sys\n"
                    "for wanted, given in zip((13, 14), map(int, sys.argv[1:3])): os.dup2(given, wanted)\n"
                    "for wanted, given in ((3, 13), (4, 14)): os.dup2(given, wanted, inheritable=True)\n"
                    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')\n"
                    "os.execv(sys.argv[3], sys.argv[3:])\n")
        numbers = [str(listening.fileno()) for listening in sockets]
        process = subprocess.Popen(["python3", "-c", launcher, *numbers, BUILD / "ferryd", "--default-network=none", *directories],
                                   pass_fds=[listening.fileno() for listening in sockets], stderr=subprocess.PIPE,
                                   env={**os.environ, "NOTIFY_SOCKET": str(self.place / "notify"), "JOURNAL_STREAM": "1:2"})
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(notify.recv(64), b"READY=1")
        self.assertFalse((self.place / "socket").exists())
        self.assertEqual(self.virsh("libvirt-sock", "hostname")[0], 0)
        code, _, err = self.virsh("libvirt-sock-ro", "net-define", self.file("<network><name>a</name></network>"))
        self.assertNotEqual(code, 0)
        self.assertIn("read only", err)
        process.terminate()
        self.assertEqual(process.wait(LIMIT), 0)
        self.assertTrue((self.place / "libvirt-sock").exists())  # the service manager's, not ours

    def virsh(self, name, *arguments):
        done = subprocess.run(["virsh", "-q", "-c", f"qemu+unix:///system?socket={self.place / name}", *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_installed(self):
        """The configuration as it is shipped is read, and one that is there already is kept."""
        def install():
            subprocess.run([ROOT / "dist" / "install-config"], env={**os.environ, "DESTDIR": str(self.place)}, check=True)
        install()
        path = self.place / "etc" / "ferry" / "ferryd.conf"
        settings = [line for line in path.read_text().split("\n") if line.startswith("user") or line.startswith("group")]
        self.assertEqual(settings, ['user = "ferry"', 'group = "ferry"'])
        daemon = self.daemon("--config", path, "--default-network", "none")
        self.assertEqual(daemon.virsh("net-list", "--all")[0], 0)
        daemon.end()
        # What is commented out is valid too, and shows the names of all options.
        path.write_text(path.read_text().replace("\n#", "\n").replace("\n ", "\n# "))
        lines = [line for line in path.read_text().split("\n") if "=" in line and line.split(" ")[1:2] == ["="]]
        path.write_text("\n".join(lines) + "\n")
        self.assertGreater(len(lines), 12)
        directories = [f"--{name}-dir={self.place}/{name}" for name in ("socket", "state", "run", "log")]
        self.assertIn("cannot listen", self.refused("--config", path, *directories, "--vmm", BUILD / "ferry-vmm", "--listen-tcp",
                                                   "192.0.2.1:1"))
        install()
        self.assertNotIn("# ferryd's configuration", path.read_text())

    def test_units(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not installed")
        for name in ("ferryd.socket", "ferryd-ro.socket"):
            shutil.copy(ROOT / "dist" / "systemd" / name, self.place / name)
        unit = (ROOT / "dist" / "systemd" / "ferryd.service.in").read_text().replace("@bindir@", str(BUILD))
        (self.place / "ferryd.service").write_text(unit)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, self.place.glob("ferryd*.s*"))], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT, check=False, text=True,
                              env={**os.environ, "SYSTEMD_UNIT_PATH": f"{self.place}:"})
        self.assertEqual([line for line in done.stdout.split("\n") if "ferry" in line], [], done.stdout)


main()
