"""A file appears complete or not at all, and a failure leaves what was there before."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.errors import OutputError
from MedSAMSegmentLib.export import ExportedObject, write_result
from MedSAMSegmentLib.export.atomic import atomic_path
from MedSAMSegmentLib.volume import Geometry, Volume

WRITE_TOO_MUCH = """
import json, sys
import numpy as np
from pathlib import Path
from MedSAMSegmentLib.errors import OutputError
from MedSAMSegmentLib.export import ExportedObject, write_result
from MedSAMSegmentLib.volume import Geometry, Volume

folder, name = Path(sys.argv[1]), sys.argv[2]
volume = Volume(np.zeros((40, 120, 120), np.int16), Geometry.from_parts((40, 120, 120), (1, 1, 1)))
noise = np.random.default_rng(0).random((40, 120, 120)) > 0.5      # cannot be compressed to nothing
old = folder / name
old.write_text("the old result")
try:
    write_result(old, volume, [ExportedObject("a", noise)])
    code = "written"
except OutputError as error:
    code = error.code
files = sorted(path.name for path in folder.iterdir())
print(json.dumps({"code": code, "files": files, "old": old.read_text(errors="replace")}))
"""


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.seg.nrrd"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    """On a real full disk: a file system of 48 kB in a private mount namespace."""
    script = f'mount -t tmpfs -o size=48k none "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}" {name}'
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("making a small disk needs the command unshare (Linux)")
    run = subprocess.run(
        [unshare, "--map-root-user", "--mount", "sh", "-c", script, WRITE_TOO_MUCH], capture_output=True, text=True
    )
    if "unshare" in run.stderr or "mount" in run.stderr:
        pytest.skip("this system lets no user mount a small disk")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"code": "DISK_FULL", "files": [name], "old": "the old result"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_a_refused_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n" + WRITE_TOO_MUCH
    run = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path), "m.nii.gz"], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == {"code": "WRITE_FAILED", "files": ["m.nii.gz"], "old": "the old result"}


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_result_replaces_the_old_one_with_usual_permissions(tmp_path: Path) -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_parts((2, 3, 4), (1, 1, 1)))
    (tmp_path / "plain").write_text("")
    path = tmp_path / "m.nii.gz"
    path.write_text("old")
    write_result(path, volume, [ExportedObject("a", np.ones((2, 3, 4), bool))])
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.nii.gz", "plain"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_parts((2, 3, 4), (1, 1, 1)))
    (tmp_path / "m.nii.gz").mkdir()
    with pytest.raises(OutputError) as caught:
        write_result(tmp_path / "m.nii.gz", volume, [ExportedObject("a", np.ones((2, 3, 4), bool))])
    assert caught.value.code == "WRITE_FAILED" and [p.name for p in tmp_path.iterdir()] == ["m.nii.gz"]
