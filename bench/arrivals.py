#!/usr/bin/env python3
"""How far arrivals are from the schedule t0 + i / RATE.

    arrivals.py --rate 1000 FILE...

FILE is what bare/arrivals wrote: `<request id> <ns>` a line. Arrivals are judged in the order in which they came, from one second
after the first (a tenth, if all last less than three) to 0.2 s before the last. t0 is fitted: the median deviation is zero, so
a constant way from sender to sink does not count. Several files are several runs: the median of each figure is printed too.
"""
import argparse
import statistics
import sys


def read(path):
    with open(path, encoding="ascii") as lines:
        rows = [tuple(map(int, line.split())) for line in lines]
    rows.sort(key=lambda row: row[1])
    return rows


def percentile(ordered, p):
    return ordered[min(len(ordered) - 1, int(p / 100 * len(ordered)))]


def judge(rows, rate):
    first, last = rows[0][1], rows[-1][1]
    lead_in = 1e9 if last - first > 3e9 else (last - first) / 10
    picked = [(n, at) for n, (_, at) in enumerate(rows) if first + lead_in <= at <= last - 2e8]
    if len(picked) < 10:
        raise ValueError(f"only {len(picked)} arrivals to judge")
    # In whole nanoseconds: a float of a wall clock time has no more than 0.25 µs.
    off = [at - first - n * 1_000_000_000 // rate for n, at in picked]
    middle = statistics.median_low(off)
    deviations = sorted(abs(d - middle) / 1e3 for d in off)
    spans = [b[1] - a[1] for a, b in zip(picked, picked[1:])]
    ideal = 1e9 / rate
    seen = (len(picked) - 1) / (picked[-1][1] - picked[0][1]) * 1e9
    by_number = [n for n, _ in rows]
    return {
        "arrived": len(rows),
        "rate_error_%": (seen / rate - 1) * 100,
        "dev_p50_us": percentile(deviations, 50),
        "dev_p99_us": percentile(deviations, 99),
        "dev_max_us": deviations[-1],
        "bunched_%": 100 * sum(span < ideal / 20 for span in spans) / len(spans),
        "out_of_order": sum(b < a for a, b in zip(by_number, by_number[1:])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, required=True, help="requests per second of the schedule")
    parser.add_argument("--name", default="", help="what stands in front of each line")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    results = []
    for path in args.files:
        rows = read(path)
        if len(rows) < 2:
            sys.exit(f"error: {path} holds {len(rows)} arrivals")
        try:
            results.append(judge(rows, args.rate))
        except ValueError as error:
            sys.exit(f"error: {path}: {error}")
    columns = list(results[0])
    show = lambda figures: "  ".join(f"{c}={figures[c]:.4f}" if "%" in c else f"{c}={figures[c]:.6g}" for c in columns)
    for result in results:
        print(f"{args.name} {args.rate}/s  {show(result)}".strip())
    if len(results) > 1:
        medians = {c: statistics.median(r[c] for r in results) for c in columns}
        print(f"{args.name} {args.rate}/s  median of {len(results)}: {show(medians)}".strip())


if __name__ == "__main__":
    main()
