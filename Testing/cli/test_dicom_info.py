"""``medsamsegment info`` of DICOM: every series, what is wrong with it, and nothing of the patient."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_variants import PRIVATE_WORDS, write_variant
from MedSAMSegmentLib.cli.main import main
from MedSAMSegmentLib.export import ExportedObject, write_results
from MedSAMSegmentLib.volume import read_volume


def info(capfd: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON answer, and everything that was shown to people."""
    capfd.readouterr()
    status = main(["info", str(path), *options, "--json"])
    out, err = capfd.readouterr()
    return status, json.loads(out), err


def test_the_series_of_a_medium_are_listed_and_one_is_chosen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = write_variant("DICOMDIR", tmp_path / "s")
    status, answer, shown = info(capfd, series.path)
    assert status == 3 and answer["error"]["code"] == "AMBIGUOUS" and "--series" in answer["error"]["hint"]
    assert [(s["number"], s["modality"], s["images"], s["plane"]) for s in answer["series"]] == [
        (1, "MR", 8, "axial"),
        (2, "CT", 8, "axial"),
    ]
    assert "can it be read?" in shown
    status, answer, _ = info(capfd, series.path, "--series", "2")
    assert status == 0 and answer["modality"] == "CT" and answer["dicom_slices"] == 8


def test_phases_are_counted_and_one_is_chosen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = write_variant("two echoes", tmp_path / "s")
    status, answer, _ = info(capfd, series.path)
    assert status == 3 and answer["error"]["code"] == "MULTI_PHASE" and "echo time" in answer["error"]["message"]
    assert answer["series"][0]["phases"] == 2
    status, answer, _ = info(capfd, series.path, "--phase", "2")
    assert status == 0 and any("Phase 2 of 2" in text for text in answer["warnings"])
    status, answer, _ = info(capfd, series.path, "--phase", "3")
    assert status == 3 and answer["error"]["code"] == "NO_PHASE"


def test_damaged_files_and_missing_slices_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = write_variant("unreadable slice", tmp_path / "s")
    status, answer, shown = info(capfd, series.path)
    assert status == 3 and answer["error"]["code"] == "GAP" and "--skip-unreadable" in shown
    status, answer, _ = info(capfd, series.path, "--skip-unreadable")
    assert status == 0 and answer["size_ijk"][2] == 8
    assert any("could not be read" in text for text in answer["warnings"])
    assert any("interpolated" in text for text in answer["warnings"])


def test_a_leaning_stack_can_be_put_upright(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = write_variant("gantry tilt", tmp_path / "s")
    _, leaning, _ = info(capfd, series.path)
    _, upright, _ = info(capfd, series.path, "--upright")
    assert leaning["sheared"] and not upright["sheared"]
    assert any("leans 18.0 degrees" in text for text in leaning["warnings"])
    assert upright["size_ijk"][1] > leaning["size_ijk"][1]


MEDIA = (
    "axial up",
    "gantry tilt",
    "two series",
    "two phases by number only",
    "localizer in the series",
    "RLE",
    "zip",
    "DICOMDIR",
    "unreadable slice",
    "enhanced MR of two times",
    "padding",
)


@pytest.mark.parametrize("name", MEDIA)
def test_nothing_of_the_patient_is_shown_or_logged(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    series = write_variant(name, tmp_path / "s")
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    capfd.readouterr()
    for options in ([], ["--json"], ["--series", "2"], ["--phase", "2", "--skip-unreadable"], ["--upright"]):
        main(["--debug", "info", str(series.path), *options])
    everything = "".join(capfd.readouterr()) + caplog.text
    assert "Traceback" in everything or "modality" in everything
    assert [word for word in PRIVATE_WORDS if word in everything] == []


def test_results_that_need_no_patient_hold_none(tmp_path: Path) -> None:
    """Label maps, Slicer's segmentations, pictures and tables of a DICOM scan."""
    volume = read_volume(write_variant("axial up", tmp_path / "s").path)
    mask = np.zeros(volume.geometry.shape, bool)
    mask[2:5, 10:20, 12:30] = True
    files = [tmp_path / name for name in ("a.nii.gz", "a.seg.nrrd", "a.png", "a.csv", "a.json")]
    write_results([str(file) for file in files], volume, [ExportedObject("Liver", mask)])
    private = [word.encode() for word in PRIVATE_WORDS]
    private += [instance.sop_instance_uid.encode() for instance in volume.source or ()]
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
        elif file.suffix == ".nrrd":
            header, _, voxels = content.partition(b"\n\n")
            content = header + gzip.decompress(voxels)
        assert not any(word in content for word in private), file.name
