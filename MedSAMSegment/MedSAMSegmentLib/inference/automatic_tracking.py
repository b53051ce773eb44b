"""Automatic mask generation through a volume by tracking: what is found on a few slices is followed to all others.

The grid of points (:func:`~MedSAMSegmentLib.inference.automatic.find_masks`) looks at key slices only.  Each mask is
drawn into a :class:`~MedSAMSegmentLib.inference.session.Session` of its own, which follows it both ways, with memory
where the network has one.  A mask that an object followed before covers already is that object again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .automatic import FoundMask
from .automatic_volume import Block, FoundObject, overlap
from .cache import EmbeddingCache
from .predictor import SlicePredictor
from .result import Result
from .session import Session
from .settings import CleanupSettings, Settings

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..volume import Volume

# Every object visits the same whole slices: as many as fit into this are encoded once only.
_CACHE_BYTES = 2 * 2**30

_NAME = "object"


def track_masks(
    volume: Volume,
    model: LoadedModel | SlicePredictor,
    masks: Mapping[int, Sequence[FoundMask]],
    window: str = "auto",
    plane: str = "auto",
    minimum_overlap: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[FoundObject]:
    """Follow masks through a volume.

    Args:
        volume: the scan.
        model: any that a session takes.
        masks: by key slice, the best first.
        window, plane: as for a session; the plane the masks were found on.
        minimum_overlap: a mask whose intersection over union with an object on its slice reaches this is no new object.
        progress: called as ``progress(masks done, masks of all)``.
        cancel: asked after every slice; ``True`` stops.

    Yields:
        Objects, as soon as each is complete.

    Raises:
        CancelledError: ``cancel`` said so; objects yielded before are complete.
        InferenceError: the network failed.
    """
    # Whole slices, so that all objects share what is encoded; nothing is cut off, since no box was drawn.
    cleanup = CleanupSettings(clip=False, smooth=False, keep_component=True, fill_holes=False)
    settings = Settings(window=window, plane=plane, full_slice=True, cleanup=cleanup)
    cache = EmbeddingCache(_CACHE_BYTES)
    total = sum(len(found) for found in masks.values())
    done = 0
    known: list[FoundObject] = []
    for index in sorted(masks):
        for found in masks[index]:
            here = [item.blocks[index] for item in known if index in item.blocks]
            if not any(overlap(found, block) >= minimum_overlap for block in here):
                session = Session(volume, model, settings=settings, cache=cache)
                item = _followed(session, index, found, cancel)
                known.append(item)
                yield item
            done += 1
            if progress is not None:
                progress(done, total)


def _followed(session: Session, index: int, found: FoundMask, cancel: Callable[[], bool] | None) -> FoundObject:
    """One mask through all slices."""
    from ..volume import OrientedBox

    geometry = session.volume.geometry
    session.add_object(_NAME, OrientedBox.from_index_range(geometry, 0, 0, 0, *geometry.shape[::-1]))
    session.add_mask(_NAME, index, found.mask())
    result = session.segment(_NAME, cancel=cancel)
    blocks = _blocks(result)
    scores = {k: score for k, score in result.scores.items() if k in blocks}
    # The key slice was drawn: what the grid of points said of it counts.
    scores[index] = found.confidence
    return FoundObject(
        result.axis,
        MappingProxyType({index: found}),
        MappingProxyType(blocks),
        MappingProxyType(dict(sorted(scores.items()))),
    )


def _blocks(result: Result) -> dict[int, Block]:
    """The mask of a result, slice by slice, where it is not empty."""
    extent = list(result.extent)
    first = extent.pop(result.axis).start
    rows, columns = extent
    blocks = {}
    for number, mask in enumerate(np.moveaxis(result.extent_mask, result.axis, 0)):
        used_rows, used_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if used_rows.size:
            r = slice(int(used_rows[0]), int(used_rows[-1]) + 1)
            c = slice(int(used_columns[0]), int(used_columns[-1]) + 1)
            blocks[first + number] = Block(
                slice(r.start + rows.start, r.stop + rows.start),
                slice(c.start + columns.start, c.stop + columns.start),
                mask[r, c].copy(),
            )
    return blocks
