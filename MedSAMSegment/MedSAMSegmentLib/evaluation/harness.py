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

and may be shown something on one slice only in place of a box (`drawn.py`): ``prompt="diameter"``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InferenceError, InputError
from ..volume import OrientedBox, Volume, read_volume
from .clicks import next_click
from .drawn import Drawn, check_prompt, drawn_on_slice
from .jitter import IndexBox, jittered_box, tight_box
from .labels import read_labels
from .manifest import Case, Manifest, TruthObject
from .metrics import agreement
from .report import ObjectScore, Report

if TYPE_CHECKING:
    from ..prompts import SlicePlane


class Method(Protocol):
    """Something that turns boxes on a scan into masks."""

    def __call__(self, volume: Volume, boxes: Sequence[OrientedBox], /) -> Iterable[np.ndarray]: ...


class Conversation(Protocol):
    """One object of one scan after another.

    Attributes:
        plane: whose slices can be drawn on.
    """

    plane: SlicePlane

    def segment(self, drawn: Drawn) -> np.ndarray:
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
    options = _Options(
        jitter=jitter,
        seed=seed,
        tolerance_mm=tolerance_mm,
        surfaces=surfaces,
        name=name,
        settings=settings,
        progress=progress,
        observer=observer,
        cancel=cancel,
    )
    label = getattr(method, "__name__", type(method).__name__)
    return _reports(cases, partial(_from_boxes, method), options, label, clicks=0)[0]


def evaluate_clicks(
    cases: Manifest | Sequence[LoadedCase], method: Correctable, clicks: int, **options: Any
) -> list[Report]:
    """As :func:`evaluate`, then click so many times on the largest error (`evaluation/clicks.py`).

    Args:
        cases: see :func:`evaluate`.
        method: see the module's docstring.
        clicks: on every object.
        options: those of :func:`evaluate`, and ``prompt``: what is drawn, one of :data:`~.drawn.PROMPTS`.

    Returns:
        Reports of the masks after 0, 1 ... ``clicks`` clicks; an object that has become perfect is not clicked on.

    Raises:
        UsageError: ``UNKNOWN_PROMPT``, ``OPTION_CONFLICT``; and what :func:`evaluate` raises.
    """
    check_prompt(options.get("prompt", "box"), options.get("jitter", 0))
    return _reports(cases, partial(_with_clicks, method, clicks), _Options(**options), type(method).__name__, clicks)


@dataclass(frozen=True)
class _Options:
    """How boxes are drawn and masks are scored, and who is told; see :func:`evaluate`."""

    jitter: int = 0
    seed: int = 0
    tolerance_mm: float = 2.0
    surfaces: bool = True
    name: str = ""
    settings: dict[str, Any] | None = None
    progress: Callable[[int, int, str], None] | None = None
    observer: Callable[[Observation], None] | None = None
    cancel: Callable[[], bool] | None = None
    prompt: str = "box"

    def box(self, loaded: LoadedCase, item: TruthObject, truth: np.ndarray) -> IndexBox:
        """Of one object, as it is drawn."""
        geometry = loaded.volume.geometry
        identity = f"{loaded.case.name}/{item.name}"
        return jittered_box(tight_box(truth), geometry.shape, geometry.slice_axis, self.jitter, self.seed, identity)


_Run = Callable[[LoadedCase, _Options], Iterator[list[Observation]]]
"""Yields what is to be said of every object, one after another."""


def _reports(
    cases: Manifest | Sequence[LoadedCase], run: _Run, options: _Options, label: str, clicks: int
) -> list[Report]:
    """One report for every number of clicks from 0."""
    manifest = cases.name if isinstance(cases, Manifest) else (cases[0].manifest_name if cases else "")
    scores, complete = _scores(cases, run, options)
    return [
        Report(
            options.name or label,
            manifest,
            options.jitter,
            options.seed,
            options.tolerance_mm,
            tuple(score for score in scores if score.clicks == made),
            dict(options.settings or {}),
            complete,
            made,
            options.prompt,
        )
        for made in range(clicks + 1)
    ]


