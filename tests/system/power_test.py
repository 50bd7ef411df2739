#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The power button reaches the guest, which powers off; and a guest that reboots comes up again."""
import argparse
import json
import socket
import sys
import time

import linux_guest as vm


class Control:
    """The control socket: QMP."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("r")
        vm.need("QMP" in json.loads(self.lines.readline()), "no greeting on the control socket")
        self.execute("qmp_capabilities")

    def execute(self, command):
        self.socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "event" not in answer:
                vm.need("return" in answer, f"{command}: {answer}")
                return answer["return"]


def button(options, directory, start):
    initrd, kernel = vm.images(f"{options.kernel}/lab.img", f"{options.kernel}/vmlinuz")
    control = directory / "control"
    machine = start(kernel=kernel, initrd=initrd, append='BUTTON=on NET=off RUN="sleep 300"', control=control)
    machine.wait_text(r"^guest: run", options.limit)
    connection = Control(control)
    for _ in range(30):  # a press before the guest has opened its input device is lost
        connection.execute("system_powerdown")
        time.sleep(1)
        if "guest: power button" in machine.text:
            break
    machine.wait_text(r"^guest: power button", 1)
    code = machine.wait_end(60)
    vm.need(code == 0, f"exit code {code} after power-off")


def reboot(options, directory, start):
    initrd, kernel = vm.images(f"{options.kernel}/lab.img", f"{options.kernel}/vmlinuz")
    machine = start(kernel=kernel, initrd=initrd, append="END=reboot NET=off RUN=true", cpus=2)
    machine.wait_text(r"^guest: up", options.limit)
    machine.wait_text(r"^guest: up", options.limit, count=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    vm.add_options(parser)
    parser.add_argument("--kernel", default="cloud", choices=("cloud", "generic"))
    parser.add_argument("what", choices=("button", "reboot"))
    given = parser.parse_args()
    sys.exit(vm.run({"button": button, "reboot": reboot}[given.what], given))
