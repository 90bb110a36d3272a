# SPDX-License-Identifier: GPL-2.0-only
"""The proxy as a service: start, privileges, reload, drain, activation, death."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import lab
import proxies

LONG = os.environ.get("WEIR_LONG") == "1"
HERE = "10.77.0.2"
PORT, OTHER, BACKEND = 31443, 31444, 31555
CAP_NET_ADMIN = 1 << 12

CONFIG = """
listen:
  - address: "[::]:%d"
%sroutes:
  - match: "*.test"
    backends: [127.0.0.1:%d]
"""


def config(more="", port=PORT):
    return CONFIG % (port, more, BACKEND)


@pytest.fixture(scope="module")
def place():
    """a has the clients, b the proxy and a backend on its loopback."""
    proxies.raise_files()
    pair = lab.Pair(addresses=True, host=True)
    pair.echo = proxies.Echo(pair.b, "127.0.0.1", BACKEND)
    try:
        yield pair
    finally:
        pair.echo.close()
        pair.remove()


@pytest.fixture
def run(place):
    started = []

    def start(*args, **options):
        started.append(proxies.Proxy(place.b, *args, **options))
        return started[-1]

    yield start
    for proxy in started:
        proxy.remove()
    lab.wait_for("the pins to go", lambda: not proxy_pins(place))


def proxy_pins(place):
    return [p for p in proxies.pins(place.b) if "/proxy/" in p]


def status_of(pid):
    """Of every thread: {key: value} of /proc/PID/status."""
    return [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                 if ":\t" in line) for task in Path(f"/proc/{pid}/task").iterdir()]


def clients(place, n, port=PORT, **options):
    return [proxies.Client(place.a, HERE, port, **options) for _ in range(n)]


def close_all(opened):
    for client in opened:
        client.close()


# --- the start -------------------------------------------------------------------

def test_told(place, run):
    proxy = run(config("workers: 2\n"))
    assert (f"weir proxy: listening on [::]:{PORT} (tls), 2 workers, engine splice, as nobody\n"
            in proxy.err), proxy.err
    assert proxies.reaches(place.a, HERE, PORT)
    proxy.stop()
    assert "weir proxy: ended: 1 connection, " in proxy.err, proxy.err


def test_unprivileged(run):
    proxy = run(config("workers: 2\n"))
    threads = status_of(proxy.pid)
    assert len(threads) >= 3
    for told in threads:
        assert set(told["Uid"].split()) == {"65534"} and set(told["Gid"].split()) == {"65534"}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert int(told[kind], 16) == 0, told
        assert told["NoNewPrivs"] == "1"
    keeper, = status_of(proxy.keeper)
    assert keeper["Uid"].split()[0] == "0" and keeper["NoNewPrivs"] == "1"
    # Root, but not all of root: it changes no user, loads no module, sets no clock.
    assert not int(keeper["CapEff"], 16) & (1 << 6 | 1 << 7 | 1 << 16 | 1 << 25)


def test_transparent_keeps_one_capability(run):
    proxy = run(config() + "    transparent: true\n")
    for told in status_of(proxy.pid):
        assert told["Uid"].split()[0] == "65534"
        assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == CAP_NET_ADMIN


def test_counted_without_privileges(place, run):
    """What it was given before it gave up root is all that it needs."""
    proxy = run(config())
    assert proxies.reaches(place.a, HERE, PORT)
    assert not proxies.reaches(place.a, HERE, PORT, name="other.example")
    lab.wait_for("the account", lambda: proxy.dropped().get("no_match") == 1)


def test_no_such_user(run):
    proxy = run(config("user: no-such-user\n"), listening=False)
    proxy.wait(2)
    assert '"no-such-user" is no user of this host' in proxy.err, proxy.err


def test_only_one(place, run):
    first = run(config())
    second = run(config(port=OTHER), listening=False)
    second.wait(1)
    assert "a proxy runs in this network namespace already" in second.err, second.err
    assert second.err.count("\n") == 1
    assert proxies.reaches(place.a, HERE, PORT)
    first.reload()


def test_address_in_use(place, run):
    with place.b:
        taken = socket.create_server(("0.0.0.0", OTHER))
    with taken:
        proxy = run(config(port=OTHER), listening=False)
        proxy.wait(1)
    assert f"cannot listen on [::]:{OTHER}: another program listens there" in proxy.err
    assert not proxies.control_socket(place.b).exists()


def test_bad_configuration(run):
    proxy = run("listen:\n  - adress: 1\n", listening=False)
    proxy.wait(2)
    assert f"{proxy.path}:2: " in proxy.err, proxy.err


def test_by_flags_alone(place, run):
    proxy = run(None, "--listen", f"{HERE}:{PORT}", "--route", f"a.test=127.0.0.1:{BACKEND}")
    assert proxies.reaches(place.a, HERE, PORT)
    proxy.reload()
    assert proxies.reaches(place.a, HERE, PORT)


def test_few_descriptors_are_told(run):
    proxy = run(config("limits: {connections: 5000}\n"), prefix=("prlimit", "--nofile=1256"))
    assert "limits.connections is 5000, but 1256 descriptors are enough for 500" in proxy.err


# --- reload --------------------------------------------------------------------------

def test_reload_resets_nobody(place, run):
    """1,000 live connections, through reloads that change listeners and routes."""
    extra = f'  - address: "{HERE}:{OTHER}"\n'
    proxy = run(config("workers: 2\n"))
    live = clients(place, 1000)
    try:
        for more in ("", extra, extra + "limits: {idle_timeout: 1h}\n", ""):
            proxy.reload(config(more + "workers: 2\n"))
            for i, client in enumerate(live):
                client.say(b"%d" % i)
            assert proxies.reaches(place.a, HERE, PORT)
            assert proxies.reaches(place.a, HERE, OTHER, seconds=1) == bool(more)
        assert place.echo.accepted >= 1000
    finally:
        close_all(live)
    lab.wait_for("the connections to end", lambda: len(place.echo.open) == 0)
    proxy.stop()
    assert "client_reset" not in proxy.err and "backend_reset" not in proxy.err, proxy.err


def test_reload_under_load(place, run):
    """No connection that begins meanwhile is refused, cut or lost."""
    proxy = run(config("workers: 2\n"))
    failed, done, end = [], [0], time.monotonic() + (20 if LONG else 4)

    def client():
        while time.monotonic() < end and not failed:
            try:
                c = proxies.Client(place.a, HERE, PORT)
                c.say(b"x" * 100)
                c.close()
                done[0] += 1
            except (OSError, AssertionError) as error:
                failed.append(error)

    threads = [proxies.threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    reloads = 0
    while time.monotonic() < end:
        proxy.reload(config(f'  - address: "{HERE}:{OTHER}"\n' if reloads % 2 else ""))
        reloads += 1
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert reloads > 5 and done[0] > 100, (reloads, done)


def test_bad_reload_keeps_the_old(place, run):
    proxy = run(config())
    live = clients(place, 10)
    for bad, told in (("listen: [\n", "proxy.yaml"),
                      (config("colour: red\n"), "colour"),
                      (config('  - address: "192.0.2.99:443"\n'), "192.0.2.99:443"),
                      (config("log: /nonexistent/x.log\n"), "/nonexistent/x.log"),
                      # As for a start: a file that could not be read again then is refused.
                      (config() + "#" * (10 << 20), "larger than 10 MB"),
                      (config() + "    transparent: true\n", "CAP_NET_ADMIN")):
        before = len(proxy.err)
        proxy.reload(bad, told="the configuration before it stays in force")
        assert told in proxy.err[before:], proxy.err[before:]
        done = proxy.command("reload", status=1)
        assert told in done.stderr, done.stderr
        for client in live:
            client.say(b"still")
        assert proxies.reaches(place.a, HERE, PORT)
    close_all(live)
    lab.wait_for("the connections to end", lambda: proxy.status()["connections"] == 0)
    files = proxy.files()
    for _ in range(20):
        proxy.reload(config('  - address: "192.0.2.99:443"\n'), told="stays in force")
    assert abs(proxy.files() - files) <= 2
    proxy.reload(config())
    assert proxies.reaches(place.a, HERE, PORT)


def test_what_takes_a_restart_is_told(run):
    proxy = run(config("workers: 1\n"))
    before = len(proxy.err)
    proxy.reload(config("workers: 2\nuser: daemon\nresolver: {cache: 128}\n"))
    for word in ("`workers` takes a restart: it stays 1", "`user` takes a restart",
                 "`cache` takes a restart"):
        assert word in proxy.err[before:], proxy.err[before:]


def scrape(place, port):
    """The metrics, or None where nobody listens."""
    done = place.b.sh("curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/metrics", check=False)
    return done.stdout if done.returncode == 0 else None


def test_metrics_move(place, run):
    proxy = run(config("metrics: 127.0.0.1:31601\n"))
    assert "weir_proxy_" in scrape(place, 31601)
    proxy.reload(config("metrics: 127.0.0.1:31602\n"))
    assert scrape(place, 31601) is None and "weir_proxy_" in scrape(place, 31602)
    with place.b, socket.create_server(("127.0.0.1", 31603)):
        proxy.reload(config("metrics: 127.0.0.1:31603\n"), told="stays in force")
    assert "weir_proxy_" in scrape(place, 31602)
    proxy.reload(config())
    assert scrape(place, 31602) is None


def test_metrics_move_to_all_addresses(place, run):
    """The old socket is there as long as the reload may fail, and is not in the way."""
    proxy = run(config("metrics: 127.0.0.1:31601\n"))
    for address in ("0.0.0.0", "[::]", "127.0.0.1"):
        proxy.reload(config(f"metrics: '{address}:31601'\n"))
        assert "weir_proxy_" in scrape(place, 31601)
    proxy.reload(config("metrics: 127.0.0.1:%d\n" % OTHER))
    proxy.reload(config("metrics: 127.0.0.1:31601\n", port=OTHER))
    assert proxies.reaches(place.a, HERE, OTHER) and "weir_proxy_" in scrape(place, 31601)


def test_metrics_at_a_low_port(place, run):
    """Which the proxy itself may not bind any more."""
    proxy = run(config())
    proxy.reload(config("metrics: 127.0.0.1:601\n"))
    assert "weir_proxy_" in scrape(place, 601)


def test_backends_of_old_configurations_go(place, run):
    """However often a generator changes them; an open connection keeps its own."""
    proxy = run(config("metrics: 127.0.0.1:31601\n"))
    live, = clients(place, 1)
    for i in range(30):
        proxy.reload(config("metrics: 127.0.0.1:31601\n")
                     + f"  - {{match: x.example, backends: [127.0.1.{i + 1}:1, 127.0.2.{i + 1}:1]}}\n")
    kept = [line for line in scrape(place, 31601).splitlines()
            if line.startswith("weir_proxy_backends ")]
    # One that has stayed, two of this configuration, two of the one before.
    assert len(kept) == 1 and int(kept[0].split()[1]) <= 5, kept
    live.say(b"on")
    live.close()


def test_log_is_opened_anew(place, run):
    """In a directory where the proxy's user may not write."""
    directory = Path(tempfile.mkdtemp(prefix=f"weir{os.getpid()}-"))
    log, moved = directory / "access.log", directory / "access.log.1"
    try:
        proxy = run(config(f"log: {log}\n"))
        assert proxies.reaches(place.a, HERE, PORT)
        lab.wait_for("a line", lambda: log.read_text().count("\n") == 1)
        assert log.stat().st_mode & 0o777 == 0o640 and log.stat().st_uid == 0
        log.rename(moved)
        assert proxies.reaches(place.a, HERE, PORT)
        lab.wait_for("another line in the moved file",
                     lambda: moved.read_text().count("\n") == 2)
        proxy.send(signal.SIGUSR1)
        lab.wait_for("the new file", log.exists)
        assert proxies.reaches(place.a, HERE, PORT)
        lab.wait_for("a line in the new file", lambda: log.read_text().count("\n") == 1)
        # A reload may choose another one.
        other = directory / "other.log"
        proxy.reload(config(f"log: {other}\n"))
        assert proxies.reaches(place.a, HERE, PORT)
        lab.wait_for("a line in the other file", lambda: other.read_text().count("\n") == 1)
    finally:
        shutil.rmtree(directory)


