# SPDX-License-Identifier: GPL-2.0-only
"""Network tests: root, private namespaces, real packets."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import lab  # noqa: E402


def why_not():
    if os.geteuid() != 0:
        return "network tests need root: they make network namespaces"
    if not os.access(lab.WEIR, os.X_OK):
        return f"{lab.WEIR} is not built: run `make build`"
    return None


def interrupted(*_):
    """Told to stop: as by Ctrl-C, so that everything is cleaned up."""
    raise KeyboardInterrupt


def pytest_sessionstart():
    signal.signal(signal.SIGTERM, interrupted)
    # In the background it was ignored, and would be by all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if why_not():
        return
    # What a run that was killed could not remove. The names carry its process id.
    for line in lab.sh("ip", "netns", "list").stdout.splitlines():
        match = re.match(r"(weir(\d+)-\d+)\b", line)
        if match and not Path(f"/proc/{match[2]}").exists():
            lab.sh("ip", "netns", "del", match[1], check=False)


def pytest_collection_modifyitems(items):
    reason = why_not()
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def pair():
    """A quiet pair: no addresses, nothing on the wire but what the test sends."""
    p = lab.Pair()
    yield p
    p.remove()


@pytest.fixture(scope="module")
def hosts():
    """A pair with addresses: 10.77.0.1/.2 and fd77::1/::2."""
    p = lab.Pair(addresses=True)
    yield p
    p.remove()


@pytest.fixture(autouse=True)
def no_watch_left():
    """A test that fails leaves no weir behind."""
    yield
    for watch in list(lab._watches.values()):
        watch.kill()


@pytest.fixture(scope="session")
def flood(tmp_path_factory):
    """The generator of floods, compiled."""
    return lab.compile_c("flood.c", tmp_path_factory.mktemp("flood"))
