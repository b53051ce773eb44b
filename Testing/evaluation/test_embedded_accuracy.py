"""The embedded model is worth its place: better than methods that hardly look at the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib import OrientedBox, Session, Volume
from MedSAMSegmentLib.evaluation import evaluate, evaluate_clicks, load_manifest
from MedSAMSegmentLib.evaluation.baselines import ellipsoid
from MedSAMSegmentLib.evaluation.methods import SessionMethod
from MedSAMSegmentLib.phantom import make_phantom

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(0)


def _tight_box(mask: np.ndarray, volume: Volume) -> OrientedBox:
    (k0, k1), (j0, j1), (i0, i1) = (
        (int(used[0]), int(used[-1]) + 1) for used in (np.unique(axis) for axis in np.nonzero(mask))
    )
    return OrientedBox.from_index_range(volume.geometry, i0, j0, k0, i1, j1, k1)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize(("organ", "least"), [("left kidney", 0.85), ("spleen", 0.8), ("liver tumour", 0.75)])
def test_organs_of_the_phantom(phantom, organ: str, least: float) -> None:
    truth = phantom.mask(organ)
    session = Session(phantom.volume, device="cpu")
    session.add_object(organ, _tight_box(truth, phantom.volume))
    assert _dice(session.segment(organ).mask, truth) > least


def test_a_click_on_a_wrong_slice_does_not_make_it_worse(phantom) -> None:
    truth = phantom.mask("spleen")
    session = Session(phantom.volume, device="cpu")
    session.add_object("spleen", _tight_box(truth, phantom.volume))
    before = session.segment("spleen").mask
    wrong = np.argwhere(before != truth)
    worst = np.bincount(wrong[:, 0]).argmax()
    here = wrong[wrong[:, 0] == worst]
    k, j, i = min(here.tolist(), key=lambda voxel: float(np.abs(np.array(voxel) - np.median(here, axis=0)).sum()))
    point = phantom.volume.geometry.index_to_lps(np.array([i, j, k], dtype=float))
    after = session.refine("spleen", [point], positive=bool(truth[k, j, i])).mask
    assert _dice(after, truth) > _dice(before, truth) - 0.01


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (../shared/data) is not beside the project")
@pytest.mark.parametrize("group", ["CT lesion", "MRI lesion"])
def test_real_lesions_are_found_better_than_by_an_ellipsoid(group: str) -> None:
    manifest = load_manifest(REPOSITORY / "benchmarks" / "shared_data.json", DATA).select(groups=[group])

    ours = evaluate(manifest, SessionMethod("embedded", device="cpu"), surfaces=False).group(group).dice
    assert ours > evaluate(manifest, ellipsoid, surfaces=False).group(group).dice


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (../shared/data) is not beside the project")
@pytest.mark.parametrize("cases", [("hippocampus_00",), ("STS_003_MR", "STS_024_MR")])
def test_clicks_on_real_scans_correct_more_than_the_slice_that_was_clicked_on(cases: tuple[str, ...]) -> None:
    manifest = load_manifest(REPOSITORY / "benchmarks" / "shared_data.json", DATA).select(cases=cases)
    reports = evaluate_clicks(manifest, SessionMethod("embedded", device="cpu"), 3, surfaces=False)
    assert reports[3].mean_dice() > reports[0].mean_dice() + 0.02
