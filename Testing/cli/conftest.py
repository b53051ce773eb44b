"""A command line called in this process, and small scans on disk to call it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from command_outcome import Outcome
from MedSAMSegmentLib.cli.main import main
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import Phantom, make_phantom, phantom_geometry

torch.set_num_threads(1)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("info", path)``: exit status and both streams."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small abdomen, oblique and left-handed, as scans are."""
    return make_phantom(0, phantom_geometry((20, 80, 80), (3.6, 3.6, 7.0), (8, -5, 12), left_handed=True))


@pytest.fixture(scope="session")
def scan(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small abdomen as NIfTI."""
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_nifti_array(path, phantom.volume.voxels, phantom.volume.geometry)
    return path


def index_box(mask: np.ndarray) -> Sequence[int]:
    """``i0, j0, k0, i1, j1, k1`` of a mask, upper end exclusive."""
    places = np.argwhere(mask)[:, ::-1]
    return [*map(int, places.min(axis=0)), *map(int, places.max(axis=0) + 1)]


@pytest.fixture(scope="session")
def kidney(phantom: Phantom) -> str:
    """``--box`` of the left kidney."""
    return ",".join(map(str, index_box(phantom.mask("left kidney"))))
