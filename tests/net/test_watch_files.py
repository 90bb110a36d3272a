# SPDX-License-Identifier: GPL-2.0-only
"""Where `weir watch` writes to: a disk that is full, a FIFO that nobody reads."""

import fcntl
import os
import re
import subprocess

import pytest

import lab
import packets


@pytest.fixture
def pair():
    p = lab.Pair()
    yield p
    p.remove()


def frames(n):
    maker = packets.Maker(1)
    return [maker.ether([], *maker.ip4(packets.UDP, maker.udp(700))) for _ in range(n)]


@pytest.mark.parametrize("how", ["file", "stdout", "appended"])
def test_full_disk(tmp_path, how):
    """The file ends with a whole block; what is not in it is lost, and counted so."""
    source, disk, kept = tmp_path / "source", tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    sent = frames(3000)
    lab.write_pcap(source, sent)
    to = {"file": "-w {0}/f", "stdout": "-w - > {0}/f", "appended": "-w - >> {0}/f"}[how]
    script = f"""mount -t tmpfs -o size=1200k none {disk} || exit 99
        {'printf before > ' + str(disk / 'f') if how == 'appended' else ''}
        {lab.WEIR} watch -r {source} --stats json {to.format(disk)}; status=$?
        cat {disk}/f > {kept}; umount {disk}; exit $status"""
    done = lab.sh("unshare", "-m", "sh", "-c", script, check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr, done
    if how == "appended":
        data = kept.read_bytes()
        assert data.startswith(b"before")
        kept.write_bytes(data[len(b"before"):])
    written = lab.packets_of(kept)
    lost = int(re.search(r'"writer":(\d+)', done.stderr)[1])
    delivered = int(re.search(r'"delivered":(\d+)', done.stderr)[1])
    assert written == sent[:len(written)] and len(written) == delivered > 0 and lost > 0
    assert '"imbalance":0' in done.stderr
    lab.tshark(kept, "frame.number")  # complains of a file that was cut short


def test_fifo_without_reader(pair, tmp_path):
    """It waits for the reader, as a file that is opened for it does, and Ctrl-C ends that."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    said = f"weir watch: {fifo} has no reader yet: waiting for one\n"
    watch = pair.b.watch("-i", "vb", "-w", fifo, listening=False)
    lab.wait_for("the word about it", lambda: watch.err == said)
    watch.stop()
    assert (watch.status, watch.err) == (1, f"{said}weir watch: {fifo} had no reader: nothing was "
                                            "written\n")

    watch = pair.b.watch("-i", "vb", "-w", fifo, listening=False)
    lab.wait_for("the word about it", lambda: watch.err == said)
    copy = tmp_path / "copy"
    with open(copy, "wb") as out, subprocess.Popen(["cat", fifo], stdout=out) as reader:
        watch.wait_listening()
        pair.a.inject("va", frames(10))
        lab.wait_for("the packets", lambda: copy.stat().st_size > 10 * 700)
        assert watch.stop().status == 0
        reader.wait()
    assert len(lab.packets_of(copy)) == 10


def test_alert_log_fifo(tmp_path):
    """Nobody reads it: said at once. Its reader has stopped: nothing waits for it."""
    fifo, source = tmp_path / "fifo", tmp_path / "source"
    os.mkfifo(fifo)
    lab.write_pcap(source, frames(2))
    words = ["watch", "-r", source, "-w", "/dev/null", "--alert", "a: packets > 0 over 500ms",
             "--alert-log", fifo]
    done = lab.weir(*words)
    assert done.returncode and done.stderr == \
        f"weir watch: nobody reads {fifo}: start the reader of --alert-log first\n"
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"x" * fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ))
    done = lab.weir(*words)
    os.close(writer)
    os.close(reader)
    assert done.returncode == 1
    assert f"1 alerts could not be written to {fifo}: Resource temporarily" in done.stderr
