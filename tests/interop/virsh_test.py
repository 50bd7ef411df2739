#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What virsh's commands about domains and hosts answer: each does its work, or says in one sentence what there is not."""
import re
import subprocess
import time

from interop import GUESTS, LIMIT, InteropTest, main, need

need("virsh")

AGENT = "no channel to a guest agent"
LIMITS = "each may use what the host has"
PINNING = "CPUs are not pinned"
THREADS = "no I/O threads"
BLOCK_JOB = "disks are not copied, pulled or committed while the domain runs"
SNAPSHOT = "domains have no snapshots"
BACKUP = "no checkpoints and no backups"
SEV = "there is no launch security"
QEMU = "there is no QEMU here"

# What comes out, by a pattern, of commands about a domain t1 that runs with a disk vda and an interface of this address.
MAC = "52:54:00:11:22:33"
DONE = {
    "domblklist t1": "vda", "domblkinfo t1 vda": "Capacity: +1048576", "domblkinfo t1 --all": "vda +1048576", "domblkstat t1": "rd_req 0",
    "domblkstat t1 vda --human": "number of bytes written: +0", "domblkerror t1": "No errors found", "blockjob t1 vda": "",
    "domiflist t1": f"user +- +virtio +{MAC}", "domcontrol t1": "ok", "dominfo t1": "State: +running", "dommemstat t1": "actual 16384\\nrss",
    "domstate t1 --reason": "running \\(booted\\)", "domstats t1": "block.0.rd.reqs=0", "list --title": "t1 +running +first",
    "blkdeviotune t1 vda": "total_bytes_sec: 0", "memtune t1": "hard_limit +: unlimited", "numatune t1": "numa_nodeset",
    "perf t1": "", "iothreadinfo t1": "", "cpu-stats t1 --total": "cpu_time .* seconds", "desc t1 --title": "first", "ttyconsole t1": "/dev/pts/",
    "domid t1": "[0-9]+", "domuuid t1": "-", "domjobinfo t1": "Job type: +None", "dumpxml t1 --security-info": "<domain type='qemu' id=",
    "dumpxml t1 --migratable": "<name>t1", "dumpxml t1 --inactive": "<domain type='qemu'>", "dumpxml t1 --xpath //memory": "16384",
    "migrate-getspeed t1": "[0-9]+", "migrate-getmaxdowntime t1": "[0-9]+", "setmaxmem t1 32M --config": "", "setmem t1 12M --live": "",
    "setvcpus t1 2 --config": "", "vcpucount t1": "maximum +config +2\\nmaximum +live +1", "vcpuinfo t1": "State: +running", "vcpupin t1": "0 +0",
    "emulatorpin t1": "\\*: +0|0", "set-lifecycle-action t1 reboot destroy --config": "", "qemu-monitor-command t1 query-status": '"running": true',
    "qemu-monitor-command t1 --pretty {\"execute\":\"query-name\"}": '"name": "t1"', "snapshot-list t1": "", "checkpoint-list t1": "",
    "event --list": "lifecycle",
    "capabilities": "<pages unit='KiB' size='4'/>", "domcapabilities": "<domain>qemu", "cpu-models x86_64": "x86-64-v2", "freecell --all": "KiB",
    "freepages --all": "4KiB: [1-9]", "freepages --cellno 0 --pagesize 4": "4KiB: [1-9]", "hostname": ".", "maxvcpus": "64", "nodecpumap": "CPU map: +y",
    "nodecpustats": "idle:", "nodecpustats 0": "idle:", "nodeinfo": "x86_64", "nodememstats": "total", "sysinfo": "<sysinfo type='smbios'>",
    "uri": "qemu", "version --daemon": "Running against daemon: 9.0.0", "nodedev-list": "", "iface-list": "", "secret-list": "", "nwfilter-list": "",
    "nwfilter-binding-list": "",
}
REFUSED = {
    "domifaddr t1 --source agent": "known from DHCP leases", "domhostname t1 --source agent": "known from DHCP leases", "dommemstat t1 --period 2": "no period to set",
    "domtime t1": AGENT, "domtime t1 --now": AGENT, "domfsfreeze t1": AGENT, "domfsthaw t1": AGENT, "domfsinfo t1": AGENT, "domfstrim t1": AGENT,
    "get-user-sshkeys t1 root": AGENT, "set-user-password t1 root x": AGENT, "guestinfo t1": AGENT, "guestvcpus t1": AGENT, "qemu-agent-command t1 x": AGENT,
    "guest-agent-timeout t1": AGENT, "setvcpus t1 1 --guest": "there is no guest agent", "shutdown t1 --mode agent": "there is no guest agent",
    "schedinfo t1": LIMITS, "blkiotune t1": LIMITS, "blkiotune t1 --weight 500": LIMITS, "memtune t1 --hard-limit 9999": LIMITS, "numatune t1 --nodeset 0": LIMITS,
    "blkdeviotune t1 vda --total-bytes-sec 9": "disks have no limits", "domiftune t1 52:54:00:11:22:33 --inbound 9": "interfaces have no limits",
    "vcpupin t1 0 0": PINNING, "emulatorpin t1 0": PINNING, "iothreadadd t1 1": THREADS, "iothreaddel t1 1": THREADS, "iothreadpin t1 1 0": THREADS,
    "iothreadset t1 1 --poll-max-ns 1": THREADS, "blockcommit t1 vda": BLOCK_JOB, "blockcopy t1 vda --dest /nowhere/x --wait": BLOCK_JOB,
    "blockpull t1 vda": BLOCK_JOB, "blockresize t1 vda 2M": "a disk keeps its size", "change-media t1 vda --eject": "No disk found",
    "cpu-stats t1": "use --total", "setvcpus t1 2 --live": "cannot be changed; use --config", "setvcpu t1 0 --disable": "setvcpus --config",
    "setmaxmem t1 32M --live": "maximum memory on an active domain", "domdisplay t1": "No graphical display", "screenshot t1 x.ppm": "no display",
    "send-key t1 KEY_A": "no keys", "inject-nmi t1": "no button", "send-process-signal t1 1 9": "its own", "dump t1 x --memory-only": "save keeps the whole domain",
    "domlaunchsecinfo t1": SEV, "nodesevinfo": SEV, "domrename t1 t2": "cannot rename active", "dompmsuspend t1 mem": "no sleep states", "dompmwakeup t1": "no sleep states",
    "domxml-to-native qemu-argv --domain t1": QEMU, "domxml-from-native qemu-argv /etc/hostname": QEMU, "qemu-attach 1": QEMU, "perf t1 --enable cmt": "perf on the VM",
    "domblkthreshold t1 vda 9": "domblkinfo", "domdirtyrate-calc t1": "domjobinfo", "migrate-compcache t1": "without a cache", "dom-fd-associate t1 x 1": "by their paths",
    "set-lifecycle-action t1 reboot destroy --live": "use --config", "qemu-monitor-command t1 --hmp info": "without --hmp", "update-memory-device t1": "no memory device",
    "managedsave-dumpxml t1": "does not have managed save", "detach-device-alias t1 x": "no device has the alias 'x'", "snapshot-create-as t1 s": SNAPSHOT,
    "snapshot-create t1": SNAPSHOT, "snapshot-revert t1 s": SNAPSHOT, "snapshot-delete t1 s": SNAPSHOT, "snapshot-current t1": "no current snapshot",
    "checkpoint-create-as t1 c": BACKUP, "backup-begin t1": BACKUP, "allocpages 2048 1": "nothing to allocate", "node-memory-tune": "/sys/kernel/mm/ksm",
    "nodesuspend mem 60": "systemctl suspend", "nodecpustats 9999": "has no CPU 9999", "iface-begin": "not Ferry's to configure",
    "qemu-monitor-event --event STOP --regex": "by their whole name",
}


