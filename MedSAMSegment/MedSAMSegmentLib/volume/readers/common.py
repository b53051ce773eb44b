"""What all readers share: refusals in the same words, quiet libraries, and compact voxels."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, MedSAMSegmentError

#: A scan with more voxels than this is refused before memory is asked for.
LARGEST_VOLUME = 1 << 31

#: Deflate cannot shrink data by more than this factor, so a header that promises more is damaged or hostile.
LARGEST_DEFLATE_RATIO = 1040


def display_name(path: Path) -> str:
    """The file's name without its suffixes, for people."""
    name = path.name
    for suffix in (
        ".gz",
        ".nii",
        ".nrrd",
        ".nhdr",
        ".mha",
        ".mhd",
        ".mgh",
        ".mgz",
        ".gipl",
        ".npz",
        ".hdr",
        ".img",
        ".dcm",
    ):
        name = name.removesuffix(suffix)
    return name if name != path.name else path.stem


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a file library raises into an :class:`InputError`, and keeps the library quiet meanwhile.

    Args:
        path: the file being read; messages show its name only.
        kind: what it should be, e.g. ``"NIfTI"``.

    Raises:
        InputError: ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``; typed errors pass through unchanged.
    """
    loggers = [logging.getLogger(name) for name in ("nibabel.global", "pydicom", "PIL")]
    states = [logger.disabled for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.disabled = True
            yield
    except MedSAMSegmentError:
        raise
    except EOFError:
        raise truncated(path) from None
    except MemoryError:
        raise too_big(f"{path.name} does not fit into memory.") from None
    except PermissionError:
        raise InputError("UNREADABLE_FILE", f"{path.name} may not be read.", "Check its permissions.") from None
    except Exception:
        # The library's own text is not shown: it may quote what the file holds.
        raise InputError(
            "UNREADABLE_FILE",
            f"{path.name} is damaged or not a {kind} file.",
            "Open it in another program, and copy or export it again.",
        ) from None
    finally:
        for logger, state in zip(loggers, states, strict=True):
            logger.disabled = state


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discards what C and C++ libraries write straight to the process's standard error.

    Python's own means do not reach such text. It holds for the whole process, so it encloses single library calls only.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a process without standard error, such as a program with windows only
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def truncated(path: Path) -> InputError:
    return InputError(
        "TRUNCATED_FILE",
        f"{path.name} ends before its last voxel.",
        "Copy or download the file again: it is incomplete.",
    )


def too_big(message: str) -> InputError:
    return InputError("TOO_BIG", message, "Crop or downsample the scan first.")


def not_three_dimensional(path: Path, shape: tuple[int, ...]) -> InputError:
    return InputError(
        "FOUR_DIMENSIONAL",
        f"{path.name} holds a series of volumes (shape {' x '.join(map(str, shape))}), not one.",
        "Save one time point, echo or direction as a file of its own.",
    )


def coloured(path: Path) -> InputError:
    return InputError(
        "RGB_VOLUME",
        f"{path.name} holds colours or vectors, not one number a voxel.",
        "Convert it to greyscale, or save one channel.",
    )


def check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Refuses a volume of absurd size before memory is asked for (``TOO_BIG``)."""
    count = 1
    for n in shape:
        count *= int(n)
    if count > LARGEST_VOLUME:
        raise too_big(f"{path.name} claims {count} voxels, more than this program takes.")


def check_stored_bytes(path: Path, needed: int, compressed: bool) -> None:
    """Refuses a file that cannot hold what its header promises (``TRUNCATED_FILE``).

    Args:
        path: the file.
        needed: bytes of the voxels, uncompressed.
        compressed: whether the file is deflated (gzip).
    """
    stored = os.path.getsize(path)
    if stored * (LARGEST_DEFLATE_RATIO if compressed else 1) < needed:
        raise truncated(path)


def rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``stored * slope + intercept`` in the smallest type that is exact: int16, int32, else float32.

    Slice by slice along the first axis, so that no second volume in a wide type is made. The identity returns the array
    itself.
    """
    if slope == 1 and intercept == 0:
        return stored
    if stored.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(stored.min()) * int(slope) + int(intercept), int(stored.max()) * int(slope) + int(intercept)]
        for kind in (np.int16, np.int32):
            limits = np.iinfo(kind)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                out = np.empty(stored.shape, kind)
                for target, source in zip(out, stored, strict=True):
                    target[...] = source.astype(np.int64) * int(slope) + int(intercept)
                return out
    out = np.empty(stored.shape, np.float32)
    for target, source in zip(out, stored, strict=True):
        target[...] = source * np.float64(slope) + np.float64(intercept)
    return out
