"""Figures of several processes, each of which measured its share of the objects, as one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

Table = dict[str, float]
Groups = dict[str, Table]  # figures by group, such as "fc" or "env against truth"


class Part(TypedDict):
    """What one process measured: how many objects of each set, the sets' figures by group, and is that all of it?"""

    objects: dict[str, int]
    figures: dict[str, Groups]
    whole: bool


def as_markdown(sets: dict[str, Groups]) -> str:
    """One table: a line per figure, in the order in which the sets have them, a column per set of objects."""
    names = list(sets)
    lines = [f"| figure | {' | '.join(names)} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    groups = dict.fromkeys(group for of_set in sets.values() for group in of_set)
    for group in groups:
        for figure in dict.fromkeys(figure for of_set in sets.values() for figure in of_set.get(group, {})):
            values = [sets[name].get(group, {}).get(figure) for name in names]
            cells = ["" if value is None else f"{value:.1f}" if abs(value) >= 5 else f"{value:.3f}" for value in values]
            lines.append(f"| {group}: {figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def joined(parts: Sequence[Part]) -> dict[str, Groups]:
    """The figures of all objects from those of the parts: means, each part weighed by its objects.

    Figures that only some parts have (the autoencoder's) are those parts' means.
    """
    sums: dict[tuple[str, str, str], tuple[float, int]] = {}
    for part in parts:
        for name, groups in part["figures"].items():
            for group, table in groups.items():
                for figure, value in table.items():
                    total, count = sums.get((name, group, figure), (0.0, 0))
                    weight = part["objects"][name]
                    sums[name, group, figure] = total + weight * value, count + weight
    sets: dict[str, Groups] = {}
    for (name, group, figure), (total, count) in sums.items():
        sets.setdefault(name, {}).setdefault(group, {})[figure] = total / count
    return sets


def write(out: Path, number: int, parts: int, measured: Part) -> str | None:
    """Keep the figures of part `number` of `parts` in the folder `out`; once all parts are there and whole, the table,
    which is written beside them.
    """
    path = out / f"part-{number}-of-{parts}.json"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(measured, indent=1))
    partial.replace(path)
    paths = [out / f"part-{k}-of-{parts}.json" for k in range(parts)]
    every: list[Part] = [json.loads(one.read_text()) for one in paths if one.is_file()]
    sets = joined(every)
    # Written as it grows: a set takes many minutes, and what is known is not lost with the next.
    (out / "figures.json").write_text(json.dumps(sets, indent=1))
    (out / "table.md").write_text(as_markdown(sets))
    return as_markdown(sets) if len(every) == parts and all(part["whole"] for part in every) else None
