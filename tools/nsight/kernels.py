#!/usr/bin/env python3
"""Prints a table of kernels from the raw page of an Nsight Compute report.

    kernels.py REPORT.csv    of `ncu --import FILE --page raw --csv --print-units base`
    kernels.py --metrics     the metrics that it reads, for ncu --metrics

One line per kernel and launch shape, by time: launches, microseconds (median, all together, share), bytes
that went to and from DRAM, GB/s, and what ncu calls the shares of the peaks of DRAM and of the multiprocessors.
"""
import csv
import statistics
import sys

TIME, BYTES = "gpu__time_duration.sum", "dram__bytes.sum"
DRAM = "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed"
SM = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
METRICS = [TIME, BYTES, DRAM, SM]


def fail(text):
    sys.exit(f"kernels.py: {text}")


def number(row, column, place):
    text = row[column].replace(",", "")
    try:
        return float(text)
    except ValueError:
        fail(f"{place}: {column} is '{row[column]}', a number expected")


def read(path):
    """Launches by (kernel, grid, block): a list of {metric: value} each."""
    with open(path, newline="") as file:
        # ncu's own messages (==PROF==) may stand in front.
        lines = [line for line in file if not line.startswith("==")]
    rows = csv.DictReader(lines)
    missing = [c for c in ["Kernel Name", "Grid Size", "Block Size", *METRICS] if c not in (rows.fieldnames or [])]
    if missing:
        fail(f"{path}: no column {', '.join(missing)}; kernels.sh shows how to make the file")
    units = next(rows, None)
    if units is None:
        fail(f"{path}: no kernels were measured")
    if (units[TIME], units[BYTES]) not in {("nsecond", "byte"), ("ns", "byte")}:
        fail(f"{path}: units are {units[TIME]} and {units[BYTES]}; use --print-units base")
    launches = {}
    for at, row in enumerate(rows, 3):
        key = (row["Kernel Name"], row["Grid Size"], row["Block Size"])
        launches.setdefault(key, []).append({m: number(row, m, f"{path}:{at}") for m in METRICS})
    if not launches:
        fail(f"{path}: no kernels were measured")
    return launches


def main():
    if sys.argv[1:] == ["--metrics"]:
        print(",".join(METRICS))
        return
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    launches = read(sys.argv[1])
    spent = {key: sum(one[TIME] for one in all_) for key, all_ in launches.items()}
    whole = sum(spent.values()) or 1.0
    print(f"{'kernel':<44} {'grid':>18} {'block':>14} {'launches':>8} {'us':>10} {'all us':>11} {'share':>6} "
          f"{'MB':>9} {'GB/s':>7} {'DRAM':>6} {'SM':>6}")
    for key in sorted(spent, key=spent.get, reverse=True):
        name, grid, block = key
        mid = {m: statistics.median(one[m] for one in launches[key]) for m in METRICS}
        rate = mid[BYTES] / mid[TIME] if mid[TIME] else 0.0
        print(f"{name[:44]:<44} {grid.replace(' ', ''):>18} {block.replace(' ', ''):>14} {len(launches[key]):>8} "
              f"{mid[TIME] / 1e3:>10.2f} {spent[key] / 1e3:>11.1f} {100 * spent[key] / whole:>5.1f}% "
              f"{mid[BYTES] / 1e6:>9.3f} {rate:>7.1f} {mid[DRAM]:>5.1f}% {mid[SM]:>5.1f}%")


if __name__ == "__main__":
    main()
