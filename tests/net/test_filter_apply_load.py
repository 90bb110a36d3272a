# SPDX-License-Identifier: GPL-2.0-only
"""Applies of a large policy under traffic: each packet is judged by the one policy or
by the other, never by half of one, and none is lost. WEIR_LONG=1 applies 1,000
times, WEIR_APPLIES=N as often as that."""

import os
import random

import pytest

import filters
import lab

PREFIXES = 100_000
APPLIES = int(os.environ.get("WEIR_APPLIES") or (1000 if os.environ.get("WEIR_LONG") else 60))


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    """100,000 prefixes, one of which the traffic comes from."""
    r = random.Random(7)
    path = tmp_path_factory.mktemp("feed") / "feed"
    with open(path, "w", encoding="ascii") as f:
        f.write(f"{filters.Crossfire.BAD}\n")
        for _ in range(PREFIXES * 3 // 4):  # none in 10.0.0.0/8, from where the rest comes
            f.write(f"{r.randrange(11, 224)}.{r.randrange(256)}.{r.randrange(256)}."
                    f"{r.randrange(256)}\n")
        for _ in range(PREFIXES // 4):
            f.write(f"2001:db8:{r.randrange(65536):x}:{r.randrange(65536):x}::/64\n")
    return path


@pytest.mark.parametrize("mode,applies", [("native", APPLIES // 2), ("generic", APPLIES // 4),
                                          ("tc", APPLIES // 4)])
def test_applies_under_traffic(feed, tmp_path, mode, applies):
    pair = lab.Pair(host=True)
    weir_filter = filters.Filter(pair.b)
    try:
        files = []
        for first in (True, False):
            files.append(tmp_path / f"policy{first}")
            files[-1].write_text(filters.Crossfire.policy(
                first, filters.interface_line("vb", mode), feed))
        weir_filter("apply", files[0])
        attached, pinned = weir_filter.attached(), len(weir_filter.pinned())
        # At tc the tap would be in front of the filter: there the rules tell alone.
        fire = filters.Crossfire(weir_filter, pair.a, pair.b, behind=mode != "tc")
        for n in range(applies):
            weir_filter("apply", files[(n + 1) % 2])
        volleys = fire.cease(applies)
        assert volleys > applies
        assert weir_filter.attached() == attached
        # What was in force before is gone, and its memory with it.
        assert len(weir_filter.pinned()) == pinned
    finally:
        weir_filter.remove()
        pair.remove()
