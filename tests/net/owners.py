# SPDX-License-Identifier: GPL-2.0-only
"""Processes that know whose their sockets are. `owners.py WHAT ...` prints a line for each
socket: the process that owns it and its local port; the tests compare.

  serve tcp|udp ADDRESS PORT     one process that answers all
  forks ADDRESS PORT             a process for each connection, the listener waits
  clients tcp|udp ADDRESS PORT N N processes, a connection each, one after the other
  old ADDRESS PORT N             N processes with a connection each; at a line of standard
                                 input each says a word, at the next one they end
  bound ADDRESS PORT MINE        one process sends from port MINE and ends; then another
"""

import os
import signal
import socket
import sys
import threading

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def listener(address, port):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(1024)
    tell(os.getpid(), port)
    return s


def answer(s):
    with s:
        while s.recv(100):
            s.send(b"answer")


def serve(kind, address, port):
    if kind == "tcp":
        s = listener(address, int(port))
        while True:
            threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, int(port)))
    tell(os.getpid(), port)
    while True:
        s.sendto(b"answer", s.recvfrom(100)[1])


def forks(address, port):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    s = listener(address, int(port))
    while True:
        c, peer = s.accept()
        if not os.fork():
            s.close()
            tell(os.getpid(), peer[1])
            answer(c)
            os._exit(0)
        c.close()


def say(kind, to, mine=0):
    s = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, KINDS[kind])
    s.settimeout(30)
    if mine:
        s.bind(("", mine))
    s.connect(to)
    tell(os.getpid(), s.getsockname()[1])
    s.send(b"word")
    s.recv(100)
    s.close()


def clients(kind, address, port, n):
    for _ in range(int(n)):
        child = os.fork()
        if not child:
            say(kind, (address, int(port)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def old(address, port, n):
    speak, hold = os.pipe(), os.pipe()
    for _ in range(int(n)):
        if os.fork():
            continue
        os.close(speak[1])
        os.close(hold[1])
        s = socket.create_connection((address, int(port)))
        tell(os.getpid(), s.getsockname()[1])
        os.read(speak[0], 1)
        s.send(b"word")
        s.recv(100)
        os.read(hold[0], 1)
        os._exit(0)
    sys.stdin.readline()
    os.close(speak[1])
    sys.stdin.readline()
    os.close(hold[1])
    for _ in range(int(n)):
        os.wait()


def bound(address, port, mine):
    for _ in range(2):
        child = os.fork()
        if not child:
            say("udp", (address, int(port)), int(mine))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