# --- the end ----------------------------------------------------------------------------

def test_drain(place, run):
    """Who is connected goes on; nobody else comes in; it ends with the last of them."""
    proxy = run(config("drain: 30s\n"))
    live = clients(place, 1000)
    proxy.send(signal.SIGTERM)
    proxy.wait_told("draining: 1000 connections are open")
    lab.wait_for("the listeners to close",
                 lambda: not proxies.reaches(place.a, HERE, PORT, seconds=1))
    for i, client in enumerate(live):
        client.say(b"%d" % i)
    close_all(live)
    proxy.wait()
    # Some more came before the listeners were closed.
    assert "ended: 1,00" in proxy.err, proxy.err
    assert not proxies.control_socket(place.b).exists()


def test_drain_has_an_end(place, run):
    proxy = run(config("drain: 1s\n"))
    live = clients(place, 3)
    begun = time.monotonic()
    proxy.stop()
    assert 0.9 < time.monotonic() - begun < 10
    for client in live:
        client.ended()
    close_all(live)


def test_second_signal_ends_at_once(place, run):
    proxy = run(config("drain: 1h\n"))
    live = clients(place, 3)
    proxy.send(signal.SIGINT)
    proxy.wait_told("draining")
    proxy.send(signal.SIGINT)
    proxy.wait()
    close_all(live)


