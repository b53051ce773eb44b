"""The program as a whole: help, version, exit status, JSON, surprises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.evaluation import Case, LabelSource, Manifest, TruthObject
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import Phantom

COMMANDS = ("demo", "segment", "auto", "challenge", "info", "models", "evaluate", "train")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command: str) -> None:
    result = run(command, "--help")
    assert result.status == 0 and "Usage" in result.out and "--json" in result.out


def test_the_program_lists_its_commands_without_loading_anything_large() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "MedSAMSegmentLib.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(command in result.stdout for command in COMMANDS)
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert not imported & {"torch", "SimpleITK", "pydicom", "nibabel", "matplotlib", "scipy", "monai", "numpy"}


def test_no_arguments_show_the_help(run) -> None:
    result = run()
    assert result.status == 0 and "Start with: medsamsegment demo" in " ".join(result.out.split())


def test_the_version_is_that_of_the_package(run) -> None:
    from importlib.metadata import version

    assert run("--version").out.strip() == version("medsamsegment")


def test_unknown_commands_and_missing_arguments(run) -> None:
    for arguments in (["transmogrify"], ["segment"], ["segment", "scan.nii.gz"]):
        result = run(*arguments, "--json")
        assert (result.status, result.code) == (2, "USAGE")
        assert "help" in result.json["error"]["hint"]


def test_surprises_show_no_traceback_unless_asked(run, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the program itself: here the description of the scan breaks."""
    from MedSAMSegmentLib.cli import info

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret content of a file")

    monkeypatch.setattr(info, "describe", broken)
    result = run("info", scan, "--json")
    assert (result.status, result.code) == (5, "UNEXPECTED")
    assert "--debug" in result.json["error"]["hint"]
    assert "Traceback" not in result.err and "secret" not in result.err + result.out
    assert "Traceback" in run("--debug", "info", scan, "--json").err


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f'"{sys.executable}" -m MedSAMSegmentLib.cli.main models list --json | head -1; echo ${{PIPESTATUS[0]}}'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.stdout.splitlines() == ["{", "0"] and "Error" not in result.stderr


def test_info_tells_where_a_scan_lies(run, scan: Path, phantom: Phantom) -> None:
    result = run("info", scan, "--json")
    facts = result.json
    assert result.status == 0 and facts["size_ijk"] == [80, 80, 20] and facts["left_handed"]
    assert facts["spacing_mm"] == pytest.approx([3.6, 3.6, 7.0], abs=1e-4) and facts["treated_as_ct"]
    assert facts["orientation"] == phantom.volume.geometry.orientation_code
    assert np.allclose(facts["direction"], phantom.volume.geometry.direction, atol=1e-5)
    assert facts["window"] == [-160.0, 240.0] and facts["warnings"] == []
    assert "80 x 80 x 20" in run("info", scan).out


def test_info_warns_of_what_is_unusual(run, tmp_path: Path) -> None:
    from MedSAMSegmentLib.volume import Geometry

    affine = np.array([[0.5, 0, 0, 0], [0, 0.5, 2, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    write_nifti_array(tmp_path / "s.nii.gz", np.zeros((6, 20, 20), np.int16), Geometry((6, 20, 20), affine))
    warnings = " ".join(run("info", tmp_path / "s.nii.gz", "--json").json["warnings"])
    assert "gantry tilt" in warnings and "same value" in warnings and "times as far apart" in warnings


def test_models_are_listed_with_their_licences(run) -> None:
    models = {model["name"]: model for model in run("models", "list", "--json").json["models"]}
    assert models["embedded"]["available"] and models["embedded"]["licence"]["identifier"] == "Apache-2.0"
    assert "medsam2" in models
    assert "medsam2" in run("models").out
    one = run("models", "info", "medsam2", "--json").json
    assert one["checkpoint"]["sha256"] == models["medsam2"]["checkpoint"]["sha256"]
    assert "CC-BY-SA-4.0" in run("models", "info", "medsam2").out
    unknown = run("models", "info", "medsam3", "--json")
    assert (unknown.status, unknown.code) == (2, "UNKNOWN_MODEL")


@pytest.fixture
def manifest(scan: Path, phantom: Phantom, tmp_path: Path) -> Path:
    """Two organs of the small abdomen."""
    write_nifti_array(tmp_path / "labels.nii.gz", phantom.labels, phantom.volume.geometry)
    (tmp_path / "scan.nii.gz").write_bytes(scan.read_bytes())
    objects = (TruthObject("left kidney", (3,)), TruthObject("spleen", (5,)))
    case = Case("abdomen", "CT organ", "scan.nii.gz", LabelSource("labels.nii.gz"), objects)
    Manifest("small abdomen", tmp_path, (case,)).write(tmp_path / "m.json")
    return tmp_path / "m.json"


def test_evaluation_compares_models_and_classical_methods(run, manifest: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="surface distances come from MONAI (extra 'evaluation')")
    folder = tmp_path / "report"
    result = run(
        *("evaluate", manifest, "--method", "embedded", "--method", "filled-box", "--jitter", "0", "--jitter", "3"),
        *("-o", folder, "--worst", "1", "--json"),
    )
    assert result.status == 0
    reports = result.json["reports"]
    assert [(report["method"], report["jitter"]) for report in reports] == [
        ("embedded", 0),
        ("filled-box", 0),
        ("embedded", 3),
        ("filled-box", 3),
    ]
    box = reports[1]["groups"][0]
    assert box["count"] == 2 and 0.3 < box["dice"] < 0.8 and box["nsd"] is not None
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.json", "objects.csv", "box-plots-jitter0.png", "box-plots-jitter3.png", "worst"}
    assert (folder / "worst" / "embedded-jitter0" / "ct-organ-1.png").stat().st_size > 1000
    assert json.loads((folder / "results.json").read_text())["reports"] == reports


def test_evaluation_prints_a_table(run, manifest: Path) -> None:
    pytest.importorskip("monai", reason="surface distances come from MONAI (extra 'evaluation')")
    result = run("evaluate", manifest, "--method", "ellipsoid")
    assert result.status == 0 and "CT organ" in result.out and "NSD 2 mm" in result.out
    result = run("evaluate", manifest, "--prompt", "rectangle")
    assert result.status == 0 and "one rectangle on one slice an object" in result.out


def test_the_help_names_every_classical_method() -> None:
    from MedSAMSegmentLib.cli.evaluate import BASELINE_NAMES
    from MedSAMSegmentLib.evaluation.baselines import BASELINES

    assert BASELINE_NAMES.split(", ") == list(BASELINES)


def test_evaluation_refuses_what_it_cannot_run(run, manifest: Path, tmp_path: Path) -> None:
    for arguments, status, code in (
        (["--method", "guess"], 2, "UNKNOWN_MODEL"),
        (["--group", "feet"], 3, "EMPTY_SELECTION"),
        (["--prompt", "star"], 2, "UNKNOWN_PROMPT"),
        (["--prompt", "diameter", "--jitter", "3"], 2, "OPTION_CONFLICT"),
        (["--prompt", "diameter", "--method", "ellipsoid"], 2, "NOT_INTERACTIVE"),
        (["--root", tmp_path / "elsewhere", "--method", "filled-box"], 3, "FILE_NOT_FOUND"),
    ):
        result = run("evaluate", manifest, *arguments, "--json")
        assert (result.status, result.code) == (status, code)
    (tmp_path / "bad.json").write_text("{")
    assert run("evaluate", tmp_path / "bad.json", "--json").code == "BAD_MANIFEST"
