# SPDX-License-Identifier: GPL-2.0-only
"""The frame of the command line: verbs, help, errors, completion, and the verbs
that ask (doctor, status, version) or undo (unload)."""

import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
COMPLETION = TOP / "packaging" / "weir.bash"
NOBODY = 65534

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def weir(*args, program=WEIR, prefix=(), **options):
    return subprocess.run([*prefix, program, *args], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **options)


def in_netns(*args, **options):
    """In a network namespace of its own, so that nothing of this host is touched."""
    return weir(*args, prefix=["unshare", "--net"], **options)


def verbs():
    return [line.split("\t")[0] for line in weir("help", "--complete").stdout.splitlines()]


def rows(verb):
    """The verb's completion table: (long, short, argument, hint)."""
    return [tuple(line.split("\t")) for line in weir("help", "--complete", verb).stdout.splitlines()]


def usage_error(run, verb=None):
    assert run.returncode == 2, run
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1, run.stderr
    start = f"weir {verb}: " if verb else "weir: "
    assert run.stderr.startswith(start), run.stderr
    # What is wrong: what to do.
    assert ": " in run.stderr[len(start):], run.stderr
    return run.stderr[len(start):].rstrip("\n")


# --- verbs ------------------------------------------------------------------

def test_verbs_that_exist():
    assert set(verbs()) >= {"watch", "status", "doctor", "unload", "help", "version"}
    assert len(set(verbs())) == len(verbs())


def test_no_verb():
    assert "weir help" in usage_error(weir())


@pytest.mark.parametrize("word, meant", [("wach", "watch"), ("docter", "doctor"),
                                         ("stat", "status"), ("unlaod", "unload")])
def test_unknown_verb_names_the_nearest(word, meant):
    assert usage_error(weir(word)) == f'unknown verb "{word}": did you mean {meant}?'
    assert usage_error(weir("help", word), "help").endswith(f"did you mean {meant}?")


def test_unknown_verb_far_from_all():
    assert usage_error(weir("xyzzy")) == 'unknown verb "xyzzy": "weir help" lists them'
    usage_error(weir("--frobnicate"))
    usage_error(weir(""))


def test_hostile_words_stay_one_line():
    assert "?" in usage_error(weir("a\nb\033[31mc"))
    usage_error(weir("status", "a\nb"), "status")
    usage_error(weir("doctor", "--x\n\x07"), "doctor")


@pytest.mark.parametrize("verb", verbs())
def test_unknown_option(verb):
    usage_error(weir(verb, "--no-such-option-anywhere"), verb)
    usage_error(weir(verb, "-\u00e9"), verb)


@pytest.mark.parametrize("verb", ["doctor", "status", "unload", "version"])
def test_near_option_is_suggested(verb):
    assert usage_error(weir(verb, "--jsno"), verb) == "unknown option --jsno: did you mean --json?"
    assert "takes no value" in usage_error(weir(verb, "--json=yes"), verb)


@pytest.mark.parametrize("args", [("doctor", "x"), ("version", "x"), ("status", "watch", "x"),
                                  ("unload", "watch", "x"), ("help", "watch", "x")])
def test_too_many_words(args):
    assert usage_error(weir(*args), args[0]) == '"x" is one argument too many: leave it out'


@pytest.mark.parametrize("verb", ["status", "unload"])
def test_argument_is_a_verb(verb):
    assert usage_error(weir(verb, "wacth"), verb).endswith("did you mean watch?")


# --- help -------------------------------------------------------------------

def test_overview_groups():
    out = weir("help").stdout
    groups = [line[:-1] for line in out.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)]
    order = ["See", "Control", "Forward", "Ask", "Undo"]
    assert groups == [g for g in order if g in groups]
    listed = re.findall(r"^  (\w+) +\S", out, re.M)
    assert sorted(listed) == sorted(verbs())
    # No heading without a verb below it.
    assert not re.search(r":\n\n", out) and all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_overview_spellings(word):
    run = weir(word)
    assert run.returncode == 0 and run.stderr == "" and run.stdout == weir("help").stdout


