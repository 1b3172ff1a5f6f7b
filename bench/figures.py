"""A measured figure beside those of its peers, and the one table that `make bench` prints."""

# ruff: noqa: T201

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NAME_WIDTH = 58


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, in which unit, against whom, and whether the target holds."""

    name: str
    unit: str
    ours: float
    target: str
    holds: bool
    peers: Mapping[str, float | None] = field(default_factory=dict)  # None: the peer could not be run
    ratio: float | None = None


def print_figures(figures: Sequence[Figure]) -> None:
    """The table; a line a figure, and one more for each of its peers."""
    print(f"{'figure':{NAME_WIDTH}}{'Punctual':>14}  {'peer':34}{'ratio':>9}  {'target':38}holds")
    for figure in figures:
        ours = f"{_number(figure.ours)} {figure.unit}".strip()
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        peers = [_describe(name, value, figure.unit) for name, value in figure.peers.items()] or [""]
        holds = "yes" if figure.holds else "NO"
        print(f"{figure.name:{NAME_WIDTH}}{ours:>14}  {peers[0]:34}{ratio:>9}  {figure.target:38}{holds}")
        for peer in peers[1:]:
            print(f"{'':{NAME_WIDTH + 16}}{peer}")


def all_hold(figures: Sequence[Figure]) -> bool:
    """Whether every target is met."""
    return all(figure.holds for figure in figures)


def _describe(peer: str, value: float | None, unit: str) -> str:
    return f"{peer} not run" if value is None else f"{peer} {_number(value)} {unit}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
