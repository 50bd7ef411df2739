#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP and TLS, as virsh makes them."""
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from interop import LIMIT, Daemon, main, need

need("virsh", "certtool", "nc")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


class Transport(unittest.TestCase):
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
                            "--pki-dir", cls.place, "--default-network", "none")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.end()
        cls.directory.cleanup()

    def virsh(self, uri, *command):
        return subprocess.run(["virsh", "-q", "-c", uri, *command], capture_output=True, timeout=LIMIT, check=False, text=True)

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

    def test_missing_keys_are_named(self):
        with self.assertRaises(AssertionError) as caught:
            with tempfile.TemporaryDirectory() as place:
                Daemon(place, "--listen-tls", "127.0.0.1", "--pki-dir", "/nowhere")
        self.assertIn("cannot load the CA's certificate /nowhere/cacert.pem", str(caught.exception))


main()