@pytest.mark.parametrize("verb", verbs())
def test_help_of_a_verb(verb):
    run = weir("help", verb)
    assert run.returncode == 0 and run.stderr == ""
    assert run.stdout.startswith(f"weir {verb} ")
    assert weir(verb, "--help").stdout == run.stdout
    for long, short, _, _ in rows(verb):
        name = long if long != "-" else short
        if name not in ("-", "--help"):
            assert re.search(rf"(^|[\s,]){re.escape(name)}\b", run.stdout, re.M), name


def test_help_behind_the_end_of_options_is_a_word():
    assert usage_error(weir("doctor", "--", "--help"), "doctor").startswith('"--help" is one')


def test_hidden_completion_option_is_hidden():
    assert "--complete" not in weir("help", "help").stdout
    assert "--complete" not in "".join(row[0] for row in rows("help"))


@pytest.mark.parametrize("page", sorted(TOP.glob("src/**/*.scd")), ids=lambda p: p.name)
def test_man_page_names_every_option(page):
    match = re.fullmatch(r"weir-(\w+)\.8\.scd", page.name)
    if not match or match[1] not in verbs():
        pytest.skip("not the page of a verb")
    text = page.read_text()
    for long, short, _, _ in rows(match[1]):
        name = long if long != "-" else short
        assert name in ("-", "--help") or name in text, name


# --- output that cannot be written ------------------------------------------

