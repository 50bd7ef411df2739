#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP, TLS and ssh, as virsh and ferry make them; and migrations from daemon to daemon over each."""
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from interop import BUILD, GUESTS, LIMIT, Daemon, main, need
import namespaces
from namespaces import wait_until
from ports import free_port

need("virsh", "certtool", "nc", "ssh", "ssh-keygen", "setpriv")
SSHD = "/usr/sbin/sshd"
namespaces.enter()


def certtool(*arguments):
    subprocess.run(["certtool", *map(str, arguments)], check=True, capture_output=True, timeout=LIMIT)


def make_certificate(place, name, role, authority="ca"):
    """NAMEkey.pem and NAMEcert.pem, signed by the authority."""
    template = place / "template"
    template.write_text(f"cn = 127.0.0.1\nip_address = 127.0.0.1\n{role}\nexpiration_days = 10\n")
    certtool("--generate-privkey", "--key-type", "rsa", "--bits", "2048", "--outfile", place / f"{name}key.pem")
    arguments = ["--load-privkey", place / f"{name}key.pem", "--template", template, "--outfile", place / f"{name}cert.pem"]
    if role == "ca\ncert_signing_key":
        certtool("--generate-self-signed", *arguments)
    else:
        certtool("--generate-certificate", "--load-ca-certificate", place / f"{authority}cert.pem", "--load-ca-privkey",
                 place / f"{authority}key.pem", *arguments)


def start_domain(daemon):
    path = daemon.place / "fw1.xml"
    path.write_text(f"""<domain type='qemu'><name>fw1</name><memory unit='MiB'>16</memory>
        <os><type>hvm</type><kernel>{GUESTS / 'idle.elf'}</kernel></os><devices><console type='pty'/></devices></domain>""")
    code, _, errors = daemon.virsh("create", path)
    if code != 0:
        raise AssertionError(errors)


