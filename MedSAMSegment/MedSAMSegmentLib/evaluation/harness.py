"""Run a method over the cases of a manifest and score what it returns.

A method is any callable ``method(volume, boxes)``: it gets one scan and all boxes drawn on it and returns (or, to have
every object timed on its own, yields) one boolean ``(k, j, i)`` mask a box, in order.  Models, sessions and the
classical baselines all look like this, so a training script can hand over a plain function::

    cases = load_cases(load_manifest("cases.json"))
    report = evaluate(cases, my_function, jitter=5, seed=1)
    print(report.mean_dice(), report.group("CT organ").dice)

Methods that can be corrected (:class:`Correctable`) are also clicked on, time after time where they are most wrong:

    for report in evaluate_clicks(cases, SessionMethod("embedded"), clicks=5):
        print(report.clicks, report.mean_dice())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InferenceError, InputError
from ..volume import OrientedBox, Volume, read_volume
from .clicks import next_click
from .jitter import IndexBox, jittered_box, tight_box
from .labels import read_labels
from .manifest import Case, Manifest, TruthObject
from .metrics import agreement
from .report import ObjectScore, Report


class Method(Protocol):
    """Something that turns boxes on a scan into masks."""

    def __call__(self, volume: Volume, boxes: Sequence[OrientedBox], /) -> Iterable[np.ndarray]: ...


class Conversation(Protocol):
    """One object of one scan after another."""

    def segment(self, box: OrientedBox) -> np.ndarray:
        """The mask (k, j, i) bool of a new object."""
        ...

    def click(self, position_lps: tuple[float, float, float], inside: bool) -> np.ndarray:
        """The mask of the same object when somebody has clicked, LPS mm, inside the object or outside."""
        ...


@runtime_checkable
class Correctable(Protocol):
    """A method whose masks can be clicked on."""

    def begin(self, volume: Volume) -> Conversation:
        """About a scan."""
        ...


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
    run = partial(_from_boxes, method)
    boxes = _Boxes(jitter, seed, tolerance_mm, surfaces)
    scores, complete = _scores(cases, run, boxes, progress, observer, cancel)
    label = name or getattr(method, "__name__", type(method).__name__)
    return _report(label, cases, boxes, scores, settings, complete, 0)


def evaluate_clicks(
    cases: Manifest | Sequence[LoadedCase],
    method: Correctable,
    clicks: int,
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
) -> list[Report]:
    """As :func:`evaluate`, then click so many times on the largest error (`evaluation/clicks.py`).

    Returns:
        Reports of the masks after 0, 1 ... ``clicks`` clicks; an object that has become perfect is not clicked on.
    """
    run = partial(_with_clicks, method, clicks)
    boxes = _Boxes(jitter, seed, tolerance_mm, surfaces)
    scores, complete = _scores(cases, run, boxes, progress, observer, cancel)
    label = name or type(method).__name__
    return [
        _report(label, cases, boxes, [score for score in scores if score.clicks == made], settings, complete, made)
        for made in range(clicks + 1)
    ]


@dataclass(frozen=True)
class _Boxes:
    """How boxes are drawn and masks are scored, see :func:`evaluate`."""

    jitter: int
    seed: int
    tolerance_mm: float
    surfaces: bool

    def of(self, loaded: LoadedCase, item: TruthObject) -> IndexBox:
        geometry = loaded.volume.geometry
        tight = tight_box(loaded.truth(item))
        identity = f"{loaded.case.name}/{item.name}"
        return jittered_box(tight, geometry.shape, geometry.slice_axis, self.jitter, self.seed, identity)


def _report(
    label: str,
    cases: Manifest | Sequence[LoadedCase],
    boxes: _Boxes,
    scores: Sequence[ObjectScore],
    settings: dict[str, Any] | None,
    complete: bool,
    clicks: int,
) -> Report:
    manifest = cases.name if isinstance(cases, Manifest) else (cases[0].manifest_name if cases else "")
    return Report(
        label,
        manifest,
        boxes.jitter,
        boxes.seed,
        boxes.tolerance_mm,
        tuple(scores),
        dict(settings or {}),
        complete,
        clicks,
    )


_Run = Callable[[LoadedCase, "_Boxes"], Iterator[list[Observation]]]
"""Yields what is to be said of every object, one after another."""


def _scores(
    cases: Manifest | Sequence[LoadedCase],
    run: _Run,
    boxes: _Boxes,
    progress: Callable[[int, int, str], None] | None,
    observer: Callable[[Observation], None] | None,
    cancel: Callable[[], bool] | None,
) -> tuple[list[ObjectScore], bool]:
    """All scores, and whether the run came to its end."""
    entries = cases.cases if isinstance(cases, Manifest) else [loaded.case for loaded in cases]
    total, done = sum(len(case.objects) for case in entries), 0
    scores: list[ObjectScore] = []
    for loaded in _read_cases(cases) if isinstance(cases, Manifest) else cases:
        for observations in run(loaded, boxes):
            done += 1
            scores += [observation.score for observation in observations]
            if observer is not None:
                observer(observations[-1])
            if progress is not None:
                progress(done, total, loaded.case.name)
            if cancel is not None and done < total and cancel():
                return scores, False
    return scores, True


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


def _from_boxes(method: Method, loaded: LoadedCase, boxes: _Boxes) -> Iterator[list[Observation]]:
    items = loaded.case.objects
    drawn = [boxes.of(loaded, item) for item in items]
    started = time.perf_counter()
    masks = iter(method(loaded.volume, [oriented_box(loaded.volume, box) for box in drawn]))
    for item, box in zip(items, drawn, strict=True):
        mask = next(masks, None)
        yield [_observed(loaded, item, box, boxes, mask, time.perf_counter() - started, 0)]
        started = time.perf_counter()


def _with_clicks(method: Correctable, clicks: int, loaded: LoadedCase, boxes: _Boxes) -> Iterator[list[Observation]]:
    geometry = loaded.volume.geometry
    conversation = method.begin(loaded.volume)
    for item in loaded.case.objects:
        box = boxes.of(loaded, item)
        started = time.perf_counter()
        mask = conversation.segment(oriented_box(loaded.volume, box))
        seen = [_observed(loaded, item, box, boxes, mask, time.perf_counter() - started, 0)]
        for made in range(1, clicks + 1):
            click = next_click(seen[-1].truth, mask, geometry.spacing_kji)
            seconds = 0.0
            if click is not None:
                x, y, z = geometry.index_to_lps(np.array(click[0][::-1], dtype=np.float64)).tolist()
                started = time.perf_counter()
                mask = conversation.click((x, y, z), click[1])
                seconds = time.perf_counter() - started
            seen.append(_observed(loaded, item, box, boxes, mask, seconds, made))
        yield seen


def _observed(
    loaded: LoadedCase,
    item: TruthObject,
    box: IndexBox,
    boxes: _Boxes,
    mask: np.ndarray | None,
    seconds: float,
    clicks: int,
) -> Observation:
    case, volume = loaded.case, loaded.volume
    if mask is None or mask.dtype != np.bool_ or mask.shape != volume.voxels.shape:
        raise InferenceError(
            "BAD_MASK",
            f"{case.name}: the method returned no boolean mask of the scan's size for {item.name!r}.",
            "A method returns one (k, j, i) mask a box.",
        )
    truth = loaded.truth(item)
    spacing = volume.geometry.spacing_kji if boxes.surfaces and case.millimetres else None
    result = agreement(mask, truth, spacing, boxes.tolerance_mm)
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
        clicks,
    )
    return Observation(loaded, score, truth, mask)


def oriented_box(volume: Volume, box: IndexBox) -> OrientedBox:
    """The world box of an index box in array order."""
    (k0, k1), (j0, j1), (i0, i1) = box
    return OrientedBox.from_index_range(volume.geometry, i0, j0, k0, i1, j1, k1)
