# SPDX-License-Identifier: GPL-2.0-only
"""What a process has in the kernel: programs, maps, links, and whether they are
still there. Ids are enumerated, never opened: opening a program array by its id
and closing it again makes the kernel clear it."""

import ctypes
import json
import os
import struct
from pathlib import Path

import lab

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
NEXT_ID = {"prog": 11, "map": 12, "link": 31}
ARRAY_OF_MAPS = 12
_libc = ctypes.CDLL(None, use_errno=True)


def ids(kind):
    """Every id of programs, maps or links on this machine."""
    found, last = set(), 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("III", last, 0, 0), 16)
        if _libc.syscall(SYS_BPF, NEXT_ID[kind], attr, 12):
            return found
        last = struct.unpack_from("II", attr)[1]
        found.add(last)


def program(number):
    done = lab.sh("bpftool", "-j", "prog", "show", "id", number)
    return json.loads(done.stdout)


class Objects:
    """All that the process holds: by descriptor, what its programs use, and what
    lies in its maps of maps."""

    def __init__(self, pid):
        self.prog, self.map, self.link = set(), set(), set()
        for info in Path(f"/proc/{pid}/fdinfo").iterdir():
            try:
                fields = dict(line.split(":", 1) for line in info.read_text().splitlines()
                              if ":" in line)
            except OSError:
                continue
            for kind in ("prog", "map", "link"):
                if f"{kind}_id" in fields:
                    getattr(self, kind).add(int(fields[f"{kind}_id"]))
            if int(fields.get("map_type", 0)) == ARRAY_OF_MAPS:
                self.map |= self.inner(int(fields["map_id"]))
        self.names = set()
        for number in self.prog:
            told = program(number)
            self.names.add(told.get("name", ""))
            self.map |= set(told.get("map_ids", []))

    @staticmethod
    def inner(number):
        dump = json.loads(lab.sh("bpftool", "-j", "map", "dump", "id", number).stdout)
        return {int.from_bytes(bytes(int(b, 0) for b in entry["value"]), "little")
                for entry in dump if "value" in entry}

    def left(self):
        """[kind, ids] that are still there."""
        return {kind: sorted(getattr(self, kind) & ids(kind)) for kind in NEXT_ID
                if getattr(self, kind) & ids(kind)}

    def wait_gone(self):
        """The kernel frees maps from a worker, so not at once."""
        lab.wait_for("everything to leave the kernel", lambda: not self.left())


def state(ns, dev):
    """What a watch may change about an interface and has to put back."""
    link = ns.link(dev)
    offloads = ns.sh("ethtool", "-k", dev).stdout.replace(" [fixed]", "")
    filters = [ns.sh("tc", "filter", "show", "dev", dev, way, check=False).stdout
               for way in ("ingress", "egress")]
    return {
        "promiscuity": link["promiscuity"], "allmulti": link.get("allmulti"),
        "flags": sorted(link["flags"]), "mtu": link["mtu"], "xdp": link.get("xdp"),
        "gro": link.get("gro_max_size"), "qdisc": ns.sh("tc", "qdisc", "show", "dev", dev).stdout,
        "filters": filters, "offloads": offloads,
    }
