#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel moves several times while it computes and verifies: each turn of the guest's script hashes a file that it wrote before
and counts on; afterwards every count is there, once, and each hash was right. Its time stamp counter is not of the host's frequency
(--tsc), and the guest's kernel watches it."""
import argparse
import re
import subprocess
import sys
import time

from migration import Qmp, wait_over
import linux_guest as vm

SCRIPT = """
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
sum=$(md5sum </tmp/data)
i=0
echo "clocksource is $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "READY $(cut -d' ' -f1 /proc/uptime)"
while [ ! -e /tmp/end ]; do
    i=$((i+1))
    cp /tmp/data /tmp/copy
    [ "$(md5sum </tmp/copy)" = "$sum" ] && echo "turn $i right $(cut -d' ' -f1 /proc/uptime)" || echo "turn $i WRONG"
    [ $i -ge TURNS ] && [ $(cut -d. -f1 /proc/uptime) -ge SECONDS ] && touch /tmp/end
done
dmesg | grep -iE "unstable|stall|lockup|BUG|oops"
echo "ALL $(cut -d' ' -f1 /proc/uptime)"
"""


def host_tsc(options):
    """Hertz."""
    text = subprocess.run([options.ferry, "cpu", "describe", "--engine", options.engine], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(re.search(r"^tsc (\d+) ", text, re.M).group(1)) * 1000


def moment(machine, word, limit):
    """The host's time and the guest's when the guest says the word."""
    found = machine.wait_text(rf"^{word} (\d+\.\d\d)$", limit)
    return time.monotonic(), float(found.group(1))


def test(options, directory, start):
    seconds = 5 + options.moves * (int(options.pause) + 3)  # a fast guest is not to be done before the last move
    script = SCRIPT.replace("TURNS", str(options.turns)).replace("SECONDS", str(seconds))
    kernel, _ = vm.images("cloud/vmlinuz", "cloud/lab.img")
    initrd, _ = vm.images("cloud/lab.img", "cloud/vmlinuz", script=script, directory=directory)
    arguments = {"kernel": kernel, "initrd": initrd, "append": "NET=off quiet", "cpus": 2, "memory": "256M"}
    # Without tsc_adjust the kernel has its watchdog compare TSC and ACPI timer.
    model = f"x86-64-v2,tsc-frequency={int(host_tsc(options) * options.tsc)}"
    machines = [start(control=directory / "vm0", more=("--cpu", model), **arguments)]
    begin = moment(machines[0], "READY", options.limit)
    qmp = Qmp(directory / "vm0", 60).negotiate()
    for move in range(1, options.moves + 1):
        uri = f"unix:{directory}/m{move}"
        machines.append(start(control=directory / f"vm{move}", more=("--incoming", uri, "--cpu", "x86-64-v2"), **arguments))
        into = Qmp(directory / f"vm{move}", 60).negotiate()
        qmp.call("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": move % 2 == 0}])
        late = move % 2 == 0
        qmp.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": late}])
        if late:
            qmp.call("migrate-set-parameters", **{"max-bandwidth": 16 << 20})
        qmp.call("migrate", uri=uri)
        while late and qmp.call("query-migrate")["ram"]["normal"] == 0:
            time.sleep(0.01)
        if late:
            qmp.call("migrate-start-postcopy")
        answer = wait_over(qmp)
        vm.need(answer["status"] == "completed", answer)
        print(f"move {move}{', post-copy' if late else ''}: {answer['total-time']} ms, downtime {answer['x-ferry-downtime-us']} us, "
              f"{answer['ram']['transferred'] >> 20} MiB, {answer['ram']['dirty-sync-count']} rounds", flush=True)
        qmp.call("quit")
        vm.need(machines[-2].wait_end(30) == 0, "the source's process does not end")
        qmp = into
        time.sleep(options.pause)
    end = moment(machines[-1], "ALL", options.limit)
    text = "".join(machine.text for machine in machines)
    turns = re.findall(r"turn (\d+) right ([\d.]+)", text)
    vm.need("WRONG" not in text, "a hash was wrong")
    vm.need(len(turns) >= options.turns and [int(turn) for turn, _ in turns] == list(range(1, len(turns) + 1)),
            f"turns are missing or double: {turns}")
    times = [float(uptime) for _, uptime in turns]
    vm.need(times == sorted(times), f"the guest's time went back: {times}")
    vm.need("clocksource is tsc" in text, "the guest does not use its time stamp counter")
    rate = (end[1] - begin[1]) / (end[0] - begin[0])
    print(f"the guest's clock went {rate:.3f} times as fast as the host's")
    vm.need(0.78 < rate < 1.2, f"the guest's time passed {rate} times as fast as the host's")
    vm.need(not re.search(r"clocksource.*unstable|soft lockup|rcu.*stall", text), "the guest's kernel complains")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    parser.add_argument("--moves", type=int, default=4)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--tsc", type=float, default=0.7, help="the VM's TSC frequency by the host's")
    parser.add_argument("--pause", type=float, default=1)
    sys.exit(vm.run(test, parser.parse_args()))
