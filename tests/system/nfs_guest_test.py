#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM with its disk on an NFS server, which is killed and started again under it; another such disk is added meanwhile."""
import argparse
import os
import subprocess
import sys

import linux_guest as vm
from nfs_server import NfsServer, skip_unless_possible
from system import Qmp

SCRIPT = """
await() {
    for _ in $(seq 600); do
        eval "$1" && return
        sleep 0.1
    done
    echo "gave up: $1"
}
dd if=/dev/urandom of=/tmp/data bs=64k count=128 2>/dev/null
echo "data $(sha256sum /tmp/data)"
for round in 1 2 3 4 5 6; do
    dd if=/tmp/data of=/dev/vda bs=64k seek=$((round * 8)) conv=fsync 2>/dev/null || echo "failed"
    echo "round $round"
done
await '[ -b /dev/vdb ]'
dd if=/tmp/data of=/dev/vdb bs=64k conv=fsync 2>/dev/null || echo "failed"
"""
SIZE, PIECE = 32 << 20, 8 << 20


def test(options, directory, start):
    initrd, kernel = vm.images("cloud/lab.img", "cloud/vmlinuz", script=SCRIPT, directory=directory)
    with NfsServer() as server:
        for name in ("first", "second"):
            (server.export / name).write_bytes(b"")
            os.truncate(server.export / name, SIZE)
        machine = start(kernel=kernel, initrd=initrd, append="NET=off", disk=server.url("first"), control=directory / "control",
                        before=server.inside())
        machine.wait_text(r"^round 2", options.limit)
        server.kill()
        with Qmp(directory / "control", limit=options.limit) as qmp:
            vm.need(qmp.negotiate().call("query-status")["running"], "the VM stopped")
            server.start()
            machine.wait_text(r"^round 4", options.limit)
            qmp.call("blockdev-add", driver="raw", file={"driver": "file", "filename": server.url("second")}, **{"node-name": "second"})
            qmp.call("device_add", driver="virtio-blk-pci", id="second", drive="second")
            machine.wait_text(r"^guest: end poweroff", options.limit)
        vm.need(machine.wait_end(60) == 0, "exit code after power-off")
        vm.need("failed" not in machine.text and "gave up" not in machine.text, "a write failed")
        vm.need("has started anew" in machine.text, "nobody was told that the server started anew")
        digest = machine.wait_text(r"^data (\S+)", 1)[1]
        for name, offset in (("first", 6 * 8 * 65536), ("second", 0)):
            piece = (server.export / name).read_bytes()[offset:offset + PIECE]
            found = subprocess.run(["sha256sum"], input=piece, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()
            vm.need(found == digest, f"what the guest wrote is not what lies on its {name} disk")


if __name__ == "__main__":
    skip_unless_possible()
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    sys.exit(vm.run(test, parser.parse_args()))
