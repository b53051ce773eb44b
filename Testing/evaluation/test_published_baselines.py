"""The harness reproduces the published filled-box and ellipsoid scores of the development data, object by object."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from MedSAMSegmentLib.evaluation import evaluate, load_manifest
from MedSAMSegmentLib.evaluation.baselines import BASELINES

pytest.importorskip("monai", reason="surface distances come from MONAI (extra 'evaluation')")

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the development data (../shared/data) is not here")

COUNTS = {
    "CT lesion": 6,
    "CT organ": 1,
    "CT organ pseudo": 24,
    "MRI lesion": 4,
    "MRI organ": 24,
    "MRI organ auto": 18,
    "cells 2D": 120,
    "cells 3D synthetic": 51,
}


def test_the_manifest_lists_the_published_objects() -> None:
    manifest = load_manifest(REPOSITORY / "benchmarks" / "shared_data.json")
    counts: dict[str, int] = {}
    for case in manifest.cases:
        counts[case.group] = counts.get(case.group, 0) + len(case.objects)
    assert counts == COUNTS


@needs_data
@pytest.mark.parametrize(("method", "code"), [("filled-box", "a_box"), ("ellipsoid", "b_ellipsoid")])
def test_scores_equal_the_published_ones(method: str, code: str) -> None:
    """All groups but the slowest: the whole brain is left to ``shared_data_manifest.py --verify``."""
    manifest = load_manifest(REPOSITORY / "benchmarks" / "shared_data.json", DATA)
    groups = [group for group in COUNTS if group != "MRI organ auto"]
    report = evaluate(manifest.select(groups=groups), BASELINES[method])
    with open(DATA / "baselines.csv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["prompt"] == "tight" and row["method"] == code]
    published = {(row["case"], row["object"]): row for row in rows if row["group"] in groups}
    assert {(score.case, score.object) for score in report.scores} == published.keys()
    for score in report.scores:
        row = published[score.case, score.object]
        assert "/".join(f"{low}:{high}" for low, high in score.box) == row["bbox_zyx"]
        assert score.voxels == int(row["voxels"])
        assert score.dice == pytest.approx(float(row["dice"]), abs=1e-4)
        assert score.nsd == (pytest.approx(float(row["nsd2mm"]), abs=1e-4) if row["nsd2mm"] else None)
