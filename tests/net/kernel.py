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


def bpf(command, fmt, *values, size=None):
    """The system call itself; raises what it refuses."""
    attr = struct.pack(fmt, *values)
    buffer = ctypes.create_string_buffer(attr, max(len(attr), size or 0))
    result = _libc.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return result


def map_by_id(number):
    return bpf(14, "=III", number, 0, 0)


def link_by_id(number):
    return bpf(30, "=III", number, 0, 0)


def pin(fd, path):
    text = ctypes.create_string_buffer(str(path).encode())
    bpf(6, "=QIIII", ctypes.addressof(text), fd, 0, 0, 0)


def fill_slot(array, slot, prog):
    key, value = ctypes.c_uint32(slot), ctypes.c_uint32(prog)
    bpf(2, "=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(value), 0)


def set_bit(array, bit):
    """In the first number of an array map."""
    key, value = ctypes.c_uint32(0), ctypes.c_uint32(0)
    bpf(1, "=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
    value.value |= bit
    bpf(2, "=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(value), 0)


def load_xdp(name, instructions):
    """An xdp.frags program from its instructions."""
    code = ctypes.create_string_buffer(b"".join(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(5, "=IIQQIIQII16sII", 6, len(instructions), ctypes.addressof(code),
               ctypes.addressof(licence), 0, 0, 0, 0, 1 << 5, name.encode(), 0, 0)


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def map_insns(dst, fd):
    return [insn(0x18, dst, 1, 0, fd), insn(0)]


def resident_stage(scratch, guests, verdict, rule):
    """A stage that gives every packet one verdict by one rule, then calls the
    guests: as a filter that drops everything. The offsets are those of struct
    weir_scratch."""
    code = [insn(0xbf, 6, 1), insn(0x62, 10, 0, -4, 0), insn(0xbf, 2, 10), insn(0x07, 2, imm=-4),
            *map_insns(1, scratch), insn(0x85, imm=1), insn(0x55, 0, 0, 2, 0),
            insn(0xb7, 0, imm=2), insn(0x95), insn(0xbf, 7, 0),
            insn(0x62, 7, 0, 88, verdict), insn(0x62, 7, 0, 92, rule)]
    for guest in guests:
        code += [insn(0xbf, 1, 6), *map_insns(2, guest), insn(0xb7, 3, imm=0), insn(0x85, imm=12)]
    return load_xdp("weir_test_drop", [*code, insn(0x61, 0, 7, 88), insn(0x95)])


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
        lab.wait_for(lambda: f"{self.left()} to leave the kernel", lambda: not self.left())


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