@pytest.mark.parametrize("args", [("help",), ("version",), ("doctor", "--json")])
def test_full_device(args):
    with open("/dev/full", "w") as full:
        run = subprocess.run([WEIR, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                             timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith(f"weir {args[0]}: cannot write to standard output (No space left")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [("help",), ("version", "--json"), ("help", "watch")])
def test_reader_that_has_gone(args):
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([WEIR, *args], stdout=write, stderr=subprocess.PIPE, text=True,
                         timeout=60)
    os.close(write)
    assert (run.returncode, run.stderr) == (0, "")


def test_closed_standard_output():
    run = subprocess.run(["sh", "-c", 'exec "$0" version >&-', WEIR], capture_output=True,
                         text=True, timeout=60)
    assert run.returncode == 1 and "cannot write to standard output" in run.stderr


# --- version ----------------------------------------------------------------

def test_version():
    out = json.loads(weir("version", "--json").stdout)
    assert out["v"] == 1
    assert out["kernel"] == os.uname().release and out["machine"] == os.uname().machine
    assert re.fullmatch(r"\d+\.\d+\.\d+", out["weir"])
    assert re.fullmatch(r"\d+\.\d+", out["libbpf"]) and re.match(r"\d+\.\d+", out["libpcap"])
    text = weir("version").stdout
    for key in ("weir", "libbpf", "libpcap", "kernel"):
        assert out[key] in text
    assert weir("--version").stdout == weir("-V").stdout == text


# --- doctor -----------------------------------------------------------------

FEATURES = {"bpf", "btf", "bpffs", "ringbuf", "xdp", "xdp_link", "af_xdp", "tcx", "netfilter",
            "socket_filter", "tp_btf", "by_id", "fentry", "kprobe", "sk_lookup", "sockmap",
            "sockops", "iter_tcp", "take_socket", "sock_destroy", "fq"}


def judge_doctor(run):
    out = json.loads(run.stdout)
    checks = out["checks"]
    assert out["v"] == 1 and run.stdout.count("\n") == 1
    assert {check["name"] for check in checks} == FEATURES
    bad = [check for check in checks if not check["ok"] and not check["optional"]]
    assert out["ok"] == (not bad)
    assert run.returncode == (4 if bad else 0)
    for check in checks:
        assert check["detail"] and check["requires"]
        assert check["ok"] != ("errno" in check)
        if not check["optional"]:
            assert check["needed_by"]
    return out


def test_doctor_json():
    out = judge_doctor(weir("doctor", "--json"))
    assert out["host"]["kernel"] == os.uname().release
    assert isinstance(out["capabilities"]["CAP_BPF"], bool)
    assert {engine["name"] for engine in out["captures"]} == {"tc", "xdp", "af_packet", "pcap",
                                                              "af_xdp"}
    assert [e["name"] for e in out["captures"] if e["takes"]] == ["af_xdp"]
    assert next(e for e in out["captures"] if e["name"] == "xdp")["sees_xdp_drops"] is True


def test_doctor_text_and_json_agree():
    text = weir("doctor")
    out = judge_doctor(weir("doctor", "--json"))
    assert text.returncode == (0 if out["ok"] else 4)
    for check in out["checks"]:
        mark = "ok" if check["ok"] else "--" if check["optional"] else "NO"
        assert re.search(rf"^  {mark}  {check['name']} ", text.stdout, re.M), check
    assert ("Everything that this version of weir needs is there." in text.stdout) == out["ok"]
    assert "\033" not in text.stdout
    # Whose row says that nothing uses it: the tracing that every kernel is not built with.
    unused = re.findall(r"^  \S+ +(\w+) .* nothing in this version", text.stdout, re.M)
    assert set(unused) <= {"fentry", "kprobe"}


def config_file():
    for path in ("/proc/config.gz", f"/boot/config-{os.uname().release}"):
        if os.access(path, os.R_OK):
            return path
    return None


def test_doctor_reads_the_kernel_configuration():
    path = config_file()
    if not path:
        pytest.skip("no readable kernel configuration")
    out = json.loads(weir("doctor", "--json").stdout)
    assert out["kconfig_source"] == path
    reader = ["zcat", "-f", path]
    lines = subprocess.run(reader, capture_output=True, text=True, check=True).stdout.splitlines()
    real = dict(line.split("=", 1) for line in lines if re.match(r"CONFIG_\w+=", line))
    for name, value in out["kconfig"].items():
        assert real.get(name, "n") == value, name


@ROOT
def test_doctor_as_root_has_what_weir_needs():
    out = judge_doctor(weir("doctor", "--json"))
    assert out["ok"], [check for check in out["checks"] if not check["ok"]]


@ROOT
def test_doctor_leaves_nothing():
    weir("doctor")
    # The kernel frees tracing programs a little later.
    end = time.monotonic() + 20
    while "weir_probe" in subprocess.run(["bpftool", "prog", "list"], capture_output=True,
                                         text=True, check=True).stdout:
        assert time.monotonic() < end, "a probe's program is still loaded"
        time.sleep(0.2)
    assert not list(Path("/sys/fs/bpf").glob("weir_probe*"))


@ROOT
def test_doctor_in_a_namespace_without_anything():
    out = judge_doctor(in_netns("doctor", "--json"))
    assert out["ok"]


@pytest.fixture
def public_weir():
    """A copy that every user can run: the build directory may be private."""
    directory = tempfile.mkdtemp(prefix=f"weir{os.getpid()}-")
    os.chmod(directory, 0o755)
    yield shutil.copy(WEIR, directory)
    shutil.rmtree(directory)


def as_nobody(caps=""):
    sets = "-all" + "".join(f",+{cap}" for cap in caps.split())
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            f"--inh-caps={sets}", f"--ambient-caps={sets}", f"--bounding-set={sets}"]


@ROOT
def test_doctor_as_nobody(public_weir):
    run = weir("doctor", program=public_weir, prefix=as_nobody())
    assert run.returncode == 4
    assert re.search(r"^  NO  xdp  ", run.stdout, re.M)
    assert re.search(r"^not ok: xdp, .*CAP_BPF, CAP_NET_ADMIN", run.stdout, re.M)
    judge_doctor(weir("doctor", "--json", program=public_weir, prefix=as_nobody()))


@ROOT
def test_doctor_with_capabilities_only(public_weir):
    prefix = as_nobody("bpf net_admin perfmon net_raw")
    out = judge_doctor(weir("doctor", "--json", program=public_weir, prefix=prefix))
    ok = {check["name"]: check["ok"] for check in out["checks"]}
    assert ok["xdp"] and ok["ringbuf"] and ok["socket_filter"] and ok["xdp_link"]
    assert ok["sock_destroy"] and not ok["by_id"] and not ok["take_socket"]


