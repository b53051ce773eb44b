"""The outcome of an evaluation: one row an object, averages by group, and the files made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ..export.atomic import atomic_path
from .jitter import IndexBox


@dataclass(frozen=True)
class ObjectScore:
    """One object of one case, segmented once.

    Attributes:
        voxels: size of the truth.
        box: about the object, as it was drawn or would have been, as half-open index ranges in array order (k, j, i).
        dice, nsd, hd95: see ``metrics.Agreement``.
        seconds: wall-clock time of this object, or of its latest click; the first of a scan carries what the method
            prepares once.
        clicks: made on the mask before.
    """

    case: str
    group: str
    object: str
    voxels: int
    box: IndexBox
    dice: float
    nsd: float | None
    hd95: float | None
    seconds: float
    clicks: int = 0


@dataclass(frozen=True)
class GroupSummary:
    """Averages over the objects of a group; ``nsd`` is ``None`` where no object has a surface score."""

    group: str
    count: int
    dice: float
    dice_median: float
    dice_worst: float
    nsd: float | None
    seconds: float


@dataclass(frozen=True)
class Report:
    """All scores of one method, with the settings that produced them.

    ``complete`` is ``False`` when the run was cancelled before its last object; ``clicks`` were made on every object
    after ``prompt`` was drawn (`drawn.py`).
    """

    method: str
    manifest: str
    jitter: int
    seed: int
    tolerance_mm: float
    scores: tuple[ObjectScore, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    complete: bool = True
    clicks: int = 0
    prompt: str = "box"

    @property
    def title(self) -> str:
        """The method, and how often it was corrected."""
        made = "" if not self.clicks else f", {self.clicks} click{'s' if self.clicks > 1 else ''}"
        return self.method + made

    def groups(self) -> list[GroupSummary]:
        """Summaries in the order in which the groups first appear."""
        return [
            summarise(name, [score for score in self.scores if score.group == name])
            for name in dict.fromkeys(score.group for score in self.scores)
        ]

    def group(self, name: str) -> GroupSummary:
        """The summary of one group; ``KeyError`` when the report has no object of it."""
        for summary in self.groups():
            if summary.group == name:
                return summary
        raise KeyError(name)

    def mean_dice(self) -> float:
        """Mean of the group means, so that a group with many small objects does not outweigh the others."""
        return fmean(summary.dice for summary in self.groups())

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: settings, group summaries, objects."""
        return {
            "method": self.method,
            "manifest": self.manifest,
            "prompt": self.prompt,
            "jitter": self.jitter,
            "clicks": self.clicks,
            "seed": self.seed,
            "tolerance_mm": self.tolerance_mm,
            "settings": self.settings,
            "complete": self.complete,
            "groups": [asdict(summary) for summary in self.groups()],
            "objects": [asdict(score) for score in self.scores],
        }


def write_json(reports: Sequence[Report], path: str | Path) -> None:
    """Everything, for programs.  Raises ``OutputError``."""
    with atomic_path(path) as temporary:
        content = {"reports": [report.as_dict() for report in reports]}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_csv(reports: Sequence[Report], path: str | Path) -> None:
    """One line an object and report; the box as ``k0:k1/j0:j1/i0:i1``.  Raises ``OutputError``."""
    names = [item.name for item in fields(ObjectScore)]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["method", "jitter", "seed", *names])
        for report in reports:
            for score in report.scores:
                row = asdict(score)
                row["box"] = "/".join(f"{low}:{high}" for low, high in score.box)
                values = ("" if row[name] is None else row[name] for name in names)
                writer.writerow([report.method, report.jitter, report.seed, *values])


def summarise(name: str, scores: Sequence[ObjectScore]) -> GroupSummary:
    """Averages of a non-empty list of scores."""
    overlaps = [score.dice for score in scores]
    surfaces = [score.nsd for score in scores if score.nsd is not None]
    return GroupSummary(
        name,
        len(scores),
        fmean(overlaps),
        median(overlaps),
        min(overlaps),
        fmean(surfaces) if surfaces else None,
        fmean(score.seconds for score in scores),
    )