def test_reload_while_it_drains(place, run):
    proxy = run(config("drain: 1h\n"))
    live = clients(place, 1)
    proxy.send(signal.SIGTERM)
    proxy.wait_told("draining")
    assert "the proxy ends" in proxy.command("reload", status=1).stderr
    close_all(live)
    proxy.wait()


def test_killed(place, run):
    """Nothing is left, and the next one begins at once."""
    for _ in range(3):
        proxy = run(config())
        assert proxies.reaches(place.a, HERE, PORT)
        keeper, path = proxy.keeper, proxies.control_socket(place.b)
        assert path.exists() and proxy_pins(place)
        proxy.send(signal.SIGKILL)
        proxy.wait(-signal.SIGKILL)
    run(config()).stop()
    lab.wait_for("the keeper to end", lambda: not Path(f"/proc/{keeper}").exists())
    assert not path.exists() and not proxy_pins(place)


def test_keeper_does_not_answer(place, run):
    """A reload is given up, clients are served, and later it goes as if nothing had been."""
    proxy = run(config())
    live = clients(place, 3)
    os.kill(proxy.keeper, signal.SIGSTOP)
    try:
        proxy.reload(config("limits: {connections: 7}\n"),
                     told="the keeper does not answer: try again later: the configuration before "
                          "it stays in force")
        assert proxies.reaches(place.a, HERE, PORT)
    finally:
        os.kill(proxy.keeper, signal.SIGCONT)
    proxy.reload(config("metrics: 127.0.0.1:31601\n"))
    assert "weir_proxy_" in scrape(place, 31601)
    for client in live:
        client.say(b"still")
    close_all(live)


