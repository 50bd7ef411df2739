# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports for servers of tests and benches."""
import socket


def free_port():
    """A TCP port of the loopback interface that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
