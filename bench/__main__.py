"""Every benchmark, one after the other, and one table of all their figures. `python -m bench [NAME …]`."""

# ruff: noqa: T201

import importlib
import platform
import sys
import time

from bench.figures import Figure, all_hold, print_figures

BENCHMARKS = ("recurrence", "fire", "lateness", "growth", "import", "memory", "crash")


def main(wanted: list[str]) -> int:
    """Run those benchmarks, all where none is named; 1 when a target is missed."""
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        print(f"there is no benchmark {unknown[0]}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in wanted or BENCHMARKS:
        print(f"measuring {name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        figures += importlib.import_module(f"bench.{name}").measure()
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"Python {platform.python_version()}, {platform.machine()}, the embedded Postgres with fsync on; medians")
    print_figures(figures)
    return 0 if all_hold(figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