def on_terminal(*args, env=None):
    """What the program writes when its standard output is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([WEIR, *args], stdout=follower, stderr=follower,
                               stdin=subprocess.DEVNULL,
                               env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(follower)
    text = b""
    while True:
        try:
            got = os.read(leader, 65536)
        except OSError:
            break
        if not got:
            break
        text += got
    os.close(leader)
    process.wait(60)
    return text.decode()


def test_colour_on_a_terminal_only():
    coloured = on_terminal("doctor", env={"NO_COLOR": ""})
    assert "\033[3" in coloured and ("✓" in coloured or "✗" in coloured)
    assert "\033" not in on_terminal("doctor", env={"NO_COLOR": "1"})


# --- status and unload ------------------------------------------------------

@ROOT
def test_status_of_nothing():
    run = in_netns("status")
    assert run.returncode == 0
    assert "Nothing is pinned in this network namespace." in run.stdout
    out = json.loads(in_netns("status", "--json").stdout)
    assert out["v"] == 1 and out["pinned"] == [] and isinstance(out["running"], list)


@ROOT
def test_status_of_one_verb_has_two_spellings():
    run = in_netns("status", "watch")
    again = in_netns("watch", "status")
    assert run.returncode == again.returncode == 0
    assert run.stdout.splitlines()[0] == again.stdout.splitlines()[0]
    assert json.loads(in_netns("watch", "status", "--json").stdout)["v"] == 1


@ROOT
def test_unload_of_nothing():
    run = in_netns("unload")
    assert (run.returncode, run.stderr) == (0, "")
    assert "Nothing was pinned in this network namespace." in run.stdout
    out = json.loads(in_netns("unload", "watch", "--json").stdout)
    assert out["v"] == 1 and out["removed"] == [] and isinstance(out["namespaces_swept"], int)


@ROOT
def test_status_says_what_it_may_not_see(public_weir):
    # Without a bpffs, whose rights would be the first thing to stop at.
    run = weir("status", program=public_weir,
               prefix=["unshare", "--mount", "sh", "-c",
                       'while umount /sys/fs/bpf 2>/dev/null; do :; done; exec "$@"', "sh",
                       *as_nobody()])
    assert "needs CAP_SYS_ADMIN" in run.stderr and "setcap" in run.stderr
    assert public_weir in run.stderr
    assert "No program of weir is loaded" not in run.stdout


# What a verb would have pinned, in namespaces that nobody else sees.
PINNED = """
    set -e
    mount -t bpf bpf /sys/fs/bpf
    cookie=$(printf %016x "$("$WEIR" status --json | jq .netns)")
    for verb in watch rules; do
        mkdir -p "/sys/fs/bpf/weir/$cookie/$verb"
        bpftool map create "/sys/fs/bpf/weir/$cookie/$verb/thing" \\
            type array key 4 value 4 entries 1 name weir_thing
    done
    bpftool map create /sys/fs/bpf/foreign type array key 4 value 4 entries 1 name foreign
