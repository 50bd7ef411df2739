#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""stress-ng in the guest, which verifies what it computes: a fixed amount of each class of work on every CPU."""
import argparse
import sys

import linux_guest as vm

# Class -> how many operations.
WORK = {"cpu": 30, "matrix": 20, "vecmath": 5, "memcpy": 5, "vm": 50, "switch": 200, "fork": 30, "pipe": 200, "timer": 200}


def test(options, _directory, start):
    initrd, kernel = vm.images(f"{options.kernel}/stress.img", f"{options.kernel}/vmlinuz")
    work = " ".join(f"--{name} {options.cpus} --{name}-ops {count}" for name, count in WORK.items())
    machine = start(kernel=kernel, initrd=initrd, cpus=options.cpus, memory="768M",
                    append=f'quiet NET=off RUN="stress-ng --verify --vm-bytes 16M --timer-freq 1000 {work}"')
    machine.wait_text(r"^guest: run", options.limit)
    machine.wait_text(r"^guest: exit \d+\n", options.limit * 4)
    vm.need("guest: exit 0\n" in machine.text, "stress-ng found errors")
    vm.need(machine.wait_end(60) == 0, "no clean power-off")
    print(f"{options.kernel}, {options.cpus} CPUs: {machine.seconds():.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    parser.add_argument("--kernel", default="cloud", choices=("cloud", "generic"))
    parser.add_argument("--cpus", type=int, default=2)
    sys.exit(vm.run(test, parser.parse_args()))
