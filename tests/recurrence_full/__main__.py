"""The long run: `python -m tests.recurrence_full [--cases 210000] [--seed 1] [--processes 2]`."""

# ruff: noqa: T201

import argparse
import os
import sys
import time
from importlib.metadata import version
from multiprocessing import Pool

from tests.recurrence_full.comparison import COMPARED, Tally, compare_cron, compare_simple

CASES = 210_000
CHUNK = 250
SIMPLE_EVERY = 4  # one chunk in four is of the daily, weekly and monthly types
SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recurrence_full", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="(schedule, zone, start) triples")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()

    began = time.monotonic()
    total = Tally()
    chunks = [(options.seed, number) for number in range(-(-options.cases // CHUNK))]
    with Pool(options.processes) as pool:
        for done, tally in enumerate(pool.imap_unordered(_compare, chunks), start=1):
            total.add(tally)
            if done % 80 == 0:
                print(
                    f"  {done * CHUNK:>7,} triples, {len(total.differences)} differences", file=sys.stderr, flush=True
                )

    for reading, count in sorted(total.cases.items()):
        print(f"{count:>9,}  {reading}")
    print(
        f"{total.cases.total():>9,}  (schedule, zone, start) triples, up to {COMPARED} occurrences each: "
        f"{total.instants:,} instants compared in {time.monotonic() - began:.0f} s"
    )
    print(
        f"{len(total.differences):>9,}  differences (seed {options.seed}, cronsim {version('cronsim')}, "
        f"tzdata {version('tzdata')})"
    )
    for difference in total.differences[:SHOWN]:
        print(f"  {difference}")
    return 1 if total.differences else 0


def _compare(chunk: tuple[str, int]) -> Tally:
    seed, number = chunk
    compare = compare_simple if number % SIMPLE_EVERY == 0 else compare_cron
    return compare(f"{seed}/{number}", CHUNK)


if __name__ == "__main__":
    sys.exit(main())