def test_lock_is_not_the_proxys_to_give_up(place, run):
    """The keeper has it, too, by an open file of its own."""
    proxy = run(config())
    for pid in (proxy.pid, proxy.keeper):
        locks = [fd for fd in Path(f"/proc/{pid}/fd").iterdir()
                 if os.readlink(fd).endswith(".lock")]
        assert len(locks) == 1, locks
        info = Path(f"/proc/{pid}/fdinfo/{locks[0].name}").read_text()
        assert f"FLOCK  ADVISORY  READ {pid} " in info, info


def test_keeper_killed(place, run):
    """It goes on serving, says so once, and what needs the keeper fails clearly."""
    proxy = run(config())
    live = clients(place, 5)
    os.kill(proxy.keeper, signal.SIGKILL)
    proxy.wait_told("the keeper has ended")
    for client in live:
        client.say(b"on")
    assert proxies.reaches(place.a, HERE, PORT)
    done = proxy.command("reload", status=1)
    assert "the keeper, which has the privileges, has ended: restart the proxy" in done.stderr
    assert proxies.reaches(place.a, HERE, PORT)
    assert proxy.err.count("the keeper has ended") == 1
    close_all(live)
    proxy.stop()
    # What it could not remove, the next one does.
    again = run(config())
    assert proxies.reaches(place.a, HERE, PORT)
    again.stop()
    assert not proxy_pins(place) and not proxies.control_socket(place.b).exists()


# --- a service manager ----------------------------------------------------------------------

def pass_sockets(place, *addresses):
    """Sockets that listen, and what hands them over as 3, 4, ..."""
    sockets = []
    for address, port in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with place.b:
            s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        s.listen(128)
        sockets.append(s)
    moves = " ".join(f"{3 + i}<&{s.fileno()}" for i, s in enumerate(sockets))
    script = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(sockets)} exec "$@"'
    return sockets, ("bash", "-c", script, "bash"), tuple(s.fileno() for s in sockets)


def test_activation(place, run):
    """Its sockets are used, by all workers, and not closed under the service manager."""
    sockets, prefix, fds = pass_sockets(place, ("::", PORT), (HERE, OTHER))
    more = f'  - address: "{HERE}:{OTHER}"\nworkers: 2\n'
    try:
        with place.a:
            early = socket.create_connection((HERE, PORT))
        proxy = run(config(more), prefix=prefix, pass_fds=fds)
        # Who came before the proxy waits for it in the queue.
        early.sendall(proxies.hello("a.test"))
        assert early.recv(1) == b"\x16"
        live = clients(place, 50) + clients(place, 50, port=OTHER)
        # Out, and in again: the same socket.
        proxy.reload(config("workers: 2\n"))
        proxy.reload(config(more))
        live += clients(place, 20, port=OTHER)
        for client in live:
            client.say(b"all")
        close_all(live)
        early.close()
        proxy.stop()
        # Nobody is refused between two runs.
        with place.a:
            between = socket.create_connection((HERE, PORT))
        again = run(config(more), prefix=prefix, pass_fds=fds)
        between.sendall(proxies.hello("a.test"))
        assert between.recv(1) == b"\x16"
        between.close()
        again.stop()
    finally:
        for s in sockets:
            s.close()


