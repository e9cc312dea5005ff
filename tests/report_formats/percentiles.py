"""Reads latency.hlog of a run folder with another HDR implementation and holds it against summary.csv."""

import csv
import pathlib
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HOUR_NS = 3_600_000_000_000
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}

folder = pathlib.Path(sys.argv[1])
with open(folder / "summary.csv", newline="") as file:
    (summary,) = csv.DictReader(file)

sums = {tag: HdrHistogram(1, HOUR_NS, 3) for tag in ("response", "service", "lag")}
intervals = 0
reader = HistogramLogReader(str(folder / "latency.hlog"), HdrHistogram(1, HOUR_NS, 3))
while (interval := reader.get_next_interval_histogram()) is not None:
    sums[interval.get_tag()].add(interval)
    intervals += 1

for tag, histogram in sums.items():
    for name, percentile in PERCENTILES.items():
        found = (histogram.get_value_at_percentile(percentile) + 500) // 1000
        said = int(summary[f"{tag}_{name}_us"])
        assert found == said, f"{tag} {name}: {found} in latency.hlog, {said} in summary.csv"
    highest = (histogram.get_max_value() + 500) // 1000
    assert highest == int(summary[f"{tag}_max_us"]), f"{tag} max: {highest}"

print(f"{intervals} intervals, {sums['response'].get_total_count()} responses, {sums['lag'].get_total_count()} lags")
