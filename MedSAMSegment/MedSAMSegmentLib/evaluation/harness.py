"""Run a method over the cases of a manifest and score what it returns.

A method is any callable ``method(volume, boxes)``: it gets one scan and all boxes drawn on it and returns (or, to have
every object timed on its own, yields) one boolean ``(k, j, i)`` mask a box, in order.  Models, sessions and the
classical baselines all look like this, so a training script can hand over a plain function::

    cases = load_cases(load_manifest("cases.json"))
    report = evaluate(cases, my_function, jitter=5, seed=1)
    print(report.mean_dice(), report.group("CT organ").dice)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import InferenceError, InputError
from ..volume import OrientedBox, Volume, read_volume
from .jitter import IndexBox, jittered_box, tight_box
from .labels import read_labels
from .manifest import Case, Manifest, TruthObject
from .metrics import agreement
from .report import ObjectScore, Report


class Method(Protocol):
    """Something that turns boxes on a scan into masks."""

    def __call__(self, volume: Volume, boxes: Sequence[OrientedBox], /) -> Iterable[np.ndarray]: ...


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory: the scan and its label map on the same grid."""

    case: Case
    manifest_name: str
    volume: Volume
    labels: np.ndarray

    def truth(self, item: TruthObject) -> np.ndarray:
        """Boolean mask ``(k, j, i)`` of one object.  Raises ``InputError`` (``EMPTY_OBJECT``) when it has no voxel."""
        mask = self.labels == item.labels[0]
        for value in item.labels[1:]:
            mask |= self.labels == value
        if not mask.any():
            raise InputError(
                "EMPTY_OBJECT",
                f"{self.case.name}: no voxel has the label of {item.name!r}.",
                "Correct the labels in the manifest.",
            )
        return mask


@dataclass(frozen=True)
class Observation:
    """What an observer of an evaluation gets for every object: the score with the arrays behind it."""

    loaded: LoadedCase
    score: ObjectScore
    truth: np.ndarray
    mask: np.ndarray


def load_cases(manifest: Manifest) -> list[LoadedCase]:
    """Read all cases, to evaluate several times without reading again."""
    return list(_read_cases(manifest))


def evaluate(
    cases: Manifest | Sequence[LoadedCase],
    method: Method,
    *,
    jitter: int = 0,
    seed: int = 0,
    tolerance_mm: float = 2.0,
    surfaces: bool = True,
    name: str = "",
    settings: dict[str, Any] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    observer: Callable[[Observation], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Report:
    """Segment every object of every case from its box and score the masks.

    Args:
        cases: a manifest (read case by case, little memory) or cases read before.
        method: see the module's docstring.
        jitter: largest shift of the in-plane box sides, voxels; 0 gives tight boxes.
        seed: of the jitter.
        tolerance_mm: of the normalised surface Dice.
        surfaces: ``False`` skips the surface distances (Dice only, much faster).
        name: of the method in the report; default the callable's own name.
        settings: stored in the report, for whoever reads it later.
        progress: called as ``progress(objects done, objects of all, case name)`` after every object.
        observer: called after every object.
        cancel: asked after every object; ``True`` ends the run, and the report is marked incomplete.

    Raises:
        InputError: a case cannot be read, or the label map does not fit the image.
        InferenceError: ``BAD_MASK`` when the method returns something that is not a mask of the scan.
    """
    manifest_name = cases.name if isinstance(cases, Manifest) else (cases[0].manifest_name if cases else "")
    entries = cases.cases if isinstance(cases, Manifest) else [loaded.case for loaded in cases]
    total = sum(len(case.objects) for case in entries)
    scores: list[ObjectScore] = []
    cancelled = False
    for loaded in _read_cases(cases) if isinstance(cases, Manifest) else cases:
        for observation in _run_case(loaded, method, jitter, seed, tolerance_mm, surfaces):
            scores.append(observation.score)
            if observer is not None:
                observer(observation)
            if progress is not None:
                progress(len(scores), total, loaded.case.name)
            cancelled = cancel is not None and len(scores) < total and cancel()
            if cancelled:
                break
        if cancelled:
            break
    label = name or getattr(method, "__name__", type(method).__name__)
    return Report(label, manifest_name, jitter, seed, tolerance_mm, tuple(scores), dict(settings or {}), not cancelled)


def _read_cases(manifest: Manifest) -> Iterator[LoadedCase]:
    for case in manifest.cases:
        volume = read_volume(manifest.path(case.image))
        labels = read_labels(manifest.path(case.label.path), case.label)
        if labels.shape != volume.voxels.shape:
            raise InputError(
                "LABEL_MISMATCH",
                f"{case.name}: the label map has {labels.shape} voxels, the image {volume.voxels.shape} (k, j, i).",
                "Image and label map must lie on the same grid.",
            )
        yield LoadedCase(case, manifest.name, volume, labels)


def _run_case(
    loaded: LoadedCase, method: Method, jitter: int, seed: int, tolerance_mm: float, surfaces: bool
) -> Iterator[Observation]:
    case, volume = loaded.case, loaded.volume
    geometry = volume.geometry
    index_boxes: list[IndexBox] = []
    for item in case.objects:
        tight = tight_box(loaded.truth(item))
        identity = f"{case.name}/{item.name}"
        index_boxes.append(jittered_box(tight, geometry.shape, geometry.slice_axis, jitter, seed, identity))
    boxes = [oriented_box(volume, box) for box in index_boxes]
    spacing = geometry.spacing_kji if surfaces and case.millimetres else None

    started = time.perf_counter()
    masks = iter(method(volume, boxes))
    for item, box in zip(case.objects, index_boxes, strict=True):
        mask = next(masks, None)
        seconds = time.perf_counter() - started
        if mask is None or mask.dtype != np.bool_ or mask.shape != volume.voxels.shape:
            raise InferenceError(
                "BAD_MASK",
                f"{case.name}: the method returned no boolean mask of the scan's size for {item.name!r}.",
                "A method returns one (k, j, i) mask a box.",
            )
        truth = loaded.truth(item)
        result = agreement(mask, truth, spacing, tolerance_mm)
        score = ObjectScore(
            case.name,
            case.group,
            item.name,
            int(np.count_nonzero(truth)),
            box,
            result.dice,
            result.nsd,
            result.hd95,
            seconds,
        )
        yield Observation(loaded, score, truth, mask)
        started = time.perf_counter()


def oriented_box(volume: Volume, box: IndexBox) -> OrientedBox:
    """The world box of an index box in array order."""
    (k0, k1), (j0, j1), (i0, i1) = box
    return OrientedBox.from_index_range(volume.geometry, i0, j0, k0, i1, j1, k1)