def test_activation_for_nobody(place, run):
    sockets, prefix, fds = pass_sockets(place, ("::", OTHER))
    try:
        proxy = run(config(), prefix=prefix, pass_fds=fds, listening=False)
        proxy.wait(1)
        assert f"no listener has the address [::]:{OTHER}" in proxy.err, proxy.err
    finally:
        for s in sockets:
            s.close()


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd")
def test_systemd_socket_activate(place, run):
    proxy = run(config(), listening=False,
                prefix=("systemd-socket-activate", "-l", f"[::]:{PORT}"))
    lab.wait_for("it to listen", lambda: "Listening on" in proxy.err)
    assert proxies.reaches(place.a, HERE, PORT)
    proxy.stop()


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(place, run, abstract):
    directory = tempfile.mkdtemp(prefix=f"weir{os.getpid()}-")
    os.chmod(directory, 0o755)
    path = f"\0weir{os.getpid()}-notify" if abstract else f"{directory}/notify"
    try:
        # Abstract names belong to the network namespace.
        with place.b, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            if not abstract:
                os.chmod(path, 0o777)
            s.settimeout(lab.PATIENCE)
            proxy = run(config(), env={"NOTIFY_SOCKET": path.replace("\0", "@")})
            assert s.recv(4096).startswith(b"READY=1")
            proxy.reload()
            assert s.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert s.recv(4096) == b"READY=1"
            proxy.stop()
            assert s.recv(4096) == b"STOPPING=1"
    finally:
        shutil.rmtree(directory)


# --- limits of the host ------------------------------------------------------------------------

def test_out_of_descriptors(place, run):
    """Refused, counted, and served again as soon as there are some."""
    proxy = run(config("workers: 1\n"), prefix=("prlimit", "--nofile=100"))
    assert proxies.reaches(place.a, HERE, PORT)
    files = proxy.files()
    held = []
    for _ in range(200):
        with place.a:
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        s.connect_ex((HERE, PORT))
        held.append(s)
    lab.wait_for("them to be refused", lambda: proxy.dropped().get("no_descriptors"))
    for s in held:
        s.close()
    lab.wait_for("service as before", lambda: proxies.reaches(place.a, HERE, PORT, seconds=2))
    lab.wait_for("the descriptors to come back", lambda: proxy.files() <= files)
    proxy.reload()


def test_reload_without_descriptors(place, run):
    """For what the keeper has opened there is no place: told as what it is, and later it goes
    as if nothing had been."""
    proxy = run(config("workers: 1\nuser: root\n"))  # whose limits may be changed
    most = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    free = next(n for n in range(1000) if not Path(f"/proc/{proxy.pid}/fd/{n}").is_symlink())
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (free, most[1]))
    proxy.reload(told="no descriptors are left")
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, most)
    proxy.reload()
    assert proxies.reaches(place.a, HERE, PORT)


def memory(pid):
    """Of its own, in KiB: what nobody shares."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in told.splitlines()
               if line.startswith(("Private_Clean:", "Private_Dirty:")))


def test_idle_connections(place, run):
    """Many, of which nobody says anything; what one costs in user space."""
    n = 50000 if LONG else 2000
    files = proxies.raise_files(2 * n + 1000)
    n = min(n, files // 2 - 500)
    with place.b:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65000")
    sources = [f"10.77.3.{i + 1}" for i in range(4)]
    for source in sources:
        place.a.ip("addr", "add", f"{source}/16", "dev", "va")
    proxy = run(config(f"workers: 2\nlimits: {{connections: {2 * n}, idle_timeout: 2h}}\n"))
    held = [proxies.Client(place.a, HERE, PORT) for _ in range(10)]
    before = memory(proxy.pid)
    try:
        for i in range(n):
            held.append(proxies.Client(place.a, HERE, PORT, source=sources[i % len(sources)]))
        lab.wait_for("all to be open", lambda: proxy.status()["connections"] == n + 10)
        each = (memory(proxy.pid) - before) * 1024 / n
        print(f"{n} idle connections: {each:.0f} bytes each")
        assert each < 4096
        for client in held[::100]:
            client.say(b"awake")
    finally:
        close_all(held)
        for source in sources:
            place.a.ip("addr", "del", f"{source}/16", "dev", "va")
    lab.wait_for("them to end", lambda: proxy.status()["connections"] == 0)
    proxy.stop()
