# SPDX-License-Identifier: GPL-2.0-only
"""Network tests: root, private namespaces, real packets."""

import os
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
