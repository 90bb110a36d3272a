# SPDX-License-Identifier: GPL-2.0-only
"""`weir proxy` as its user meets it where no proxy runs: words, messages, exit statuses,
and the configuration as `check` understands it. tests/unit/proxy/config.c has the long
list of what is refused."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
PAGE = TOP / "src/cap/proxy/weir-proxy.8.scd"
SOURCES = TOP / "src/cap/proxy"

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
LISTEN = "listen: 192.0.2.1:443\n"
ROUTE = "routes: [{match: a.example, backends: 192.0.2.9:443}]\n"


def weir(*args, prefix=(), **options):
    return subprocess.run([*prefix, WEIR, "proxy", *args], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL, **options)


def completion():
    return subprocess.run([WEIR, "help", "--complete", "proxy"], capture_output=True, text=True,
                          check=True).stdout.splitlines()


def actions():
    hint = [row.split("\t")[3] for row in completion() if row.startswith("-\t-\tWORD\t")]
    return hint[0].removeprefix("words:").split()


def one_error(run, status=2):
    assert run.returncode == status, run
    assert run.stdout == ""
    line, = run.stderr.splitlines()
    assert line.startswith("weir proxy: ")
    return line.removeprefix("weir proxy: ")


@pytest.fixture
def check(tmp_path):
    """`weir proxy check` of a text, from where the file has a short name."""
    def run(text, *args):
        path = tmp_path / "proxy.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return weir("check", "-c", "proxy.yaml", *args, cwd=tmp_path)
    return run


# --- words ------------------------------------------------------------------

@pytest.mark.parametrize("words, told", [
    ("", "listen: no listener: give one by -c FILE, or by --listen ADDRESS:PORT"),
    ("check", "listen: no listener: give one by -c FILE, or by --listen ADDRESS:PORT"),
    ("frob", 'unknown action "frob": "weir help proxy" lists them'),
    ("chek", 'unknown action "chek": did you mean check?'),
    ("conections", 'unknown action "conections": did you mean connections?'),
    ("/etc/passwd", 'unknown action "/etc/passwd": give a file as -c /etc/passwd'),
    ("check x", '"x" is one argument too many: leave it out'),
    ("reload x", '"x" is one argument too many: leave it out'),
    ("kill", "kill needs more words: weir proxy kill ID"),
    ("kill x", '"x" is no connection: give an ID that `weir proxy connections` shows'),
    ("kill -1", None),
    ("kill 1 2", '"2" is one argument too many: leave it out'),
    ("resolver", "resolver needs more words: weir proxy resolver list | flush [NAME]"),
    ("dns", "dns needs more words: weir proxy dns list | flush [NAME]"),
    ("resolver show", '"show" is nothing that resolver can do: give list or flush'),
    ("resolver list x", '"x" is one argument too many: leave it out'),
    ("resolver flush x y", '"y" is one argument too many: leave it out'),
    ("resolver flush --json", "--json does not go with resolver flush: it is for resolver list"),
    ("--json", "--json does not go with running it: it is for connections, top, resolver "
               "or dns"),
    ("check --once", "--once does not go with check: it is for connections or top"),
    ("reload -c x", "--config does not go with reload: it is for running it or check"),
    ("off --drain 5s", "--drain does not go with off: it is for running it or check"),
    ("--workers 0", None),
    ("--workers 65", '--workers "65" is out of range: give one from 1 to 64'),
    ("--drain 0s", '--drain "0s" is out of range: give one from 1ms to 1d'),
    ("--drain soon", None),
    ("--listen", None),
    ("--config a -c b", '-c "b" after "a": give it only once'),
    ("check --listen 443", '--listen: "443" is no IP address with a port: give one such as '
                           '192.0.2.1:443 or [::]:443'),
    ("check --listen 192.0.2.1:443", "routes: no route, and no backend by default: every "
                                     "connection would end: give one by --route NAME=BACKEND"),
    ("check --listen 192.0.2.1:443 --listen 192.0.2.1:443 --default 192.0.2.9:1",
     "listen: two listeners of 192.0.2.1:443: leave one out"),
    ("check --route x", '--route: "x" has no backend: write NAME=BACKEND[,BACKEND]'),
    ("check --route a..b=dns", None),
    ("check --route /[a/=dns", None),
    ("check --default dorp", '--default: "dorp" is no action: did you mean drop?'),
    ("check --engine kernel", '--engine: "kernel" is not known: give auto, splice, copy or '
                              'sockmap'),
    ("check --allow-source 10.0.0.1/8", '--allow-source: "10.0.0.1/8": bits are set behind the '
                                        'prefix length: clear them'),
    ("check --server ns.example", None),
    ("check --log-format %{sin}", '--log-format: unknown key "sin": did you mean %{sni}?'),
    ("check --metrics 9100", None),
    ("check --user no-such-user", '--user: "no-such-user" is no user of this host: give one that '
                                  '`getent passwd` lists'),
])
def test_wrong_words(words, told):
    message = one_error(weir(*words.split()))
    assert message == told if told else ": " in message


def test_an_option_of_another_action_is_refused_everywhere():
    """None is parsed and ignored: each action refuses what it does not take."""
    values = {"--workers": "1", "--drain": "1s"}
    names = [row.split("\t")[0] for row in completion()]
    names = [name for name in names if name not in ("--help", "-")]
    assert {"--config", "--listen", "--route", "--json", "--once"} <= set(names)
    for name in names:
        words = [name] if name in ("--json", "--once") else [name, values.get(name, "x")]
        told = one_error(weir("reload", *words))
        assert f"{name} does not go with reload: it is for" in told


def test_help_page_and_completion_name_the_same_actions():
    shown = subprocess.run([WEIR, "help", "proxy"], capture_output=True, text=True,
                           check=True).stdout
    page = re.search(r"^# ACTIONS\n(.*?)^# ", PAGE.read_text(), re.M | re.S)[1]
    for action in actions():
        assert re.search(rf"^  {action}\b", shown, re.M), action
        assert re.search(rf"^\*{action}\b", page, re.M), action
    told = set(re.findall(r"^  ([a-z]+) .*", shown.split("Actions:")[1], re.M))
    assert told == set(actions())


@ROOT
@pytest.mark.parametrize("words", ["reload", "connections", "connections --json", "top --once",
                                   "kill 1", "resolver list", "dns flush x.example"])
def test_without_a_proxy(words):
    told = one_error(weir(*words.split(), prefix=["unshare", "--net"]), status=1)
    assert told.startswith("no proxy runs in this network namespace: start it with")


@ROOT
def test_off_without_a_proxy():
    run = weir("off", prefix=["unshare", "--net"])
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == "weir proxy: no proxy runs in this network namespace\n"


# --- the configuration ------------------------------------------------------

def test_check_prints_what_reads_back(check):
    corpus = TOP / "tests/fuzz/corpus/proxy_config"
    for path in [corpus / name for name in ("everything", "example", "flow", "printed", "short")]:
        first = check(path.read_bytes())
        assert first.returncode == 0, first
        again = check(first.stdout)
        assert (again.returncode, again.stdout) == (0, first.stdout), path


def test_options_and_file_say_the_same(check):
    by_options = weir("check", "--listen", "[::]:443", "--listen", "http://192.0.2.1:80",
                      "--route", "Example.COM=10.0.0.5:443,app:8443", "--route",
                      "*.example.org=dns", "--route", "/^a=b$/=unix:/run/x", "--default", "reset",
                      "--engine", "copy", "--allow-source", "10.0.0.0/8", "--server", "127.0.0.1",
                      "--log", "/x", "--log-format", "%{sni}", "--metrics", "127.0.0.1:9100",
                      "--user", "root", "--workers", "2", "--drain", "1m")
    assert by_options.returncode == 0, by_options
    by_file = check("""
