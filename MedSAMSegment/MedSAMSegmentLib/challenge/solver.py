"""From a case to its segmentation.

Pictures go the official way of the model, in colour, since that is what it was trained on; volumes go through a
:class:`~MedSAMSegmentLib.inference.Session`, by default in this project's way and otherwise in the official one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .case import ChallengeCase, PromptedLabel

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..inference import Result, Session

Cancel = Callable[[], bool]
Progress = Callable[[int, int, str], None]

# Challenge images are windowed already: 0 is black and 255 white.
_WINDOW = "127.5/255"


class Solver:
    """Segments cases with one model.

    Args:
        model: the network.
        official: segment volumes exactly as the published program of the model does.
    """

    def __init__(self, model: LoadedModel, official: bool = False) -> None:
        self.model = model
        self.official = official

    def solve(self, case: ChallengeCase, progress: Progress | None = None, cancel: Cancel | None = None) -> np.ndarray:
        """Labels of the case's shape, ``uint8`` (``uint16`` for more than 255 labels), 0 where nothing is.

        Args:
            case: image and prompts.
            progress: called as in ``Session.segment``.
            cancel: asked after every slice or label.

        Raises:
            CancelledError: ``cancel`` said so.
            MedSAMSegmentError: the model cannot do with these prompts, or failed.
        """
        from ..inference.image_predictor import IMAGE_ARCHITECTURES

        if "scribble" in self.model.spec.prompts:
            return self._scribbled_picture(case)
        scribbled = [item for item in case.labels if item.box is None and not item.clicks]
        if scribbled:
            raise InputError(
                "NO_BOX",
                f"{case.name}: of label {scribbled[0].label} only scribbles are known.",
                "Save boxes or clicks, too, or use --model lite-medsam-scribble.",
            )
        if case.is_picture and self.model.spec.architecture in IMAGE_ARCHITECTURES:
            return self._picture(case)
        return self._volume(case, progress, cancel)

    def _picture(self, case: ChallengeCase) -> np.ndarray:
        """Label by label, a later one over the earlier ones, as LiteMedSAM's program has it."""
        from ..inference.image_predictor import ImagePredictor
        from ..inference.runner import typed_failures

        boxes = [item.box for item in case.labels]
        if any(item.clicks for item in case.labels) or None in boxes:
            raise InputError("NO_BOX", f"{case.name}: pictures need a box for each label.", "Save them in 'boxes'.")
        segmentation = _empty(case)
        predictor = ImagePredictor(self.model)
        with typed_failures():
            encoded = predictor.encode(case.image)
            for item in case.labels:
                assert item.box is not None
                x0, y0, _, x1, y1, _ = item.box
                found = predictor.predict(encoded, boxes=np.array([[x0, y0, x1, y1]]))
                segmentation[predictor.masks(encoded, found)[0, 0]] = item.label
        return segmentation

    def _scribbled_picture(self, case: ChallengeCase) -> np.ndarray:
        """Label by label, as LiteMedSAM's program for scribbles has it, which knows neither boxes nor clicks."""
        from ..inference.image_predictor import ImagePredictor
        from ..inference.runner import typed_failures

        if any(item.scribble is None for item in case.labels):
            raise InputError(
                "NO_SCRIBBLE",
                f"{case.name}: the model '{self.model.spec.name}' needs strokes on a picture for each label.",
                "Save them in 'scribbles', or choose another model.",
            )
        segmentation = _empty(case)
        predictor = ImagePredictor(self.model)
        with typed_failures():
            encoded = predictor.encode(case.image)
            for item in case.labels:
                assert item.scribble is not None
                found = predictor.predict_from_scribble(encoded, item.scribble)
                segmentation[predictor.masks(encoded, found)[0, 0]] = item.label
        return segmentation

    def _volume(self, case: ChallengeCase, progress: Progress | None, cancel: Cancel | None) -> np.ndarray:
        from ..inference import Session
        from ..inference.settings import CleanupSettings, Settings
        from ..volume import Geometry, Volume

        image = case.image
        if case.is_picture:
            image = _luminance(image)[None]
        volume = Volume(image, Geometry.from_parts(image.shape, case.spacing), name=Path(case.name).stem)
        # A box drawn on one slice does not end the object on the others.
        drawn_on_one = any(item.box_slice is not None or item.box is None for item in case.labels)
        settings = Settings(
            window=_WINDOW,
            plane="axial",
            full_slice=self.official,
            official=self.official,
            cleanup=CleanupSettings(clip=not drawn_on_one),
        )
        session = Session(volume, self.model, settings=settings)
        for item in case.labels:
            _begin(session, case, item)
        results = session.segment(None, progress, cancel)
        # Clicks correct what the box gave: they were made looking at it.
        corrected = [item for item in case.labels if item.clicks and session.states[_name(item)].box is not None]
        for item in corrected:
            _click(session, item)
        if corrected:
            results = session.segment(None, progress, cancel)
        return _labels(case, results)


def write_segmentation(path: Path, segmentation: np.ndarray) -> None:
    """Write ``segs`` as the evaluation programs read it.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    from ..export.atomic import atomic_path

    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, segs=segmentation)


def _begin(session: Session, case: ChallengeCase, item: PromptedLabel) -> None:
    """A new object from its box; without one from what was found in the round before, or from clicks alone."""
    name = _name(item)
    box = item.box
    if box is None and case.previous is not None and not case.is_picture:
        box = _around(case.previous == item.label)
    if box is None:
        session.add_object(name)
        _click(session, item)
        return
    from ..volume import OrientedBox

    x0, y0, z0, x1, y1, z1 = box
    session.add_object(name, OrientedBox.from_index_range(session.volume.geometry, x0, y0, z0, x1 + 1, y1 + 1, z1 + 1))
    if item.box_slice is not None:
        session.add_slice_box(name, item.box_slice, (x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5))


def _click(session: Session, item: PromptedLabel) -> None:
    for positive in (True, False):
        places = [(click.x, click.y, click.z) for click in item.clicks if click.positive == positive]
        if places:
            session.add_points(_name(item), session.volume.geometry.index_to_lps(np.array(places)), positive)


def _labels(case: ChallengeCase, results: Mapping[str, Result]) -> np.ndarray:
    """Every voxel belongs to the label that is surest of it."""
    from ..inference import labelmap

    segmentation = _empty(case)
    merged = labelmap(results)
    numbers = {_name(item): item.label for item in case.labels}
    for number, name in enumerate(results, start=1):
        segmentation[merged[0] == number if case.is_picture else merged == number] = numbers[name]
    return segmentation


def _name(item: PromptedLabel) -> str:
    return f"label {item.label}"


def _empty(case: ChallengeCase) -> np.ndarray:
    return np.zeros(case.shape, np.uint8 if max((item.label for item in case.labels), default=0) < 256 else np.uint16)


def _around(mask: np.ndarray) -> tuple[int, int, int, int, int, int] | None:
    """First and last voxel (x, y, z) of a mask (z, y, x)."""
    if not mask.any():
        return None
    places = np.argwhere(mask)[:, ::-1]
    (x0, y0, z0), (x1, y1, z1) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    return x0, y0, z0, x1, y1, z1


def _luminance(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a picture (ITU-R BT.601), as the reader of picture files has it."""
    from PIL import Image

    return image if image.ndim == 2 else np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))
