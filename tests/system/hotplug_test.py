#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel sees a network card and a disk that are added while it runs, uses them, is saved and goes on with them, and
lets them go."""
import argparse
import hashlib
import os
import sys

import linux_guest as vm
from system import Qmp

SCRIPT = """
await() { # CONDITION: up to a minute
    for _ in $(seq 600); do
        eval "$1" && return
        sleep 0.1
    done
    echo "gave up: $1"
}
echo "ready $(ls /sys/class/net | tr '\\n' ' ')"
await '[ -e /sys/class/net/eth1 ]'
ip link set eth1 up
udhcpc -i eth1 -s /etc/udhcpc.script -n -q -t 10 -T 2 >/dev/null 2>&1 </dev/null
echo "address $(ip -4 -o addr show eth1 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')"
wget -q -O /tmp/page "http://10.0.2.2:$PORT/page"
echo "page $(sha256sum /tmp/page)"
await '[ -b /dev/vda ]'
echo "serial $(cat /sys/block/vda/serial)"
echo "disk $(sha256sum /dev/vda)"
dd if=/tmp/page of=/dev/vda bs=100000 count=1 conv=fsync,notrunc 2>/dev/null
echo "used $(cat /sys/class/net/eth1/address)"
await '[ ! -b /dev/vda ]'
echo "disk gone"
await '[ ! -e /sys/class/net/eth1 ]'
echo "card gone $(ls /sys/class/net | tr '\\n' ' ')"
await '[ -e /sys/class/net/eth1 ]'
echo "card back $(cat /sys/class/net/eth1/address)"
dmesg | grep -E "BUG:|WARNING:|Oops|Call Trace" | sed 's/^/complaint /'
"""
MAC = "52:54:00:aa:bb:cc"
DISK = 1 << 20


def plug(qmp, disk):
    qmp.call("netdev_add", type="user", id="hostnet1")
    qmp.call("device_add", driver="virtio-net-pci", id="card", netdev="hostnet1", mac=MAC)
    qmp.call("blockdev-add", driver="raw", **{"node-name": "image", "file": {"driver": "file", "filename": str(disk)}})
    qmp.call("device_add", driver="virtio-blk-pci", id="extra", drive="image", serial="EXTRA-1", addr="0x1e")
    vm.need([device["id"] for device in qmp.call("x-ferry-devices")] == ["net0", "card", "extra"], "wrong devices")


def test(options, directory, start):
    initrd, kernel = vm.images("cloud/lab.img", "cloud/vmlinuz", script=SCRIPT, directory=directory)
    disk, before, page, saved = directory / "disk.img", os.urandom(DISK), os.urandom(100_000), directory / "saved"
    disk.write_bytes(before)
    with vm.web_server(page) as port:
        arguments = {"kernel": kernel, "initrd": initrd, "append": f"PORT={port} NET=off", "net": True}
        first = start(**arguments, control=directory / "first")
        first.wait_text(r"^ready eth0 lo", options.limit)
        with Qmp(directory / "first", limit=options.limit) as qmp:
            plug(qmp.negotiate(), disk)
            first.wait_text(r"^address 10\.0\.2\.15", options.limit)
            digest = first.wait_text(r"^page (\S+)", options.limit)[1]
            vm.need(digest == hashlib.sha256(page).hexdigest(), "the page came over the new card changed")
            first.wait_text(r"^serial EXTRA-1$", options.limit)
            digest = first.wait_text(r"^disk (\S+)", options.limit)[1]
            wanted = hashlib.sha256(before).hexdigest()
            vm.need(digest == wanted, f"the guest read something else from the new disk: {digest} and not {wanted}")
            first.wait_text(rf"^used {MAC}$", options.limit)
            qmp.call("x-ferry-save", file=str(saved))
            qmp.call("quit")
        first.wait_end(options.limit)
        vm.need(disk.read_bytes() == page + before[len(page):], "what the guest wrote is not what lies on the new disk")

        without = start(**arguments, more=["--load", str(saved)])
        vm.need(without.wait_end(options.limit) == 2 and "virtio-net 13" in without.text, "a VM without the card was taken")
        plugged = ["--net", f"user,id=card,slot=13,mac={MAC}", "--disk", f"{disk},id=extra,slot=30,serial=EXTRA-1"]
        more = start(**arguments, more=["--load", str(saved), *plugged, "--net", "user"])
        vm.need(more.wait_end(options.limit) == 2 and "net2" in more.text, "a VM with one card too many was taken")
        second = start(**arguments, control=directory / "second", more=["--load", str(saved), *plugged])
        with Qmp(directory / "second", limit=options.limit) as qmp:
            qmp.negotiate()
            remove(second, qmp, options)
        second.wait_text(r"^guest: end poweroff", options.limit)
        vm.need(second.wait_end(options.limit) == 0, "exit code after power-off")
    print(f"{second.seconds():.1f} s for the second VM")
    vm.need("complaint" not in second.text and "gave up" not in second.text, "the guest complains")


def remove(machine, qmp, options):
    vm.need("in use" in qmp.execute("blockdev-del", **{"node-name": "extra"})["error"]["desc"], "an image in use was closed")
    qmp.call("device_del", id="extra")
    vm.need(qmp.wait_for("DEVICE_DELETED")["data"]["device"] == "extra", "the wrong device went")
    machine.wait_text(r"^disk gone", options.limit)
    qmp.call("blockdev-del", **{"node-name": "extra"})
    vm.need(qmp.call("query-block") == [], "the disk is still listed")
    qmp.call("device_del", id="card")
    vm.need(qmp.wait_for("DEVICE_DELETED")["data"]["device"] == "card", "the wrong device went")
    machine.wait_text(r"^card gone eth0 lo", options.limit)
    vm.need(qmp.execute("device_del", id="card")["error"]["class"] == "DeviceNotFound", "a device went twice")
    qmp.call("device_add", driver="virtio-net-pci", id="again", netdev="card", mac=MAC)
    machine.wait_text(rf"^card back {MAC}", options.limit)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    sys.exit(vm.run(test, parser.parse_args()))