class Keys(unittest.TestCase):
    """A daemon with keys of TLS, and strangers to it."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        cls.place = pathlib.Path(cls.directory.name)
        for name in ("ca", "other"):
            make_certificate(cls.place, name, "ca\ncert_signing_key")
        make_certificate(cls.place, "server", "signing_key\nencryption_key\ntls_www_server")
        make_certificate(cls.place, "client", "signing_key\nencryption_key\ntls_www_client")
        cls.stranger = cls.place / "stranger"
        cls.stranger.mkdir()
        os.symlink(cls.place / "cacert.pem", cls.stranger / "cacert.pem")
        make_certificate(cls.place, "stranger", "signing_key\nencryption_key\ntls_www_client", authority="other")
        os.rename(cls.place / "strangercert.pem", cls.stranger / "clientcert.pem")
        os.rename(cls.place / "strangerkey.pem", cls.stranger / "clientkey.pem")
        cls.tcp, cls.tls = free_port(), free_port()
        cls.daemon = Daemon(cls.place, "--hostname", "kvm9", "--listen-tcp", f"127.0.0.1:{cls.tcp}", "--listen-tls", f"127.0.0.1:{cls.tls}",
                            "--pki-dir", cls.place, "--migration-host", "127.0.0.1", "--default-network", "none")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.end()
        cls.directory.cleanup()

    def virsh(self, uri, *command):
        return subprocess.run(["virsh", "-q", "-c", uri, *command], capture_output=True, timeout=LIMIT, check=False, text=True)


class Transport(Keys):
    def test_tcp(self):
        done = self.virsh(f"qemu+tcp://127.0.0.1:{self.tcp}/system", "hostname")
        self.assertEqual(done.stdout.strip(), "kvm9", done.stderr)

    def test_program(self):
        script = self.place / "connect"  # what qemu+ssh has the other host run
        script.write_text(f"#!/bin/sh\nexec nc -U {self.daemon.socket}\n")
        script.chmod(0o755)
        done = self.virsh(f"qemu+ext:///system?command={script}", "hostname")
        self.assertEqual(done.stdout.strip(), "kvm9", done.stderr)

    def test_tls(self):
        done = self.virsh(f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath={self.place}", "hostname")
        self.assertEqual(done.stdout.strip(), "kvm9", done.stderr)
        done = self.virsh(f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath={self.place}", "capabilities")
        self.assertIn("<capabilities>", done.stdout)

    def test_tls_without_a_certificate_of_ours(self):
        done = self.virsh(f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath={self.stranger}", "hostname")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("turned away", self.daemon.log())

    def test_plain_bytes_at_the_tls_port(self):
        with socket.create_connection(("127.0.0.1", self.tls), LIMIT) as connection:
            connection.sendall(b"\0\0\0\x1c\x20\0\x80\x86" + bytes(20))
            try:
                while connection.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        self.test_tls()

    def ferry(self, uri, *words):
        return subprocess.run([BUILD / "ferry", *words, "--connect", uri], capture_output=True, timeout=LIMIT, check=False, text=True)

    def test_ferry(self):
        for uri in (f"qemu+tcp://127.0.0.1:{self.tcp}/system", f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath={self.place}",
                    f"qemu://127.0.0.1:{self.tls}/system?pkipath={self.place}", self.daemon.uri):
            done = self.ferry(uri, "pool", "list", "--json")
            self.assertEqual((done.returncode, done.stdout.strip()), (0, "[]"), f"{uri}: {done.stderr}")
        for uri, complaint in ((f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath=/nowhere", "cannot load the CA's certificate /nowhere"),
                               (f"qemu+tls://127.0.0.1:{self.tls}/system?pkipath={self.stranger}", "did not accept the certificate"),
                               (f"qemu+tls://localhost:{self.tls}/system?pkipath={self.place}", "the TLS handshake failed"),
                               ("qemu+spice://h/system", "transport 'spice' of the URI is not supported"),
                               ("xen:///", "is no URI"), ("qemu+tcp:///system", "names no host")):
            done = self.ferry(uri, "list")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(complaint, done.stderr)

    def test_missing_keys_are_named(self):
        with self.assertRaises(AssertionError) as caught:
            with tempfile.TemporaryDirectory() as place:
                Daemon(place, "--listen-tls", "127.0.0.1", "--pki-dir", "/nowhere")
        self.assertIn("cannot load the CA's certificate /nowhere/cacert.pem", str(caught.exception))


class Ssh(unittest.TestCase):
    """A host with Debian's sshd, which knows one key; the other host is this one."""

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(SSHD) or os.geteuid() != 0:
            raise unittest.SkipTest("needs root and openssh-server")
        cls.directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        cls.addClassCleanup(cls.directory.cleanup)
        cls.place = pathlib.Path(cls.directory.name)
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", cls.place / name], check=True, timeout=LIMIT)
        (cls.place / "authorized").write_text((cls.place / "user.pub").read_text())
        cls.port = free_port()
        words = (cls.place / "host.pub").read_text().split()
        (cls.place / "known").write_text(f"[127.0.0.1]:{cls.port} {words[0]} {words[1]}\n")
        (cls.place / "sshd_config").write_text(f"""ListenAddress 127.0.0.1:{cls.port}
HostKey {cls.place}/host
AuthorizedKeysFile {cls.place}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
""")
        os.makedirs("/run/sshd", exist_ok=True)
        cls.server = subprocess.Popen([SSHD, "-D", "-e", "-f", cls.place / "sshd_config"], stderr=subprocess.DEVNULL)  # pylint: disable=consider-using-with
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        wait_until(cls.listens, "sshd does not start")
        cls.daemons = []
        for name in ("kvm1", "kvm2"):
            (cls.place / name).mkdir()
            cls.daemons.append(Daemon(cls.place / name, "--hostname", name, "--migration-host", "127.0.0.1", "--default-network", "none"))
            cls.addClassCleanup(cls.daemons[-1].end)

    @classmethod
    def listens(cls):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", cls.port)) == 0

    def uri(self, daemon, key="user", **more):
        parameters = {"socket": daemon.socket, "keyfile": self.place / key, "known_hosts": self.place / "known", "no_tty": 1, **more}
        return f"qemu+ssh://root@127.0.0.1:{self.port}/system?" + "&".join(f"{name}={value}" for name, value in parameters.items())

    def virsh(self, uri, *command):
        return subprocess.run(["virsh", "-q", "-c", uri, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False,
                              text=True)

    def virsh_uri(self, daemon, key="user"):
        """virsh takes known_hosts by a configuration file of ssh only."""
        return self.uri(daemon, key, no_verify=1)

    def test_virsh(self):
        done = self.virsh(self.virsh_uri(self.daemons[1]), "hostname")
        self.assertEqual(done.stdout.strip(), "kvm2", done.stderr)
        done = self.virsh(self.virsh_uri(self.daemons[1]), "list", "--all")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.virsh(self.virsh_uri(self.daemons[1], "stranger"), "hostname").returncode, 0)

    def test_ferry(self):
        def ferry(uri):
            return subprocess.run([BUILD / "ferry", "list", "--json", "--connect", uri], stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=LIMIT, check=False, text=True)
        done = ferry(self.uri(self.daemons[1]))
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "[]"), done.stderr)
        self.assertIn("Permission denied", ferry(self.uri(self.daemons[1], "stranger")).stderr)
        self.assertIn("Host key verification failed", ferry(self.uri(self.daemons[1], known_hosts="/dev/null")).stderr)

    def test_migrations(self):
        first, second = self.daemons
        start_domain(first)
        for source, target, options in ((first, second, ["--live"]), (second, first, ["--live", "--p2p"])):
            uri = self.uri(target) if "--p2p" in options else self.virsh_uri(target)
            done = self.virsh(source.uri, "migrate", *options, "fw1", uri)
            self.assertEqual(done.returncode, 0, done.stderr + source.log()[-2000:] + target.log()[-2000:])
            self.assertEqual(self.virsh(target.uri, "list", "--name").stdout.split(), ["fw1"])
            self.assertEqual(self.virsh(source.uri, "list", "--name").stdout.split(), [])
        done = self.virsh(first.uri, "migrate", "--live", "--p2p", "fw1", self.uri(second, "stranger"))
        self.assertIn("Permission denied", done.stderr)  # ssh's own word
        done = self.virsh(first.uri, "migrate", "--live", "--p2p", "fw1", self.uri(second, netcat="/nowhere/nc"))
        self.assertIn("/nowhere/nc", done.stderr)
        self.assertEqual(self.virsh(first.uri, "list", "--name").stdout.split(), ["fw1"])
        self.assertEqual(self.virsh(first.uri, "destroy", "fw1").returncode, 0)


class TlsMigration(Keys):
    """Peer-to-peer by qemu+tls: the source's own certificate speaks for it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.place / "kvm1").mkdir()
        cls.source = Daemon(cls.place / "kvm1", "--hostname", "kvm1", "--pki-dir", cls.place, "--migration-host", "127.0.0.1",
                            "--default-network", "none")
        cls.addClassCleanup(cls.source.end)

    def test_migration(self):
        start_domain(self.source)
        done = self.virsh(self.source.uri, "migrate", "--live", "--p2p", "fw1", f"qemu+tls://127.1:{self.tls}/system")
        self.assertIn("the TLS handshake failed", done.stderr)  # the certificate is for 127.0.0.1
        done = self.virsh(self.source.uri, "migrate", "--live", "--p2p", "fw1", f"qemu+tls://127.0.0.1:{self.tls}/system")
        self.assertEqual(done.returncode, 0, done.stderr + self.source.log()[-2000:] + self.daemon.log()[-2000:])
        self.assertEqual(self.virsh(self.daemon.uri, "list", "--name").stdout.split(), ["fw1"])
        self.assertEqual(self.virsh(self.daemon.uri, "destroy", "fw1").returncode, 0)


main()