listen: ["[::]:443", {address: 192.0.2.1:80, protocol: http}]
default: reset
engine: copy
allow_sources: 10.0.0.0/8
resolver: {servers: 127.0.0.1}
log: {file: /x, format: "%{sni}"}
metrics: 127.0.0.1:9100
user: root
workers: 2
drain: 60s
routes:
  - {match: example.com, backends: [10.0.0.5:443, app:8443]}
  - {match: "*.example.org", backends: dns}
  - {match: /^a=b$/, backends: unix:/run/x}
""")
    assert by_file.stdout == by_options.stdout.replace('"Example.COM"', "example.com").replace(
        "Example.COM", "example.com")


def test_options_outweigh_the_file(check):
    run = check(LISTEN + ROUTE + "default: reset\nlog: /x\n", "--listen", "192.0.2.2:443",
                "--route", "b.example=x", "--default", "alert", "--log", "off")
    assert run.returncode == 0, run
    assert re.findall(r"address: (\S+)", run.stdout) == ["192.0.2.1:443", "192.0.2.2:443"]
    assert re.findall(r"match: (\S+)", run.stdout) == ["a.example", "b.example"]
    assert "\ndefault: alert\n" in run.stdout and "\n  file: off\n" in run.stdout


def test_an_open_proxy_is_warned_of(check):
    text = LISTEN + 'routes: [{match: "*", backends: dns}]\n'
    run = check(text)
    assert run.returncode == 0
    assert run.stderr.startswith('weir proxy: warning: "*" to dns lets everybody reach')
    assert check(text + "allow_sources: [10.0.0.0/8]\n").stderr == ""


@pytest.mark.parametrize("text, told", [
    ("", "proxy.yaml: listen: no listener: give one here, or by --listen ADDRESS:PORT"),
    ("- a\n", "proxy.yaml:1: no KEY: VALUE: write one in each line"),
    (LISTEN + ROUTE + "lisen: x\n", "proxy.yaml:3: lisen: unknown key: did you mean listen?"),
    (LISTEN + ROUTE + "limits:\n  conections: 5\n",
     "proxy.yaml:4: limits.conections: unknown key: did you mean connections?"),
    (LISTEN + ROUTE + "limits: {connections: many}\n",
     'proxy.yaml:3: limits.connections: "many" is no whole number from 1 to 16777216: give one'),
    (LISTEN + ROUTE + "engine: [copy]\n",
     "proxy.yaml:3: engine: a list, where one value is wanted: write KEY: VALUE"),
    (LISTEN + LISTEN + ROUTE, "proxy.yaml:2: listen: given twice, first in line 1: leave one out"),
    (LISTEN + ROUTE + "limits:\n\tconnections: 5\n",
     "proxy.yaml:4: not YAML, found character that cannot start any token: indent with blanks, not "
     "with tabs"),
    (LISTEN + ROUTE + "engine: &x copy\n",
     "proxy.yaml:3: &x: anchors are not read here: write it out, or put it in quotes"),
    (LISTEN + "routes: [{match: a, backends: x}, {match: A., backends: y}]\n",
     "proxy.yaml:2: routes.match: no connection gets here, as the route in line 2 takes them all: "
     "leave one out"),
    (LISTEN + "routes: [{match: a, backends: x, listener: outside}]\n",
     'proxy.yaml:2: routes.listener: "outside" is no listener: give the name or the address of '
     "one"),
    (LISTEN + "routes: [{match: '/a(b/', backends: dns}]\n",
     'proxy.yaml:2: routes.match: "/a(b/", Unmatched ( or \\(: write an extended regular '
     "expression, see regex(7)"),
    ("listen: [192.0.2.1:443, 192.0.2.1:443]\n" + ROUTE,
     "proxy.yaml:1: listen: two listeners of 192.0.2.1:443: leave one out"),
    (LISTEN, "proxy.yaml: routes: no route, and no backend by default: every connection would end: "
             "give one here, or by --route NAME=BACKEND"),
    (LISTEN + ROUTE + 'log: {file: "-", format: "%{sin}"}\n',
     'proxy.yaml:3: log.format: unknown key "sin": did you mean %{sni}?'),
    (b"user: \xff\n", "proxy.yaml:1: not text, invalid leading UTF-8 octet: write it in UTF-8"),
])
def test_wrong_files(check, text, told):
    assert one_error(check(text)) == told


def test_files_that_are_none(tmp_path):
    assert one_error(weir("check", "-c", "/no/such/file")) == \
        "/no/such/file: cannot be read (No such file or directory): give a file that can"
    assert one_error(weir("check", "-c", str(tmp_path))) == \
        f"{tmp_path}: a directory: give a file"
    assert one_error(weir("check", "-c", "/dev/zero")) == \
        "/dev/zero: larger than 10 MB: make it smaller"


def test_size(tmp_path):
    path = tmp_path / "proxy.yaml"
    text = LISTEN + ROUTE
    path.write_text(text + "#" * (10 * 1024 * 1024 - len(text)))
    assert weir("check", "-c", str(path)).returncode == 0
    with path.open("a") as more:
        more.write("#")
    assert one_error(weir("check", "-c", str(path))).endswith("larger than 10 MB: make it smaller")


def test_a_wrong_configuration_does_not_start(tmp_path):
    path = tmp_path / "proxy.yaml"
    path.write_text(LISTEN + ROUTE + "x: y\n")
    assert one_error(weir("-c", str(path))).startswith(f"{path}:3: x: unknown key: use listen, ")


# --- the page ---------------------------------------------------------------

def transcripts():
    """Commands of the page's examples that take no running proxy, with what they print."""
    section = re.search(r"^# EXAMPLES\n(.*?)^# SEE ALSO", PAGE.read_text(), re.M | re.S)[1]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.M | re.S)
    return [block.replace("\\\\", "\\") for block in blocks if "weir proxy check" in block]


