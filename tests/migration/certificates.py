# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for migrations by TLS."""
import subprocess


def certtool(place, *arguments, template=None):
    options = []
    if template is not None:
        (place / "template").write_text(template)
        options = ["--template", place / "template"]
    subprocess.run(["certtool", *map(str, arguments), *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(place):
    """A new directory with certificates of both kinds, the server's for this machine."""
    place.mkdir()
    for kind in "ca", "server", "client":
        certtool(place, "--generate-privkey", "--key-type", "ecdsa", "--outfile", place / f"{kind}-key.pem")
    certtool(place, "--generate-self-signed", "--load-privkey", place / "ca-key.pem", "--outfile", place / "ca-cert.pem",
             template=f"cn = {place.name}\nca\ncert_signing_key\nexpiration_days = 10\n")
    for kind, more in (("server", "tls_www_server\ndns_name = localhost\nip_address = 127.0.0.1\n"), ("client", "tls_www_client\n")):
        certtool(place, "--generate-certificate", "--load-privkey", place / f"{kind}-key.pem", "--load-ca-certificate",
                 place / "ca-cert.pem", "--load-ca-privkey", place / "ca-key.pem", "--outfile", place / f"{kind}-cert.pem",
                 template=f"cn = {kind}\nsigning_key\nencryption_key\nexpiration_days = 10\n{more}")
    return place
