# SPDX-License-Identifier: GPL-2.0-only
"""What the benches share: the namespace with the generator, children that are asked and
answer, and tables."""

import contextlib
import ctypes
import json
import os
import platform
import re
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
NR_BPF = {'x86_64': 321, 'aarch64': 280}
BPF_PROG_GET_FD_BY_ID = 13
BPF_ENABLE_STATS = 32
SIZE = 64
READY_SECONDS = 10   # for a program to be ready, or to answer
SETTLE_SECONDS = 0.15  # for a reader to take what is still queued
DISTURBED = 0.05     # of the time spent waiting for a CPU: the run is made again ...
TRIES = 3            # ... so often, while all that takes no longer than
RETRY_SECONDS = 40


class Failed(Exception):
    pass


class Program:
    """A child on one CPU whose lines of standard error, or output, can be waited for."""

    def __init__(self, argv, cpu, listen='stderr'):
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.DEVNULL,
                 'stderr': subprocess.PIPE}
        if listen == 'stdout':
            pipes.update(stdout=subprocess.PIPE, stderr=None)
        self.argv, self.lines = argv, []
        self.news = threading.Condition()
        self.proc = subprocess.Popen(argv, text=True, preexec_fn=lambda: self.prepare(cpu), **pipes)
        pipe = self.proc.stdout if listen == 'stdout' else self.proc.stderr
        self.thread = threading.Thread(target=self.listen, args=(pipe,), daemon=True)
        self.thread.start()

    @staticmethod
    def prepare(cpu):
        """@cpu: None = any."""
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the bench

    def listen(self, pipe):
        for line in pipe:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()
        with self.news:
            self.lines.append(None)
            self.news.notify_all()

    def wait_for(self, pattern, start=0, seconds=READY_SECONDS):
        """The first match in the lines from @start on."""
        end = time.monotonic() + seconds
        with self.news:
            at = start
            while True:
                for at in range(at, len(self.lines)):
                    line = self.lines[at]
                    if line is None:
                        raise Failed(f'{" ".join(self.argv)} ended: ' +
                                     ''.join(l for l in self.lines if l).strip()[-300:])
                    m = re.search(pattern, line)
                    if m:
                        return m
                at = len(self.lines)
                if not self.news.wait(end - time.monotonic()):
                    raise Failed(f'{" ".join(self.argv)} does not answer')

    def tell(self, line):
        start = len(self.lines)
        self.proc.stdin.write(line + '\n')
        self.proc.stdin.flush()
        return start

    def ask(self, line, seconds=READY_SECONDS):
        """One line of JSON for a line."""
        return json.loads(self.wait_for(r'^\{.*\}', self.tell(line), seconds)[0])

    def cpu_ns(self):
        """CPU time of all its threads, and time they waited for a CPU."""
        used = waited = 0
        tasks = f'/proc/{self.proc.pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/schedstat') as f:
                words = f.read().split()
            used, waited = used + int(words[0]), waited + int(words[1])
        return used, waited

    def end(self, by=signal.SIGINT):
        if self.proc.poll() is None and by:
            self.proc.send_signal(by)
        if self.proc.stdin:
            self.proc.stdin.close()
        try:
            self.proc.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.thread.join(1)