def test_there_are_transcripts():
    assert len(transcripts()) >= 2


@pytest.mark.parametrize("block", transcripts())
def test_transcript(block, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/weir").symlink_to(WEIR)
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    shown = ""
    for line in block.splitlines():
        if not line.startswith("# "):
            continue
        run = subprocess.run(["bash", "-c", line[2:]], capture_output=True, text=True, timeout=60,
                             cwd=tmp_path, env=env)
        shown += f"{line}\n{run.stderr}{run.stdout}"
    assert shown == block


def test_page_names_every_key():
    """Those of the file, of a log's line, and the reasons of an end."""
    page = PAGE.read_text()
    files = (SOURCES / "config_yaml.c").read_text()
    keys = re.findall(r'^\t\{ "(\w+)",', files, re.M)
    keys += re.findall(r'X\(\w+, "(\w+)"', (SOURCES / "conn_facts.h").read_text())
    ends = (TOP / "src/dataplane/proxy_ends.c").read_text()
    keys += re.findall(r'\[WEIR_END_\w+\] = \{\s*"(\w+)"', ends)
    assert len(keys) > 100
    for key in keys:
        assert re.search(rf"\*([\w, ]*\W)?{key}\b", page), key


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_units(tmp_path):
    packaging = TOP / "packaging"
    text = (packaging / "weir-proxy.service.in").read_text()
    (tmp_path / "weir-proxy.service").write_text(text.replace("@bindir@/weir", WEIR))
    shutil.copy(packaging / "weir-proxy.socket", tmp_path)
    for unit in ("weir-proxy.service", "weir-proxy.socket"):
        run = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit],
                             capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stderr) == (0, ""), run
