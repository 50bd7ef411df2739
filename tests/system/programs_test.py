#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that look for what translators get wrong (tests/system/programs): code that changes, exceptions in the midst, two CPUs.
They run on the bare machine first; a guest must print the same."""
import argparse
import pathlib
import re
import subprocess
import sys

import linux_guest as vm

SCRIPT = """
for program in {names}; do
    echo "begin $program"
    $program
    echo "end $program $?"
done
"""


# "PROGRAM: LINE" of what is known to differ, and why.
KNOWN = pathlib.Path(__file__).parent / "programs/known-faults"


def is_known(program, line):
    rows = [row for row in KNOWN.read_text().splitlines() if row and not row.startswith("#")]
    return f"{program}: {line.split(':')[0]}" in rows


def shown(options, line):
    """The line without what is unspecified: dead flags at an exception, unless the engine keeps them (docs/decisions/0009)."""
    return re.sub(r" flags \S+", "", line) if options.dead_flags else line


def native(program):
    done = subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    vm.need(done.returncode == 0, f"{program.name} fails on the bare machine: {done.stdout.decode()}")
    return done.stdout.decode().splitlines()


def in_guest(options, directory, start):
    names = [program.name for program in options.programs]
    initrd, kernel = vm.images(f"{options.kernel}/lab.img", f"{options.kernel}/vmlinuz", script=SCRIPT.format(names=" ".join(names)),
                               programs=options.programs, directory=directory)
    machine = start(kernel=kernel, initrd=initrd, cpus=options.cpus, append="quiet NET=off")
    machine.wait_text(r"^guest: run", options.limit)
    machine.wait_text(r"^guest: exit \d+\n", options.limit)
    vm.need(machine.wait_end(60) == 0, "no clean power-off")
    return machine


def test(options, directory, start):
    expected = {program.name: native(program) for program in options.programs}
    machine = in_guest(options, directory, start)
    wrong, known = [], []
    for name, lines in expected.items():
        found = re.search(rf"^begin {name}\n(.*?)^end {name} (\d+)$", machine.text, re.M | re.S)
        printed = found[1].splitlines() if found else []
        for line, other in zip(lines, printed):
            if shown(options, line) != shown(options, other):
                (known if is_known(name, line) else wrong).append(f"{name}\n  bare machine: {line}\n  guest:        {other}")
        if len(printed) != len(lines) or found is None or (found[2] != "0" and not known):
            wrong.append(f"{name} printed {len(printed)} lines of {len(lines)} and ended with {found[2] if found else 'nothing'}")
        print(f"{name}: {len(lines)} lines")
    machine.text = ""
    print("\n".join(f"known fault: {text}" for text in known))
    vm.need(not wrong, "\n" + "\n".join(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    parser.add_argument("--kernel", default="cloud", choices=("cloud", "generic"))
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--dead-flags", action="store_true", help="the engine does not keep flags that nobody can read")
    parser.add_argument("programs", type=pathlib.Path, nargs="+")
    sys.exit(vm.run(test, parser.parse_args()))
