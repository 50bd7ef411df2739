#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the model of the handover with spin: the protocol holds, and without any one of its rules it would not.

`model_test.py --show ARBITER FAULTS OPERATOR WITHOUT` prints the steps that lead to an error."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MODEL = pathlib.Path(__file__).resolve().parent / "handover.pml"
NAMES = ("ARBITER", "FAULTS", "OPERATOR", "WITHOUT")

HOLDS = {  # values of NAMES, and what is shown by them
    (1, 1, 0, 0): "arbiter: any one loss leaves exactly one that runs",
    (1, 1, 1, 0): "the same, with somebody who settles by hand and knows nothing",
    (0, 1, 0, 0): "no arbiter: any one loss leaves one that runs or waits",
    (0, 1, 1, 0): "the same, with somebody who settles by hand",
    (1, 5, 1, 0): "arbiter: all losses together never make two",
    (0, 4, 1, 0): "no arbiter: all losses together never make two",
    (0, 1, 2, 0): "no arbiter, and daemons that settle it: any one loss leaves one that runs, but for a destination that died",
    (0, 4, 2, 0): "the same: all losses together never make two",
}
FAILS = {
    (1, 1, 0, 1): "the destination would not ask the arbiter",
    (1, 1, 0, 2): "a lock would be the arbiter",
    (1, 2, 1, 3): "a source that runs on would not decide so",
    (1, 1, 0, 4): "the source would not wait for an answer to COMMIT",
    (0, 1, 0, 4): "the same without an arbiter",
    (0, 1, 2, 5): "the destination's daemon would answer without its VM's promise",
}


def defines(values):
    return [f"-D{name}={value}" for name, value in zip(NAMES, values)]


def check(values, place):
    """(errors, states, the first error's sentence)."""
    subprocess.run(["spin", *defines(values), "-a", MODEL], cwd=place, check=True, stdout=subprocess.PIPE)
    subprocess.run(["gcc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"], cwd=place, check=True)
    out = subprocess.run(["./pan", "-m100000", "-w22"], cwd=place, check=True, stdout=subprocess.PIPE, text=True).stdout
    if "max search depth too small" in out or not re.search(r"invalid end states\s+\+", out):
        raise SystemExit(f"the search was not complete:\n{out}")
    errors = int(re.search(r"errors: (\d+)", out)[1])
    states = int(re.search(r"(\d+) states, stored", out)[1])
    sentence = re.search(r"pan:1: (.*)", out)
    return errors, states, sentence[1] if sentence else ""


def show(values, place):
    check(values, place)
    shutil.copy(MODEL, place)
    trail = next(place.glob("*.trail"), None)
    if trail is None:
        print("no error")
        return
    trail.rename(place / "handover.pml.trail")
    subprocess.run(["spin", *defines(values), "-t", "-p", "-g", "handover.pml"], cwd=place, check=True)


def main():
    if shutil.which("spin") is None or shutil.which("gcc") is None:
        print("SKIPPED: spin and gcc are needed to check the model")
        return 77
    if sys.argv[1:2] == ["--show"]:
        with tempfile.TemporaryDirectory(prefix="ferry-model-") as place:
            show(sys.argv[2:], pathlib.Path(place))
        return 0
    failed = 0
    for values, what in {**HOLDS, **FAILS}.items():
        with tempfile.TemporaryDirectory(prefix="ferry-model-") as place:
            errors, states, sentence = check(values, pathlib.Path(place))
        good = (errors == 0) == (values in HOLDS)
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}: {states} states, {sentence or 'no error'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