class Virsh(InteropTest):
    OPTIONS = ("--default-network", "none")

    def setUp(self):
        super().setUp()
        disk = self.place / "disk.img"
        disk.write_bytes(bytes(1 << 20))
        self.define(f"""<title>first</title><devices><disk><source file='{disk}'/><target dev='vda'/></disk>
          <interface type='user'><mac address='{MAC}'/></interface><console type='pty'/></devices>""")

    def define(self, more):
        path = self.place / "t1.xml"
        path.write_text(f"""<domain type='qemu'><name>t1</name><memory unit='MiB'>16</memory>
          <os><type>hvm</type><kernel>{GUESTS / 'idle.elf'}</kernel></os>{more}</domain>""")
        self.virsh("define", path)

    def test_every_command_answers(self):
        self.virsh("start", "t1")
        for command, pattern in DONE.items():
            with self.subTest(command):
                self.assertRegex(self.virsh(*command.split()), pattern or "^$")
        for command, sentence in REFUSED.items():
            with self.subTest(command):
                self.assertIn(sentence, self.refused(*command.split()))

    def test_read_only_clients_change_nothing(self):
        self.virsh("start", "t1")
        for command in ("qemu-monitor-command t1 query-status", "qemu-monitor-event --timeout 1", "set-lifecycle-action t1 reboot destroy --config",
                        "detach-device-alias t1 net0", "domif-setlink t1 52:54:00:11:22:33 down"):
            with self.subTest(command):
                self.assertIn("read only", self.refused(*command.split(), readonly=True))

    def link(self, *options):
        return self.virsh("domif-getlink", "t1", MAC, *options).split()[-1]

    def test_link(self):
        self.virsh("start", "t1")
        self.virsh("domif-setlink", "t1", MAC, "down")
        self.assertEqual((self.link(), self.link("--config")), ("down", "up"))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.link(), "down")
        self.virsh("domif-setlink", "t1", MAC, "up")
        self.virsh("domif-setlink", "t1", MAC, "down", "--config")
        self.assertEqual((self.link(), self.link("--config")), ("up", "down"))
        self.virsh("destroy", "t1")
        self.virsh("start", "t1")
        self.assertEqual(self.link(), "down")

    def test_update_device(self):
        self.virsh("start", "t1")
        path = self.place / "device.xml"
        path.write_text(f"<interface type='user'><mac address='{MAC}'/><link state='down'/><boot order='1'/></interface>")
        self.assertIn("<boot> of a device cannot be changed while the domain runs", self.refused("update-device", "t1", path, "--live"))
        self.virsh("update-device", "t1", path, "--config")
        self.assertIn("<boot order='1'/>", self.virsh("dumpxml", "t1", "--inactive"))
        path.write_text("<disk><source file='/elsewhere.img'/><target dev='vda'/></disk>")
        self.assertIn("<source> of a device cannot be changed", self.refused("update-device", "t1", path, "--live"))
        path.write_text("<disk><source file='/elsewhere.img'/><target dev='vdb'/></disk>")
        self.assertIn("no disk vdb", self.refused("update-device", "t1", path, "--live"))
        self.virsh("detach-device-alias", "t1", "net0", "--live")

    def test_saved_documents_are_changed(self):
        self.virsh("start", "t1")
        self.virsh("managedsave", "t1")
        path = self.place / "new.xml"
        path.write_text(self.virsh("managedsave-dumpxml", "t1").replace("<title>first", "<title>second"))
        self.virsh("managedsave-define", "t1", path, "--paused")
        self.assertIn("<title>second", self.virsh("managedsave-dumpxml", "t1"))
        path.write_text(path.read_text().replace(">16384<", ">32768<"))
        self.assertIn("KiB of memory", self.refused("managedsave-define", "t1", path))
        self.virsh("start", "t1")
        self.assertEqual(self.virsh("domstate", "t1"), "paused")
        self.assertEqual(self.virsh("desc", "t1", "--title"), "second")
        self.virsh("resume", "t1")
        saved = self.place / "t1.save"
        self.virsh("save", "t1", saved)
        path.write_text(self.virsh("save-image-dumpxml", saved).replace("<title>second", "<title>third"))
        self.virsh("save-image-define", saved, path)
        self.virsh("restore", saved)
        self.assertEqual(self.virsh("desc", "t1", "--title"), "third")
        self.assertEqual(self.virsh("domstate", "t1"), "running")

    def test_events_of_the_vm(self):
        self.virsh("start", "t1")
        with subprocess.Popen(["virsh", "-c", self.daemon.uri, "qemu-monitor-event", "t1", "--event", "STOP", "--timeout", str(LIMIT)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            line = ""
            while not line:  # the registration may come after the first stop
                self.virsh("suspend", "t1")
                self.virsh("resume", "t1")
                time.sleep(0.2)
                line = process.stdout.readline() if process.poll() is not None else ""
            self.assertTrue(re.match("event STOP .* for domain 't1'", line), line)


main()
