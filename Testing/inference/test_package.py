"""What ``from MedSAMSegmentLib import ...`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import MedSAMSegmentLib
import pytest


def loaded_after(statement: str) -> set[str]:
    """Heavy libraries that are in memory after a statement in a fresh interpreter."""
    program = f"import sys\n{statement}\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return set(out.split()) & {"torch", "scipy", "SimpleITK", "pydicom", "nibabel", "matplotlib", "numpy"}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import MedSAMSegmentLib") == set()


def test_geometry_and_prompts_cost_numpy_only():
    assert loaded_after("from MedSAMSegmentLib import Volume, OrientedBox; import MedSAMSegmentLib.prompts") == {
        "numpy"
    }


def test_every_public_name_exists_and_others_do_not():
    for name in MedSAMSegmentLib.__all__:
        assert getattr(MedSAMSegmentLib, name) is not None
    assert set(MedSAMSegmentLib.__all__) <= set(dir(MedSAMSegmentLib))
    with pytest.raises(AttributeError):
        _ = MedSAMSegmentLib.Sesion