def _scores(cases: Manifest | Sequence[LoadedCase], run: _Run, options: _Options) -> tuple[list[ObjectScore], bool]:
    """All scores, and whether the run came to its end."""
    entries = cases.cases if isinstance(cases, Manifest) else [loaded.case for loaded in cases]
    total, done = sum(len(case.objects) for case in entries), 0
    scores: list[ObjectScore] = []
    for loaded in _read_cases(cases) if isinstance(cases, Manifest) else cases:
        for observations in run(loaded, options):
            done += 1
            scores += [observation.score for observation in observations]
            if options.observer is not None:
                options.observer(observations[-1])
            if options.progress is not None:
                options.progress(done, total, loaded.case.name)
            if options.cancel is not None and done < total and options.cancel():
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


def _from_boxes(method: Method, loaded: LoadedCase, options: _Options) -> Iterator[list[Observation]]:
    items = loaded.case.objects
    # The truth of a scan with many objects would fill the memory: it is made again when it is needed.
    boxes = [options.box(loaded, item, loaded.truth(item)) for item in items]
    started = time.perf_counter()
    masks = iter(method(loaded.volume, [oriented_box(loaded.volume, box) for box in boxes]))
    for item, box in zip(items, boxes, strict=True):
        mask = next(masks, None)
        seconds = time.perf_counter() - started
        yield [_Object(loaded, item, loaded.truth(item), box, options).observed(mask, seconds)]
        started = time.perf_counter()


def _with_clicks(
    method: Correctable, clicks: int, loaded: LoadedCase, options: _Options
) -> Iterator[list[Observation]]:
    geometry = loaded.volume.geometry
    conversation = method.begin(loaded.volume)
    for item in loaded.case.objects:
        truth = loaded.truth(item)
        this = _Object(loaded, item, truth, options.box(loaded, item, truth), options)
        if options.prompt == "box":
            drawn: Drawn = oriented_box(loaded.volume, this.box)
        else:
            drawn = drawn_on_slice(options.prompt, truth, geometry, conversation.plane)
        started = time.perf_counter()
        mask = conversation.segment(drawn)
        seen = [this.observed(mask, time.perf_counter() - started)]
        for made in range(1, clicks + 1):
            click = next_click(truth, mask, geometry.spacing_kji)
            seconds = 0.0
            if click is not None:
                x, y, z = geometry.index_to_lps(np.array(click[0][::-1], dtype=np.float64)).tolist()
                started = time.perf_counter()
                mask = conversation.click((x, y, z), click[1])
                seconds = time.perf_counter() - started
            seen.append(this.observed(mask, seconds, made))
        yield seen


@dataclass(frozen=True)
class _Object:
    """One object that is segmented: its truth (k, j, i) bool and the box that was drawn."""

    loaded: LoadedCase
    item: TruthObject
    truth: np.ndarray
    box: IndexBox
    options: _Options

    def observed(self, mask: np.ndarray | None, seconds: float, clicks: int = 0) -> Observation:
        """The score of a mask.  Raises ``InferenceError`` (``BAD_MASK``) for what is none."""
        case, volume = self.loaded.case, self.loaded.volume
        if mask is None or mask.dtype != np.bool_ or mask.shape != volume.voxels.shape:
            raise InferenceError(
                "BAD_MASK",
                f"{case.name}: the method returned no boolean mask of the scan's size for {self.item.name!r}.",
                "A method returns one (k, j, i) mask a box.",
            )
        spacing = volume.geometry.spacing_kji if self.options.surfaces and case.millimetres else None
        result = agreement(mask, self.truth, spacing, self.options.tolerance_mm)
        score = ObjectScore(
            case.name,
            case.group,
            self.item.name,
            int(np.count_nonzero(self.truth)),
            self.box,
            result.dice,
            result.nsd,
            result.hd95,
            seconds,
            clicks,
        )
        return Observation(self.loaded, score, self.truth, mask)


def oriented_box(volume: Volume, box: IndexBox) -> OrientedBox:
    """The world box of an index box in array order."""
    (k0, k1), (j0, j1), (i0, i1) = box
    return OrientedBox.from_index_range(volume.geometry, i0, j0, k0, i1, j1, k1)