def run(*argv):
    """For its effect; what goes wrong is said in its own words."""
    p = subprocess.run(argv, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if p.returncode:
        raise Failed(f'{" ".join(argv)}: {p.stderr.strip()[-300:] or p.returncode}')


class Place:
    """A network namespace that a sleeping child holds."""

    def __init__(self):
        self.holder = subprocess.Popen(['unshare', '-n', 'sleep', '3600'],
                                       preexec_fn=lambda: Program.prepare(0))
        host = os.readlink('/proc/self/ns/net')
        while os.readlink(f'/proc/{self.holder.pid}/ns/net') == host:
            time.sleep(0.01)
        self.run('ip', 'link', 'set', 'lo', 'up')

    def words(self, *argv):
        return ['nsenter', f'--net=/proc/{self.holder.pid}/ns/net', *argv]

    def run(self, *argv):
        run(*self.words(*argv))

    def end(self):
        self.holder.kill()
        self.holder.wait()


class Lab:
    """A network namespace with a veth pair, and the generator at one end of it."""

    def __init__(self, build, flows):
        self.build, self.flows = build, flows
        cpus = sorted(os.sched_getaffinity(0))
        self.flood_cpu, self.reader_cpu = cpus[1 % len(cpus)], cpus[0]
        self.tx, self.rx = f'wt{os.getpid()}', f'wr{os.getpid()}'
        self.flood, self.retries_left = None, RETRY_SECONDS

    def path(self, program):
        if program == 'weir':
            return f'{self.build}/weir'
        ours = f'{self.build}/bench/{program}'
        return ours if os.path.exists(ours) else program

    def __enter__(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise Failed('cannot make a network namespace: run as root')
        self.add_pair(self.tx, self.rx)
        # Live frames need a receiver with NAPI; GRO switches it on without XDP.
        run('ethtool', '-K', self.rx, 'gro', 'on')
        self.flood = Program([self.path('flood'), self.tx, str(self.flows), str(SIZE)] +
                             self.flood_words(), self.flood_cpu, 'stdout')
        return self

    def __exit__(self, *exc):
        if self.flood:
            self.flood.end(None)

    def flood_words(self):
        """More words for the generator."""
        return []

    @staticmethod
    def add_pair(a, b):
        run('ip', 'link', 'add', a, 'type', 'veth', 'peer', 'name', b)
        for dev in a, b:
            with open(f'/proc/sys/net/ipv6/conf/{dev}/disable_ipv6', 'w') as f:
                f.write('1')
            run('ip', 'link', 'set', dev, 'up')

    def received(self):
        with open('/proc/net/dev') as f:
            for line in f:
                if line.strip().startswith(self.rx + ':'):
                    return int(line.split()[2])
        return 0

    def send(self, pps, seconds):
        """Flood; returns packets received, and the seconds it took."""
        before = self.received()
        start = self.flood.tell(f'{pps:.0f} {seconds:.3f}')
        m = self.flood.wait_for(r'^\{.*\}', start)
        return self.received() - before, json.loads(m[0])['seconds']

    def least_disturbed(self, once):
        """Somebody else's work on the CPUs is not ours to measure: try again then."""
        runs = []
        while not runs or (len(runs) < TRIES and runs[-1]['disturbed'] > DISTURBED and
                           self.retries_left > 0):
            start = time.monotonic()
            runs.append(once())
            if len(runs) > 1:
                self.retries_left -= time.monotonic() - start
        return min(runs, key=lambda r: r['disturbed'])


# ---- What BPF programs cost, by the kernel's own clock

def bpf(command, number):
    """A call whose attributes begin with @number; returns a descriptor."""
    attr = ctypes.create_string_buffer(struct.pack('I', number), 128)
    fd = ctypes.CDLL(None, use_errno=True).syscall(NR_BPF[platform.machine()], command, attr, 128)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, f'bpf({command}): {os.strerror(code)}')
    return fd


class Stats:
    """While it is open the kernel adds up how long each BPF program runs."""

    def __enter__(self):
        self.fd = bpf(BPF_ENABLE_STATS, 0)
        return self

    def __exit__(self, *exc):
        os.close(self.fd)


def held(pid):
    """The BPF programs of a process, by its descriptors: others load theirs meanwhile."""
    ids = set()
    for fd in os.listdir(f'/proc/{pid}/fdinfo'):
        with contextlib.suppress(OSError), open(f'/proc/{pid}/fdinfo/{fd}') as f:
            ids.update(int(line.split()[1]) for line in f if line.startswith('prog_id:'))
    return ids


def run_times(ids):
    """By program: the ns that it ran so far, and how often."""
    times = {}
    for i in ids:
        with contextlib.suppress(OSError):
            fd = bpf(BPF_PROG_GET_FD_BY_ID, i)
            with open(f'/proc/self/fdinfo/{fd}') as f:
                words = dict(line.split(None, 1) for line in f)
            os.close(fd)
            times[i] = int(words['run_time_ns:']), int(words['run_cnt:'])
    return times


# ---- What is said about it

def spread(values):
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def pairs(a, b, fn):
    """@fn over the rounds: only what ran next to each other is compared."""
    return spread([fn(x, y) for x, y in zip(a, b)])


def judge(wanted_figures, results):
    rows = []
    for figure, sign, wanted, unit, measure in wanted_figures:
        try:
            got = measure(results)
        except (statistics.StatisticsError, ValueError):
            continue  # not part of this run
        reached = got['median'] >= wanted if sign == '>=' else got['median'] <= wanted
        rows.append({'figure': figure, 'sign': sign, 'wanted': wanted, 'unit': unit, **got,
                     'reached': reached})
    return rows


def table(head, rows):
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    line = lambda r: '| ' + ' | '.join(c.ljust(w) for c, w in zip(r, widths)) + ' |'
    print(line(head))
    print('|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    for r in rows:
        print(line(r))
    print()


def number(s, form):
    return f'{s["median"]:{form}} ({s["min"]:{form}}-{s["max"]:{form}})'


def mpps(values):
    return number(spread([v / 1e6 for v in values]), '.2f')


def print_wanted(rows):
    form = {'x': '.2f', 'ns': '.0f', 's': '.2f', 'ms': '.1f', '%': '.1f'}
    if rows:
        table(['figure', 'wanted', 'measured: median (min-max)', 'reached'],
              [[w['figure'], f'{w["sign"]} {w["wanted"]} {w["unit"]}', number(w, form[w['unit']]),
                'yes' if w['reached'] else 'no'] for w in rows])


def first_line(*argv):
    try:
        p = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return p.stdout.splitlines()[0].strip() if p.stdout else ''
    except OSError:
        return ''


def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return ''


def machine(lab):
    cpuinfo = read('/proc/cpuinfo')
    model = re.search(r'model name\s*: (.*)', cpuinfo)
    return {
        'kernel': platform.release(), 'arch': platform.machine(), 'cpus': os.cpu_count(),
        'cpu': model[1] if model else '', 'hypervisor': ' hypervisor' in cpuinfo,
        'clocksource': read('/sys/devices/system/clocksource/clocksource0/current_clocksource'),
        'bpf_jit': read('/proc/sys/net/core/bpf_jit_enable'),
        'load_before': read('/proc/loadavg'),
        'flood_cpu': lab.flood_cpu, 'reader_cpu': lab.reader_cpu,
        'weir': first_line(lab.path('weir'), 'version'),
    }


def cpu_times():
    words = read('/proc/stat').split('\n')[0].split()[1:]
    return [int(w) for w in words]


def progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def write_result(path, document, began, before):
    """As JSON, and where it is; @before: cpu_times() when the bench began."""
    used = [b - a for a, b in zip(before, cpu_times())]
    facts = document['machine']
    facts['steal_percent'] = round(100 * used[7] / max(sum(used[:8]), 1), 1)
    document.update(began=int(began), seconds=round(time.time() - began))
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'w') as f:
        json.dump(document, f, indent=1)
        f.write('\n')
    print(f'{document["seconds"]} s; {facts["kernel"]}, {facts["cpus"]} CPUs {facts["cpu"]}, '
          f'stolen {facts["steal_percent"]} %; everything is in {path}')
