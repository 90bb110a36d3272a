# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --capture dpdk`: for builds with -Ddpdk=enabled (tests/run dpdk)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "net"))
import lab  # noqa: E402


def why_not():
    if os.geteuid() != 0:
        return "needs root: it makes network namespaces"
    if not os.access(lab.WEIR, os.X_OK):
        return f"{lab.WEIR} is not built"
    usage = subprocess.run([lab.WEIR, "watch", "--help"], capture_output=True, text=True,
                           check=True).stdout
    return None if "--dpdk-args" in usage else f"{lab.WEIR} is built without -Ddpdk=enabled"


def pytest_collection_modifyitems(items):
    why = why_not()
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))
