"""Reads metrics with the reference parser of Prometheus, and holds names and numbers against its conventions."""

import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

BASE_UNITS = {"seconds", "bytes", "ratio"}
NOT_BASE = re.compile(r"_(milliseconds|ms|us|micros|minutes|hours|percent|kilobytes)(_|$)")

with open(sys.argv[1]) as file:
    families = list(text_string_to_metric_families(file.read()))

for family in families:
    name = family.name
    assert re.fullmatch(r"runner_[a-z0-9_]+", name), name
    assert family.documentation, f"{name} has no help"
    assert not NOT_BASE.search(name), f"{name} has no base unit"
    assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_info")), f"{name} ends with a suffix"
    if family.unit:
        assert family.unit in BASE_UNITS and name.endswith("_" + family.unit), name
    assert family.samples, f"{name} has no sample"
    for sample in family.samples:
        assert len(sample.labels) <= 5, sample
        if family.type in ("counter", "histogram"):
            assert sample.value >= 0, sample
    if family.type == "histogram":
        counts = {}
        for sample in family.samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
            if sample.name.endswith("_bucket") and sample.labels["le"] == "+Inf":
                counts.setdefault(labels, []).append(sample.value)
            if sample.name.endswith("_count"):
                counts.setdefault(labels, []).append(sample.value)
        assert counts and all(len(pair) == 2 and pair[0] == pair[1] for pair in counts.values()), counts
    print(family.type, name)
print("fine")
