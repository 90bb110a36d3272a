# SPDX-License-Identifier: GPL-2.0-only
"""The text format of Prometheus, read strictly: what `promtool check metrics` refuses or
warns of is an error here."""

import re

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
SERIES = re.compile(rf"^({NAME})(?:\{{(.*)\}})? (\S+)$")
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def labels_of(text):
    found, at = {}, 0
    while text and at < len(text):
        m = LABEL.match(text, at)
        assert m, f"labels: {text!r}"
        assert m[1] not in found, f"twice: {text!r}"
        found[m[1]] = re.sub(r"\\(.)", lambda x: "\n" if x[1] == "n" else x[1], m[2])
        at = m.end()
    return found


def parse(text, prefix):
    """{(name, ((label, value), ...)): number}; every family has its head, once, and its
    series together."""
    assert text.endswith("\n")
    kinds, series, family, helped, found = {}, {}, None, set(), set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, text_ = line.split(" ", 3)
            assert name not in helped and text_.strip() == text_ and text_
            helped.add(name)
            family = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and name not in kinds and kind in ("counter", "gauge", "histogram")
            assert (kind == "counter") == name.endswith("_total"), name
            assert name.startswith(prefix) and name == name.lower()
            kinds[name] = kind
        else:
            m = SERIES.match(line)
            assert m, f"no series: {line!r}"
            histogram = kinds.get(family) == "histogram"
            of = re.sub("_(bucket|sum|count)$", "", m[1]) if histogram else m[1]
            assert of == family and of in kinds, f"not of its family: {line!r}"
            key = (m[1], tuple(sorted(labels_of(m[2] or "").items())))
            assert key not in series, f"twice: {line!r}"
            series[key] = float(m[3]) if histogram else int(m[3])
            found.add(of)
    assert found == set(kinds), "a head without series"
    for name in [n for n in kinds if kinds[n] == "histogram"]:
        check_histogram(series, name)
    return series


def check_histogram(series, name):
    """Of each set of labels: buckets in order, without a step down, the last one with
    everything."""
    sets = {tuple(label for label in labels if label[0] != "le")
            for of, labels in series if of == f"{name}_bucket"}
    for labels in sets:
        buckets = [(float(dict(of_)["le"]), n) for (of, of_), n in series.items()
                   if of == f"{name}_bucket" and {*of_} - {*labels} == {("le", dict(of_)["le"])}]
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert [n for _, n in buckets] == sorted(n for _, n in buckets)
        assert buckets[-1][1] == series[(f"{name}_count", labels)]
        assert (f"{name}_sum", labels) in series


def value(series, name, **labels):
    return series[(name, tuple(sorted(labels.items())))]