"""


def with_pins(script, setup=PINNED):
    run = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc",
                          "bash", "-c", setup + script],
                         capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                         env={**os.environ, "WEIR": WEIR})
    assert run.returncode == 0, run
    return run.stdout


@ROOT
def test_status_shows_what_is_pinned():
    out = with_pins('"$WEIR" status')
    assert re.search(r"^  watch  thing   map   \d+  .*weir_thing", out, re.M), out
    assert re.search(r"^  rules  thing   map ", out, re.M), out
    assert "foreign" not in out
    one = json.loads(with_pins('"$WEIR" status watch --json'))
    assert [(e["verb"], e["name"], e["type"]) for e in one["pinned"]] == [("watch", "thing", "map")]
    assert one["pinned"][0]["id"] > 0


@ROOT
def test_unload_of_one_verb_leaves_the_others():
    out = with_pins('"$WEIR" unload watch --json; "$WEIR" status --json')
    gone, left = map(json.loads, out.splitlines())
    assert [e["verb"] for e in gone["removed"]] == ["watch"]
    assert [e["verb"] for e in left["pinned"]] == ["rules"]


@ROOT
def test_what_is_pinned_needs_no_verb():
    # The rule store is nobody's verb.
    out = with_pins('"$WEIR" unload rules --json; "$WEIR" status --json; "$WEIR" unload rules || true')
    gone, left = map(json.loads, out.splitlines()[:2])
    assert [e["verb"] for e in gone["removed"]] == ["rules"]
    assert [e["verb"] for e in left["pinned"]] == ["watch"]


@ROOT
def test_unload_removes_only_what_is_weirs():
    out = with_pins('"$WEIR" unload; "$WEIR" unload; find /sys/fs/bpf -mindepth 1')
    assert "Removed from this network namespace:" in out
    assert re.search(r"^  watch  thing ", out, re.M) and re.search(r"^  rules  thing ", out, re.M)
    assert "Nothing was pinned in this network namespace." in out
    assert "/sys/fs/bpf/foreign" in out.splitlines()
    assert "/sys/fs/bpf/weir" not in out


@ROOT
def test_unload_sweeps_namespaces_that_are_gone():
    # The pins of a namespace that ended; bpffs is the same.
    setup = "set -e; mount -t bpf bpf /sys/fs/bpf; unshare --net bash -c '" + \
        PINNED.replace("mount -t bpf bpf /sys/fs/bpf\n", "") + "'\n"
    # The kernel takes a moment to end it.
    look = """for i in $(seq 100); do
        told=$("$WEIR" unload --json)
        case $told in *'"namespaces_swept":0'*) sleep 0.1 ;; *) break ;; esac
    done
    echo "$told"; find /sys/fs/bpf -path "*/weir/*"
    """
    out = with_pins(look, setup).splitlines()
    swept = json.loads(out[0])
    assert swept["removed"] == [] and swept["namespaces_swept"] == 1, out
    assert out[1:] == []


@ROOT
def test_pins_that_may_not_be_read_are_told(public_weir):
    drop = " ".join(as_nobody())
    run = subprocess.run(["unshare", "--mount", "bash", "-c",
                          "mount -t bpf -o mode=0700 bpf /sys/fs/bpf && mkdir /sys/fs/bpf/weir && "
                          f"exec {drop} {public_weir} unload"],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and run.stdout == ""
    assert re.fullmatch(r"weir unload: needs CAP_DAC_OVERRIDE .*: run as root\n", run.stderr), \
        run.stderr


# --- completion -------------------------------------------------------------

def complete(*words):
    """What bash offers for the last of @words."""
    script = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _weir
        ((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
        exit 0
    """
    run = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION), WEIR, *words],
                         capture_output=True, text=True, check=True, timeout=60)
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_completion_of_verbs():
    assert complete("") == verbs()
    assert complete("un") == ["unload"]
    assert complete("zzz") == []
    assert complete("unload", "wa") == ["watch"]


@pytest.mark.parametrize("verb", verbs())
def test_completion_of_options(verb):
    names = [long if long != "-" else short for long, short, _, _ in rows(verb)]
    assert complete(verb, "-") == [name for name in names if name != "-"]


def test_completion_of_values():
    interfaces = sorted(os.listdir("/sys/class/net"))
    for long, short, argument, hint in rows("watch"):
        if argument == "-" or long == "-":
            continue
        if hint == "iface":
            assert sorted(complete("watch", long, "")) == interfaces
            assert complete("watch", short, "l") == [i for i in interfaces if i.startswith("l")]
        elif hint == "file":
            assert complete("watch", long, f"{TOP}/Makef") == [f"{TOP}/Makefile"]
        elif hint.startswith("words:"):
            words = hint[len("words:"):].split()
            assert complete("watch", long, "") == words
            assert complete("watch", long, "=", words[0]) == [w for w in words
                                                              if w.startswith(words[0])]
            assert complete("watch", long, "=") == words


def test_completion_of_an_unknown_verb():
    assert complete("frobnicate", "-") == []


def test_completion_is_registered():
    run = subprocess.run(["bash", "-c", f'source "{COMPLETION}"; complete -p weir'],
                         capture_output=True, text=True)
    assert run.stdout == "complete -F _weir weir\n"
