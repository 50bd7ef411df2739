#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration by TLS: who has a certificate of the authority gets through, on every channel; nobody else does."""
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from certificates import authority
from migration import MigrationTest, free_port, main, wait_over

PLACE = pathlib.Path(tempfile.mkdtemp(prefix="ferry-tls-"))


def expired(place, copy):
    """The same authority's, with a client's certificate that was valid once."""
    shutil.copytree(place, copy)
    (copy / "template").write_text('cn = client\nsigning_key\nencryption_key\ntls_www_client\nactivation_date = "2020-01-01 00:00:00"\n'
                                   'expiration_date = "2020-02-01 00:00:00"\n')
    subprocess.run(["certtool", "--generate-certificate", "--load-privkey", copy / "client-key.pem", "--load-ca-certificate",
                    copy / "ca-cert.pem", "--load-ca-privkey", copy / "ca-key.pem", "--outfile", copy / "client-cert.pem",
                    "--template", copy / "template"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return copy


class Tls(MigrationTest):
    @classmethod
    def setUpClass(cls):
        cls.good, cls.other = authority(PLACE / "good"), authority(PLACE / "other")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(PLACE)

    def test_move(self):
        for host, channels in (("127.0.0.1", 1), ("localhost", 4)):
            with self.subTest(host=host):
                uri = f"tls:{host}:{free_port()}"
                source, target, out, _ = self.pair(uri, "--tls-dir", self.good, guest="dirty")
                self.type(source, "ab")
                out.call("migrate-set-parameters", **{"multifd-channels": channels})
                out.call("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
                out.call("migrate", uri=uri)
                answer = wait_over(out)
                self.assertEqual(answer["status"], "completed", answer)
                self.type(target, "cd")
                self.doCleanups()
                self.setUp()

    def test_name_other_than_the_address(self):
        """tls-hostname: whom the destination's certificate is for, whatever the address says."""
        listen = f"tls:127.0.0.1:{free_port()}"
        uri = listen.replace("127.0.0.1", "[::ffff:127.0.0.1]")
        source, target, out, _ = self.pair(listen, "--tls-dir", self.good)
        self.type(source, "ab")
        for name, status in (("kvm2.example", "failed"), ("localhost", "completed")):
            out.call("migrate-set-parameters", **{"tls-hostname": name})
            self.assertEqual(out.call("query-migrate-parameters")["tls-hostname"], name)
            out.call("migrate", uri=uri)
            answer = wait_over(out)
            self.assertEqual(answer["status"], status, answer)
        self.type(target, "cd")
        for value in (7, "x" * 254):
            self.assertIn("expects a string", out.execute("migrate-set-parameters", **{"tls-hostname": value})["error"]["desc"])

    def refused(self, sentence, source_options=(), target_options=(), uri=None, scheme="tls"):
        listen = f"tls:127.0.0.1:{free_port()}"
        uri = (uri or listen).replace("PORT", listen.rsplit(":", 1)[1]).replace("tls:", scheme + ":")
        source, target, out, into = self.pair(listen, source_options=source_options, target_options=target_options)
        self.type(source, "ab")
        out.call("migrate", uri=uri)
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        self.assertRegex(answer["error-desc"], sentence)
        self.type(source, "cd")
        self.assertIsNone(target.process.poll())
        self.assertEqual(into.call("query-status")["status"], "inmigrate")

    def test_source_of_another_authority(self):
        self.refused("certificate is refused", ("--tls-dir", self.other), ("--tls-dir", self.good))

    def test_destination_of_another_name(self):
        self.refused("certificate is refused", ("--tls-dir", self.good), ("--tls-dir", self.good), uri="tls:[::ffff:127.0.0.1]:PORT")

    def swapped(self):
        """Certificates of the authority, each where the other one belongs."""
        place = self.place / "swapped"
        shutil.copytree(self.good, place)
        for kind, other in ("client", "server"), ("server", "client"):
            for what in "cert", "key":
                shutil.copy(self.good / f"{other}-{what}.pem", place / f"{kind}-{what}.pem")
        return place

    def test_source_with_a_certificate_for_servers(self):
        self.refused("refuses this side's certificate: is it for this role", ("--tls-dir", self.swapped()), ("--tls-dir", self.good))

    def test_destination_with_a_certificate_for_clients(self):
        self.refused("certificate is refused", ("--tls-dir", self.good), ("--tls-dir", self.swapped()))

    def test_source_without_a_certificate(self):
        bare = self.place / "bare"
        bare.mkdir()
        shutil.copy(self.good / "ca-cert.pem", bare)
        self.refused("cannot read .*client-cert.pem", ("--tls-dir", bare), ("--tls-dir", self.good))

    def test_source_whose_certificate_has_expired(self):
        self.refused("the destination refuses this side's certificate", ("--tls-dir", expired(self.good, PLACE / "expired")),
                     ("--tls-dir", self.good))

    def test_plain_source(self):
        self.refused("no TLS with the other side, which does not speak it.*both need the same address, tls:HOST:PORT", ("--tls-dir", self.good), ("--tls-dir", self.good), scheme="tcp")

    def test_somebody_else(self):
        listen = f"tls:127.0.0.1:{free_port()}"
        target = self.start("target", "--incoming", listen, "--tls-dir", self.good)
        self.control("target")
        with socket.create_connection(("127.0.0.1", int(listen.rsplit(":", 1)[1]))) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
        self.assertIsNone(target.process.poll())


if __name__ == "__main__":
    if shutil.which("certtool") is None:
        print("no certtool (package gnutls-bin)")
        sys.exit(77)
    main()
