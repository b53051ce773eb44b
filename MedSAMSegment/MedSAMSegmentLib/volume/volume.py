"""A scan: its voxels, where they lie, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .geometry import Geometry

#: The types voxels are kept in; every other real type is brought to the smallest of these that holds it.
_KEPT_TYPES = tuple(np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32))


@dataclass(frozen=True)
class SourceInstance:
    """The DICOM object one slice was read from.

    Attributes:
        path: the file.
        sop_class_uid: SOP Class UID (0008,0016).
        sop_instance_uid: SOP Instance UID (0008,0018).
        frame_number: number of the frame in a multi-frame object, counted from 1; None in a single-frame object.
    """

    path: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan, immutable.

    Attributes:
        voxels: array [k, j, i] in the scan's own units (HU for CT), C-contiguous, never writeable. Integers up to 32
            bits and float32 are kept as they are, booleans become uint8, wider types the smallest of int32 and float32
            that holds them. The array is not copied if it already is so; whoever passes it in gives it up.
        geometry: shape and position of the grid.
        modality: ``"CT"``, ``"MR"``, ``"PT"``, or ``""`` when the file does not say.
        name: short name for people, usually the file's name without suffix.
        notes: remarks from reading, one sentence each, for the user to see.
        source: for DICOM the object each slice along k came from, in order, that of the nearest acquired plane where a
            slice was interpolated; otherwise None.

    Raises:
        InputError: ``NOT_A_VOLUME`` (not three axes), ``UNSUPPORTED_VOXELS`` (complex, text, records),
            ``NON_FINITE_VOXELS`` (NaN or infinite), ``GEOMETRY_MISMATCH``.
    """

    voxels: NDArray[Any]
    geometry: Geometry
    modality: str = ""
    name: str = ""
    notes: tuple[str, ...] = ()
    source: tuple[SourceInstance, ...] | None = None

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        if voxels.ndim != 3:
            raise InputError(
                "NOT_A_VOLUME",
                f"A volume has three axes, this array has the shape {voxels.shape}.",
                "Choose one time point, one channel or one echo and save it on its own.",
            )
        if voxels.shape != self.geometry.shape:
            raise InputError(
                "GEOMETRY_MISMATCH",
                f"The voxels have the shape {voxels.shape}, their geometry {self.geometry.shape}.",
                "Voxels and geometry must belong to one scan.",
            )
        if self.source is not None and len(self.source) != voxels.shape[0]:
            raise InputError(
                "GEOMETRY_MISMATCH",
                f"The volume has {voxels.shape[0]} slices along k but {len(self.source)} source objects.",
                "Each slice along k needs its own DICOM object.",
            )
        kept = _keep(voxels).view()
        kept.flags.writeable = False
        object.__setattr__(self, "voxels", kept)
        object.__setattr__(self, "notes", tuple(self.notes))

    def slice_array(self, axis: int, index: int) -> NDArray[Any]:
        """One slice as a read-only 2-D view [row, column].

        Args:
            axis: array axis the slice is perpendicular to, 0 = k, 1 = j, 2 = i.
            index: number of the slice along that axis.
        """
        where: list[Any] = [slice(None)] * 3
        where[axis] = index
        return self.voxels[tuple(where)]

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, so that a volume sent to another process is read-only there too.
        return Volume, (self.voxels, self.geometry, self.modality, self.name, self.notes, self.source)


def _keep(voxels: NDArray[Any]) -> NDArray[Any]:
    """The array in a kept type, native byte order and C order; values are never changed by more than float32
    rounding."""
    if voxels.dtype.kind not in "biuf":
        raise InputError(
            "UNSUPPORTED_VOXELS",
            "The voxels are complex numbers, colours or records; a scan has one real number a voxel.",
            "Save the magnitude, or one channel, as a file of its own.",
        )
    kind = voxels.dtype.newbyteorder("=")
    if kind == np.bool_:
        kind = np.dtype(np.uint8)
    elif kind.kind in "iu" and kind not in _KEPT_TYPES:
        low, high = (int(voxels.min()), int(voxels.max())) if voxels.size else (0, 0)
        limits = np.iinfo(np.int32)
        kind = np.dtype(np.int32) if limits.min <= low and high <= limits.max else np.dtype(np.float32)
    elif kind.kind == "f":
        kind = np.dtype(np.float32)
    with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite and is refused below
        kept = np.ascontiguousarray(voxels, dtype=kind)
    if kept.dtype.kind == "f":
        _refuse_non_finite(kept)
    return kept


def _refuse_non_finite(voxels: NDArray[Any]) -> None:
    # Slice by slice, so that no boolean copy of the whole volume is made.
    count = sum(part.size - int(np.count_nonzero(np.isfinite(part))) for part in voxels)
    if count:
        raise InputError(
            "NON_FINITE_VOXELS",
            f"{count} of {voxels.size} voxels are not finite numbers (NaN or infinite).",
            "Replace them, for example by the background value, and save the scan again.",
        )
