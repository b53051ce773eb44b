"""From a hospital's own series and a box drawn in Slicer to a DICOM segmentation, in one command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from MedSAMSegmentLib import OrientedBox
from MedSAMSegmentLib.volume import read_volume, write_roi
from MedSAMSegmentLib.volume.readers.segments import read_segments

SERIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_series" / "sts_002"


@pytest.mark.skipif(not SERIES.is_dir(), reason="the development data (../shared/data) is not beside the project")
@pytest.mark.parametrize(("modality", "least"), [("CT", 0.8), ("MR_T1", 0.85)])
def test_a_tumour_is_segmented_where_the_radiotherapist_drew_it(
    modality: str, least: float, run: Callable[..., Any], tmp_path: Path
) -> None:
    scan = SERIES / modality / "image"
    volume = read_volume(scan)
    (structures,) = (SERIES / modality / "mask").glob("*.dcm")
    truth = max(read_segments(structures, volume).segments, key=lambda segment: segment.mask.sum()).mask
    low, high = np.argwhere(truth).min(axis=0)[::-1], np.argwhere(truth).max(axis=0)[::-1] + 1
    box = OrientedBox.from_index_range(volume.geometry, *map(int, low), *map(int, high))
    write_roi(tmp_path / "box.mrk.json", [("tumour", box)])
    result = tmp_path / "tumour.dcm"
    done = run(
        *("segment", scan, "--roi", tmp_path / "box.mrk.json", "--label", "Soft tissue sarcoma"),
        *("-o", result, "--json"),
    )
    assert done.status == 0, done.err
    (found,) = read_segments(result, volume).segments
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > least
    assert pydicom.dcmread(result).ReferencedSeriesSequence[0].SeriesInstanceUID == (
        pydicom.dcmread(next(scan.glob("*.dcm"))).SeriesInstanceUID
    )
