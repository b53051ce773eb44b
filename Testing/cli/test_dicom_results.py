"""From a DICOM folder to DICOM results in one command, and on from them the next day."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_variants import VariantSeries, write_variant
from MedSAMSegmentLib.volume import read_labelmap, read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

#: The bright ellipse of the series, upper ends exclusive.
BOX = "5,4,1,38,34,6"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> VariantSeries:
    return write_variant("oblique", tmp_path_factory.mktemp("scan") / "series")


def test_one_command_writes_all_results_and_the_next_continues_from_them(
    run: Callable[..., Any], series: VariantSeries, tmp_path: Path
) -> None:
    seg, structures, report = tmp_path / "liver.dcm", tmp_path / "rt.dcm", tmp_path / "sr.dcm"
    targets = [seg, f"rtstruct:{structures}", f"sr:{report}", f"fractional:{tmp_path / 'p.dcm'}", tmp_path / "m.csv"]
    outputs = [part for target in targets for part in ("-o", target)]
    done = run("segment", series.path, "--box", BOX, "--label", "Liver", *outputs, "--creator", "Doe^Jane", "--json")
    assert done.status == 0, done.err
    assert done.json["outputs"] == [str(seg), str(structures), str(report), f"{tmp_path / 'p.dcm'}", str(targets[-1])]
    volume = read_volume(series.path)
    (liver,) = read_segments(seg, volume).segments
    assert liver.name == "Liver" and liver.codes.type == ("10200004", "SCT", "Liver")
    voxels = done.json["objects"][0]["voxels"]
    assert liver.mask.sum() == voxels > 100
    for other in (structures, tmp_path / "p.dcm"):
        assert np.array_equal(read_segments(other, volume).segments[0].mask, liver.mask)
    (row,) = csv.DictReader((tmp_path / "m.csv").read_text("utf-8").splitlines())
    assert int(row["voxels"]) == voxels
    algorithm = pydicom.dcmread(seg).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "embedded" and done.json["model"]["weights"] in algorithm.AlgorithmParameters

    # The next day: the same mask, the same identity of the object, another file.
    again = tmp_path / "again.dcm"
    done = run("segment", series.path, "--prior", seg, "-o", again, "-o", tmp_path / "again.nii.gz", "--json")
    assert done.status == 0, done.err
    (kept,) = read_segments(again, volume).segments
    assert np.array_equal(kept.mask, liver.mask) and kept.tracking_uid == liver.tracking_uid
    assert kept.codes == liver.codes and pydicom.dcmread(again).SOPInstanceUID != pydicom.dcmread(seg).SOPInstanceUID

    # A click segments its slice anew, the others stay.
    corrected = tmp_path / "corrected.nii.gz"
    point = ",".join(map(str, np.argwhere(liver.mask[3])[5][::-1])) + ",3"
    done = run(
        *("segment", series.path, "--prior", f"Liver={structures}", "--outside-point", f"Liver={point}"),
        *("-o", corrected, "--json"),
    )
    assert done.status == 0, done.err
    mask = read_labelmap(corrected).voxels > 0
    assert np.flatnonzero((mask != liver.mask).any(axis=(1, 2))).tolist() in ([], [3])

    # Or only its box is taken.
    done = run("segment", series.path, "--prior", seg, "--prior-as", "box", "-o", tmp_path / "new.nii.gz", "--json")
    assert done.status == 0 and done.json["objects"][0]["name"] == "Liver"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--prior", "nowhere.dcm"), "FILE_NOT_FOUND"),
        (("--box", BOX, "--prior-as", "soup"), "UNKNOWN_PRIOR_USE"),
        (("--box", BOX, "-o", "sr:report.dcm"), "REPORT_WITHOUT_SEGMENTATION"),
        (("--box", BOX, "-o", "rtstruct:mask.nii"), "UNKNOWN_OUTPUT_FORMAT"),
    ],
)
def test_mistakes_are_refused_before_any_work(
    run: Callable[..., Any],
    series: VariantSeries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("segment", series.path, *arguments, "-o", tmp_path / "a.nii.gz", "--json")
    assert done.status in (2, 3) and done.code == code and not list(tmp_path.iterdir())


def test_a_scan_that_is_no_dicom_gets_no_dicom_result(
    run: Callable[..., Any], scan: Path, kidney: str, tmp_path: Path
) -> None:
    done = run("segment", scan, "--box", kidney, "-o", tmp_path / "a.dcm", "--json")
    assert done.status == 3 and done.code == "NO_DICOM_SOURCE" and not list(tmp_path.iterdir())


def test_names_are_looked_up(run: Callable[..., Any]) -> None:
    found = run("terminology", "left kidney", "--json").json
    assert found["used"]["type"]["code"] == "64033007" and found["used"]["type_modifier"]["meaning"] == "Left"
    assert found["found"][0]["name"] == "kidney" and found["found"][0]["paired"]
    shown = run("terminology", "nephro")
    assert shown.status == 0
    assert "tissue" in run("terminology", "blob").err
