"""Boolean arrays as run lengths: short, exact and readable in a JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def encode_runs(mask: np.ndarray) -> dict[str, Any]:
    """``{"shape": [...], "runs": [...]}``: lengths of alternating runs in C order, the first one of ``False``."""
    flat = np.asarray(mask, dtype=bool).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    runs = np.diff(edges).tolist() if flat.size else []
    if flat.size and flat[0]:
        runs = [0, *runs]
    return {"shape": [int(n) for n in mask.shape], "runs": runs}


def decode_runs(data: Mapping[str, Any]) -> np.ndarray:
    """The inverse of :func:`encode_runs`.  Raises ``ValueError`` when lengths and shape do not agree."""
    shape = tuple(int(n) for n in data["shape"])
    runs = np.array(data["runs"], dtype=np.int64)
    if any(n < 0 for n in shape) or (runs < 0).any() or runs.sum() != int(np.prod(shape)):
        raise ValueError("run lengths do not fill the shape")
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape(shape)
