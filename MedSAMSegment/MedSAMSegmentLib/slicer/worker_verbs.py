"""What the worker process can be asked: one scan, one session, and verbs on it.

Every verb takes the fields of a request and returns the fields of its reply.  A verb that changes what the user said
replies with the session's content (``state``), so that Slicer can save it with the scene and give it to the next worker
should this one die.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..allocator import return_freed_memory
from ..errors import CancelledError, MedSAMSegmentError, UsageError
from . import worker_weights
from .protocol import PROGRESS_SECONDS, pack_mask, unpack_mask
from .worker_exchange import read_volume
from .worker_fields import Fields, box_of, settings_of, slice_box_of

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..inference import EmbeddingCache, Result, Session
    from ..volume import Volume

Emit = Callable[[dict[str, Any], bytes], None]
"""Sends an event of the request that is being answered: fields and payload."""

_SLICE_SECONDS = 0.25
"""Masks of single slices are for looking at while one waits: not more often than one can look."""


class Desk:
    """Answers requests, one after the other.

    Args:
        emit: see :data:`Emit`.
        cancelled: whether the request that is being answered was cancelled.
    """

    def __init__(self, emit: Emit, cancelled: Callable[[], bool]) -> None:
        self._emit = emit
        self._cancelled = cancelled
        self._session: Session | None = None
        self._path = ""
        self._volume: Volume | None = None
        self._cache: EmbeddingCache | None = None
        self._model: tuple[tuple[str, str, str], LoadedModel] | None = None
        self._preparing: Iterator[int] | None = None
        self._verbs: dict[str, Callable[[Fields, bytes], tuple[dict[str, Any], bytes]]] = {
            "open": self._open,
            "close": self._close,
            "add_object": self._add_object,
            "move_object": self._move_object,
            "remove_object": self._remove_object,
            "add_points": self._add_points,
            "add_scribble": self._add_scribble,
            "add_line": self._add_line,
            "add_slice_box": self._add_slice_box,
            "add_mask": self._add_mask,
            "accept": self._accept,
            "release": self._release,
            "undo": self._undo,
            "redo": self._redo,
            "preview": self._preview,
            "segment": self._segment,
            "download_terms": self._download_terms,
            "download": self._download,
            "import_weights": self._import_weights,
            "devices": self._devices,
        }

    def answer(self, verb: str, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Do what a request asks; returns the fields and the payload of the reply.

        Raises:
            MedSAMSegmentError: the request was refused or failed; prompts are as they were before.
        """
        if verb not in self._verbs:
            raise UsageError("UNKNOWN_VERB", f"The segmentation process does not know {verb!r}.", "Restart Slicer.")
        self._preparing = None
        try:
            return self._verbs[verb](fields, payload)
        finally:
            self._preparing = self._prepare()

    def idle(self) -> bool:
        """Encode one slice that will be asked for, while no request waits; ``False`` when there is nothing to do."""
        try:
            return self._preparing is not None and next(self._preparing, None) is not None
        except MedSAMSegmentError:  # whoever asks for that slice will be told
            self._preparing = None
            return False

    def _prepare(self) -> Iterator[int]:
        """The slices of objects that wait for being segmented, then whole slices where those are shown."""
        session = self._session
        if session is None:
            return
        for name in [name for name in session.objects if session.needs_segmenting(name)]:
            with suppress(MedSAMSegmentError):
                yield from session.prepare(name)
        yield from session.prepare()

    @property
    def session(self) -> Session:
        """The open one.  Raises ``UsageError`` (``NO_SCAN``)."""
        if self._session is None:
            raise UsageError("NO_SCAN", "No scan is open.", "Choose a volume first.")
        return self._session

    # ---- scan and model --------------------------------------------------------------------------------------------

    def _open(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Open a scan, or the same scan with another model or other settings, with the prompts of ``state``."""
        from ..inference import EmbeddingCache, EncodedOnDisk, Session, encoded_folder
        from ..inference.session_file import stored_session

        described = fields["volume"]
        if self._volume is None or described["path"] != self._path:
            self._session, self._volume, self._cache = None, None, EmbeddingCache()
            self._volume, self._path = read_volume(described), str(described["path"])
        assert self._cache is not None
        on_disk = int(fields.get("disk_cache_mb") or 0)
        self._cache.disk = EncodedOnDisk(encoded_folder(), on_disk * 10**6) if on_disk else None
        model, runtime = self._loaded(fields), str(fields.get("runtime") or "auto")
        settings = settings_of(fields.get("settings", {}))
        if fields.get("state"):
            stored = stored_session(fields["state"])
            self._session = Session.restore(
                stored, self._volume, model, settings=settings, cache=self._cache, runtime=runtime
            )
        else:
            self._session = Session(self._volume, model, settings=settings, cache=self._cache, runtime=runtime)
        plane, window = self._session.plane, self._session.intensities
        return {
            "axis": plane.axis,
            "slices": plane.slices,
            "up": _upwards(self._volume, plane.axis),
            "window": [float(window.low), float(window.high)],
            "model": self._session.model.as_dict(),
            "understands": list(self._session.predictor.understands),
            "device": str(model.device),
            "runtime": {"name": self._session.runtime.name, "notes": list(self._session.runtime.notes)},
            **self._said(),
        }, b""

    def _loaded(self, fields: Fields) -> LoadedModel:
        from ..checkpoints import load_model

        key = (str(fields["model"]), str(fields.get("checkpoint") or ""), str(fields.get("device") or "auto"))
        if self._model is None or self._model[0] != key:
            self._model = None
            self._model = key, load_model(key[0], key[1] or None, key[2])
        return self._model[1]

    def _close(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self._session = self._volume = self._cache = None
        self._path = ""
        return_freed_memory()
        return {}, b""

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def _add_object(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        box, line, slice_box = (fields.get(kind) for kind in ("box", "line", "slice_box"))
        self.session.add_object(
            str(fields["name"]),
            None if box is None else box_of(box),
            None if line is None else (line["start"], line["end"]),
            None if slice_box is None else slice_box_of(slice_box),
        )
        return self._said(), b""

    def _move_object(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.move_object(str(fields["name"]), box_of(fields["box"]))
        return self._said(), b""

    def _remove_object(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.remove_object(str(fields["name"]))
        return self._said(), b""

    def _add_points(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.add_points(str(fields["name"]), fields["points"], bool(fields["positive"]))
        return self._said(), b""

    def _add_scribble(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.add_scribble(str(fields["name"]), fields["path"], bool(fields["positive"]))
        return self._said(), b""

    def _add_line(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.add_line(str(fields["name"]), fields["start"], fields["end"])
        return self._said(), b""

    def _add_slice_box(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.add_slice_box(str(fields["name"]), *slice_box_of(fields))
        return self._said(), b""

    def _add_mask(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        mask = np.zeros(self.session.plane.shape, dtype=bool)
        part = unpack_mask(fields["mask"], payload)
        row, column = (int(first) for first in fields["mask"]["offset"])
        if min(row, column) < 0 or row + part.shape[0] > mask.shape[0] or column + part.shape[1] > mask.shape[1]:
            raise UsageError("BAD_PROMPT", "The drawn mask does not fit the slice.", "Draw it again.")
        mask[row : row + part.shape[0], column : column + part.shape[1]] = part
        self.session.add_mask(str(fields["name"]), int(fields["slice"]), mask)
        return self._said(), b""

    def _accept(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.accept(str(fields["name"]), fields.get("slices"))
        return self._said(), b""

    def _release(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.session.release(str(fields["name"]), fields.get("slices"))
        return self._said(), b""

    def _undo(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        return self._back(fields, self.session.can_undo, self.session.undo)

    def _redo(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        return self._back(fields, self.session.can_redo, self.session.redo)

    def _back(self, fields: Fields, possible: bool, step: Callable[[], None]) -> tuple[dict[str, Any], bytes]:
        """One step back or forth; a session that was handed over by another worker knows its steps no more."""
        if possible:
            step()
        elif fields.get("state"):
            from ..inference.session_file import stored_session

            stored, session = stored_session(fields["state"]), self.session
            assert self._volume is not None and self._model is not None
            self._session = type(session).restore(
                stored,
                self._volume,
                self._model[1],
                settings=session.settings,
                cache=self._cache,
                runtime=session.runtime.name,
            )
        else:
            step()  # refuses
        return self._said(), b""

    def _said(self) -> dict[str, Any]:
        """Everything the user said, and how far each object is."""
        from ..inference.session_file import session_content

        session = self.session
        objects = {}
        for name, state in session.states.items():
            result = state.result
            objects[name] = {
                "pending": session.needs_segmenting(name),
                "replayed": state.done == 0 and state.closed > 0,
                "complete": result is not None and result.complete,
                "accepted": sorted(session.prompts(name).locked()),
                "rectangles": sorted({box.slice_index for box in session.prompts(name).boxes}),
            }
        return {"state": session_content(session), "objects": objects}

    # ---- masks -----------------------------------------------------------------------------------------------------

    def _preview(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        """One slice of a ``box``, or of the object ``name``."""
        index = fields.get("slice")
        session = self.session
        of = box_of(fields["box"]) if "box" in fields else str(fields["name"])
        found = session.preview(of, None if index is None else int(index))
        where, packed = pack_mask(_as_block(found.mask, session.plane.axis), _on_slice(session, found.slice_index))
        return {"slice": found.slice_index, "score": float(found.score), "mask": where}, packed

    def _segment(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Segment the objects ``names`` (default all); each one's mask is an event of its own as soon as it is there.

        ``reach`` is ``"all"``, [first, last] slice, or absent for what was asked before.
        """
        session = self.session
        names = [str(name) for name in fields.get("names") or session.objects]
        reach = fields.get("reach")
        last_said = last_shown = 0.0

        for number, name in enumerate(names):

            def progress(done: int, total: int, item: str, number: int = number) -> None:
                nonlocal last_said
                now = time.monotonic()
                if done == total or now - last_said >= PROGRESS_SECONDS:
                    last_said = now
                    fraction = (number + done / max(total, 1)) / len(names)
                    self._emit({"event": "progress", "name": item, "fraction": fraction}, b"")

            def on_slice(item: str, index: int, mask: np.ndarray) -> None:
                nonlocal last_shown
                now = time.monotonic()
                if now - last_shown >= _SLICE_SECONDS:
                    last_shown = now
                    where, packed = pack_mask(_as_block(mask, session.plane.axis), _on_slice(session, index))
                    self._emit({"event": "slice", "name": item, "slice": index, "mask": where}, packed)

            try:
                asked = reach if reach in (None, "all") else (int(reach[0]), int(reach[1]))
                session.segment(name, progress, self._cancelled, on_slice, asked)
            except CancelledError:
                if name in session.results:
                    self._emit_result(session.results[name])
                raise
            self._emit_result(session.results[name])
        return self._said(), b""

    def _emit_result(self, result: Result) -> None:
        where, packed = pack_mask(result.extent_mask, tuple(part.start for part in result.extent))
        filled = result.extent_mask.any(axis=tuple(a for a in range(3) if a != result.axis))
        first = result.extent[result.axis].start
        self._emit(
            {
                "event": "result",
                "name": result.name,
                "mask": where,
                "axis": result.axis,
                "key_slice": result.key_slice,
                "scores": {str(k): round(score, 4) for k, score in result.scores.items() if filled[k - first]},
                "complete": result.complete,
                "millilitres": result.millilitres,
                "seconds": float(result.timings.get("total", 0.0)),
                "provenance": dict(result.provenance),
            },
            packed,
        )

    # ---- weights and devices ---------------------------------------------------------------------------------------

    def _download_terms(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        return worker_weights.download_terms(str(fields["model"])), b""

    def _download(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        model = str(fields["model"])

        def progress(fraction: float) -> None:
            self._emit({"event": "progress", "name": model, "fraction": fraction}, b"")

        return worker_weights.fetch_weights(model, list(fields["hosts"]), progress, self._cancelled), b""

    def _import_weights(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        return worker_weights.check_weights(str(fields["model"]), str(fields["file"])), b""

    def _devices(self, fields: Fields, payload: bytes) -> tuple[dict[str, Any], bytes]:
        return worker_weights.devices(), b""


def _upwards(volume: Volume, axis: int) -> int:
    """1 if slice numbers grow towards the head (or to the front, or to the right), -1 if the other way.

    This is the way Slicer's slice views count: their offsets are RAS.
    """
    step = volume.geometry.affine[:3, 2 - axis] * np.array([-1.0, -1.0, 1.0])
    return 1 if step[np.argmax(np.abs(step))] > 0 else -1


def _as_block(mask: np.ndarray, axis: int) -> np.ndarray:
    """A slice (rows, columns) as a block (k, j, i) one slice thick."""
    return np.expand_dims(mask, axis)


def _on_slice(session: Session, index: int) -> tuple[int, int, int]:
    """Where such a block lies in the scan."""
    offset = [0, 0, 0]
    offset[session.plane.axis] = index
    return offset[0], offset[1], offset[2]
