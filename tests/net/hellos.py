# SPDX-License-Identifier: GPL-2.0-only
"""ClientHellos: made from parts, and taken from OpenSSL; put into records and
segments of any size."""

import ssl
import struct

RECORD_MAX = 16384
HELLO_MAX = 65536  # bytes of records that the proxy reads

SERVER_NAME, PADDING, ALPN, VERSIONS, KEY_SHARE, ECH = 0, 21, 16, 43, 51, 0xfe0d
GREASE, GREASE_LAST = 0x1a1a, 0xdada


def vec8(data):
    return struct.pack("!B", len(data)) + data


def vec16(data):
    return struct.pack("!H", len(data)) + data


def noise(n):
    return bytes((i * 167 + 13) & 0xff for i in range(n))


def extension(kind, data=b""):
    return struct.pack("!H", kind) + vec16(data)


def server_name(name):
    return extension(SERVER_NAME, vec16(b"\0" + vec16(name)))


def message(name=None, alpn=("h2", "http/1.1"), grease=False, ech=False, key_share=32, pad=0):
    """The handshake message; @name as bytes, None: no SNI."""
    extensions = extension(GREASE) if grease else b""
    if name is not None:
        extensions += server_name(name)
    if ech:
        extensions += extension(ECH, b"\0" + struct.pack("!HHB", 1, 1, 0x5a) + vec16(noise(32))
                                + vec16(noise(144)))
    versions = ([0x8a8a] if grease else []) + [0x0304, 0x0303]
    extensions += extension(VERSIONS, vec8(b"".join(struct.pack("!H", v) for v in versions)))
    group = 29 if key_share == 32 else 0x11ec  # X25519MLKEM768 with 1216 bytes
    extensions += extension(KEY_SHARE, vec16(struct.pack("!H", group) + vec16(noise(key_share))))
    extensions += extension(ALPN, vec16(b"".join(vec8(p.encode()) for p in alpn)))
    extensions += extension(GREASE_LAST, b"\0") if grease else b""
    extensions += extension(PADDING, bytes(pad)) if pad else b""
    body = b"\3\3" + noise(32) + vec8(noise(32)) + vec16(b"\x4a\x4a\x13\x01\xc0\x2f") + b"\1\0" \
        + vec16(extensions)
    return b"\1" + struct.pack("!I", len(body))[1:] + body


def records(handshake, *sizes):
    """@handshake in records of these sizes, the last one for all that follow."""
    out, sizes = b"", list(sizes) or [RECORD_MAX]
    while handshake:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        out += b"\x16\3\1" + vec16(handshake[:size])
        handshake = handshake[size:]
    return out


def longest(name):
    """One that is HELLO_MAX bytes with its records."""
    short = len(message(name, pad=1))
    hello = records(message(name, pad=1 + HELLO_MAX - 4 * 5 - short))
    assert len(hello) == HELLO_MAX
    return hello


def handshake_of(data):
    """The handshake message in @data: records as a client sends them."""
    out = b""
    while data:
        assert data[0] == 22
        size = struct.unpack_from("!H", data, 3)[0]
        out += data[5:5 + size]
        data = data[5 + size:]
    return out


def cut(data, *places):
    """@data as segments, cut at these places."""
    ends = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in zip(ends, ends[1:]) if a < b]


def ways(name):
    """How the same handshake message may come: word -> (records of it, as segments)."""
    where = name.lower()

    def in_name(data):
        return data.lower().index(where) + len(name) // 2

    return {
        "at_once": lambda m: [records(m)],
        "one_byte_segments": lambda m: [bytes([b]) for b in records(m)],
        "split_in_the_sni": lambda m: cut(records(m), in_name(records(m))),
        "split_in_the_header": lambda m: cut(records(m), 3, 7),
        "two_records": lambda m: [records(m, len(m) // 2, RECORD_MAX)],
        "two_records_split_in_the_sni": lambda m: cut(records(m, in_name(m), RECORD_MAX),
                                                      in_name(m) + 5),
        "sixteen_byte_records": lambda m: [records(m, 16)],
        "one_byte_records_and_segments": lambda m: [bytes([b]) for b in records(m, 1)],
    }


class Client:
    """TLS over a socket whose first flight goes out as @way says."""

    def __init__(self, sock, name, way, version=None, alpn=()):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        for segment in way(handshake_of(self.outgoing.read())):
            sock.sendall(segment)
        self.call(self.tls.do_handshake)

    def call(self, what, *args):
        """One operation, with whatever it reads and writes."""
        while True:
            try:
                value = what(*args)
            except ssl.SSLWantReadError:
                value = None
                want = True
            else:
                want = False
            data = self.outgoing.read()
            if data:
                self.sock.sendall(data)
            if not want:
                return value
            data = self.sock.recv(65536)
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()

    def ask(self, data):
        self.call(self.tls.write, data)
        return self.call(self.tls.read, 65536)
