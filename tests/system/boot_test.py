#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots Debian's unmodified kernel, has the guest use every CPU, its disk and its network, and power off by ACPI."""
import argparse
import hashlib
import os
import re
import sys

import linux_guest as vm

SCRIPT = """
echo "cpus $(nproc)"
echo "disk $(sha256sum /dev/vda)"
dd if=/dev/urandom of=/tmp/pattern bs=64k count=4 2>/dev/null
dd if=/tmp/pattern of=/dev/vda bs=64k seek=8 conv=fsync 2>/dev/null
echo "pattern $(sha256sum /tmp/pattern)"
wget -q -O /tmp/page "http://10.0.2.2:$PORT/page"
echo "page $(sha256sum /tmp/page)"
for cpu in $(seq 0 $(($(nproc) - 1))); do
    echo "ran $(taskset -c $cpu sh -c 'i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done; echo $i')"
done
dmesg | grep -E "BUG:|WARNING:|Oops|Call Trace|\\[Firmware Bug\\]|unchecked MSR" | sed 's/^/complaint /'
"""
DISK = 8 << 20
PATTERN_OFFSET, PATTERN_SIZE = 8 * 65536, 4 * 65536


def value(machine, word):
    found = re.search(rf"^{word} (\S+)", machine.text, re.M)
    vm.need(found, f"the guest said nothing about \"{word}\"")
    return found[1]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check(machine, options, disk, before, page):
    vm.need(value(machine, "cpus") == str(options.cpus), f"the guest sees {value(machine, 'cpus')} CPUs")
    vm.need(len(re.findall("^ran 1000$", machine.text, re.M)) == options.cpus, "not every CPU ran a loop")
    vm.need(value(machine, "disk") == sha256(before), "the guest read something else from its disk than lies there")
    vm.need(value(machine, "page") == sha256(page), "the page came over the network changed, or not at all")
    after = disk.read_bytes()
    written = after[PATTERN_OFFSET:PATTERN_OFFSET + PATTERN_SIZE]
    vm.need(value(machine, "pattern") == sha256(written), "what the guest wrote is not what lies on its disk")
    vm.need(after[:PATTERN_OFFSET] + after[PATTERN_OFFSET + PATTERN_SIZE:] ==
            before[:PATTERN_OFFSET] + before[PATTERN_OFFSET + PATTERN_SIZE:], "the guest's disk changed in other places")
    complaints = re.findall(r"^complaint (.*)", machine.text, re.M)
    vm.need(not complaints, f"the kernel complains: {complaints[:3]}")


def test(options, directory, start):
    initrd, kernel = vm.images(f"{options.kernel}/lab.img", f"{options.kernel}/{options.image}", script=SCRIPT,
                               directory=directory)
    disk, before, page = directory / "disk.img", os.urandom(DISK), os.urandom(100_000)
    disk.write_bytes(before)
    with vm.web_server(page) as port:
        machine = start(kernel=kernel, initrd=initrd, append=f"PORT={port}", cpus=options.cpus, disk=disk, net=True)
        machine.wait_text(r"^guest: up", options.limit)
        up = machine.seconds()
        machine.wait_text(r"^guest: end poweroff", options.limit)
        code = machine.wait_end(30)
    vm.need(code == 0, f"exit code {code} after power-off")
    check(machine, options, disk, before, page)
    print(f"{options.kernel} {options.image}, {options.cpus} CPUs: up after {up:.1f} s, off after {machine.seconds():.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    parser.add_argument("--kernel", default="cloud", choices=("cloud", "generic"))
    parser.add_argument("--image", default="vmlinuz", choices=("vmlinuz", "vmlinux"), help="bzImage or PVH entry")
    parser.add_argument("--cpus", type=int, default=1)
    sys.exit(vm.run(test, parser.parse_args()))
