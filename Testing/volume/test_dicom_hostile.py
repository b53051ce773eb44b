"""Archives, media and pixels nobody should trust: refused with a code, within limits, nothing left behind."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_damage import (
    bomb,
    corrupt_jpeg_2000,
    each,
    jpeg_2000_of_another_size,
    links,
    lying_length,
    nested,
    rle_bomb,
)
from dicom_phantom import Phantom, write_series
from dicom_variants import PRIVATE_WORDS, write_variant
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.private_folder import PREFIX, private_folder, sweep
from MedSAMSegmentLib.volume import read_volume
from MedSAMSegmentLib.volume.readers.dicom import decoding
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the program, empty."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def refused(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as error:
        read_volume(path, **options)  # type: ignore[arg-type]
    assert error.value.hint and error.value.__cause__ is None
    assert not any(word in str(error.value) for word in (*PRIVATE_WORDS, "Mueller", "SECRET"))
    return error.value.code


# --- archives


@pytest.mark.parametrize(
    "name", ["../../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"]
)
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path: Path, scratch: Path, name: str) -> None:
    phantom = write_series(tmp_path / "s")
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(phantom.file(0), "IM0.dcm")
        target.writestr(name, b"x")
    before = sorted(tmp_path.rglob("*"))
    assert refused(archive) == "UNSAFE_ARCHIVE"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_grows_too_far_is_refused(tmp_path: Path, scratch: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target, target.open("a.dcm", "w") as member:
        for _ in range(200):
            member.write(bytes(1 << 20))
    assert refused(archive) == "BOMB"
    assert list(scratch.iterdir()) == []


def test_an_archive_that_lies_about_its_sizes_is_refused(tmp_path: Path, scratch: Path) -> None:
    archive = tmp_path / "liar.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.dcm", bytes(1 << 20))
    raw = archive.read_bytes().replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    archive.write_bytes(raw)
    assert refused(archive) in ("BOMB", "UNREADABLE")


def test_damaged_and_empty_archives_are_refused(tmp_path: Path, scratch: Path) -> None:
    series = write_variant("zip", tmp_path / "s")
    raw = series.path.read_bytes()
    series.path.write_bytes(raw[: len(raw) // 2])
    assert refused(series.path) == "UNREADABLE"
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as target:
        target.writestr("readme.txt", "nothing here")
    assert refused(empty) == "NO_SERIES"


def test_what_is_unpacked_is_private_nameless_and_gone_afterwards(tmp_path: Path) -> None:
    series = write_variant("zip", tmp_path / "s")
    program = (
        "import json, os, sys; from pathlib import Path; from MedSAMSegmentLib.volume import read_volume\n"
        "volume = read_volume(sys.argv[1])\n"
        "files = [Path(s.path) for s in volume.source]\n"
        "print(json.dumps([[f.name for f in files], [oct(p.stat().st_mode & 0o777) for p in files[0].parents[:2]],"
        " str(files[0].parents[1]), all(f.is_file() for f in files)]))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(series.path)], capture_output=True, text=True, check=True, env=environment
    )
    names, modes, folder, there = json.loads(done.stdout)
    assert there and names == [f"{n:06d}.dcm" for n in range(8)]
    assert modes == ["0o700", "0o700"]
    assert Path(folder).parent == tmp_path and not Path(folder).exists()


def test_what_a_killed_process_left_is_swept_and_what_is_in_use_is_not(scratch: Path) -> None:
    with private_folder() as used:
        left, being_made = scratch / f"{PREFIX}left", scratch / f"{PREFIX}without-a-lock-yet"
        (left / "files").mkdir(parents=True)
        (left / "files" / "000000.dcm").write_bytes(b"pixels")
        (left / "lock").write_bytes(b"")
        being_made.mkdir()
        sweep(scratch)
        assert not left.exists() and being_made.is_dir() and used.is_dir()
        assert stat.S_IMODE(used.stat().st_mode) == stat.S_IMODE(used.parent.stat().st_mode) == 0o700
        long_ago = time.time() - 3600
        os.utime(being_made, (long_ago, long_ago))
        sweep(scratch)
    assert list(scratch.iterdir()) == []


# --- media


@pytest.mark.parametrize("file_id", [["..", "..", "OUT"], ["A/../../OUT"], ["C:", "OUT"]])
def test_a_directory_that_points_outside_its_folder_is_refused(tmp_path: Path, file_id: list[str]) -> None:
    series = write_variant("DICOMDIR", tmp_path / "s")
    records = pydicom.dcmread(series.path)
    image = next(r for r in records.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.ReferencedFileID = file_id
        records.save_as(series.path)
    assert refused(series.path) == ("UNSAFE_PATH")


def test_a_listed_image_that_is_not_there_concerns_its_own_series_only(tmp_path: Path) -> None:
    series = write_variant("DICOMDIR", tmp_path / "s")
    root = series.path.parent
    images = [file for file in sorted(root.rglob("*")) if file.is_file() and file.name != "DICOMDIR"]
    uids = {file: str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in images}
    last = series.planes[-1].sop_instance_uid
    next(file for file, uid in uids.items() if uid == last).unlink()
    assert refused(series.path, series=2) == "UNREADABLE"
    assert read_volume(series.path, series=1).voxels.shape[0] == 8
    volume = read_volume(series.path, series=2, skip_unreadable=True)
    assert volume.voxels.shape[0] == 7
    assert any("could not be read" in note for note in volume.notes)


# --- pixels


def test_decoding_is_stopped_when_it_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "s", syntax=RLELossless)
    monkeypatch.setattr(decoding, "_START_SECONDS", 0.05)
    monkeypatch.setattr(decoding, "_FRAME_SECONDS", 0.0)
    monkeypatch.setattr(decoding, "_SECONDS_A_MEGABYTE", 0.0)
    assert refused(tmp_path / "s") == "DECODING_LIMIT"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory limits need /proc")
def test_decoding_is_stopped_when_it_takes_too_much_memory(tmp_path: Path) -> None:
    """The child asks for more than an image of this size may need, and only the child suffers."""
    program = (
        "import numpy as np\n"
        "from MedSAMSegmentLib.volume.readers.dicom import decoder\n"
        "from MedSAMSegmentLib.volume.readers.dicom.frames import FrameRequest\n"
        "import sys\n"
        "decoder._limit_memory([FrameRequest(sys.argv[1], (0,), 1, 40, 48, 16)])\n"
        "np.ones(64 << 20, np.uint8); print('small')\n"
        "try:\n    np.ones(2 << 30, np.uint8)\nexcept MemoryError:\n    print('refused')\n"
    )
    phantom = write_series(tmp_path / "s", places=(0,))
    done = subprocess.run(
        [sys.executable, "-c", program, str(phantom.file(0))], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["small", "refused"]


def test_no_decoder_is_left_running(tmp_path: Path) -> None:
    import psutil

    phantom = write_series(tmp_path / "s", syntax=RLELossless)
    phantom.datasets[2].PixelData = encapsulate([bytes(64)])
    phantom.save(2)
    assert refused(phantom.folder) == "PIXELS"
    assert psutil.Process().children() == []


def test_a_library_of_the_working_directory_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = write_series(tmp_path / "s", syntax=RLELossless)
    for name in ("numpy", "pydicom", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_volume(phantom.folder).voxels, phantom.values)
    assert not (tmp_path / "ran").exists()


# --- damaged files that the user says to leave out


@pytest.mark.parametrize("number", [0, 3, 5])
@pytest.mark.parametrize("kind", ["empty", "header", "pixels", "stream"])
def test_damaged_files_are_left_out_only_when_asked(tmp_path: Path, number: int, kind: str) -> None:
    phantom = write_series(tmp_path / "s", syntax=JPEG2000Lossless if kind == "stream" else None)
    file = phantom.file(number)
    whole = file.read_bytes()
    if kind == "stream":
        phantom.datasets[number].PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
        phantom.save(number)
    else:
        file.write_bytes(whole[: {"empty": 0, "header": 700, "pixels": len(whole) - 60}[kind]])
    assert refused(phantom.folder) in ("UNREADABLE", "GAP", "TRUNCATED", "PIXELS")
    volume = read_volume(phantom.folder, skip_unreadable=True)
    assert any("1 file(s) that could not be read were left out" in note for note in volume.notes)
    kept = [n for n in range(6) if n != number]
    places = volume.geometry.lps_to_index(phantom.positions[kept])[:, 2]
    for k, n in zip(np.rint(places).astype(int), kept, strict=True):
        np.testing.assert_array_equal(volume.voxels[k], phantom.values[n])
    assert volume.voxels.shape[0] == (6 if number == 3 else 5)


# --- what is made to cost much

HOSTILE: list[Callable[[Phantom], object]] = [
    lambda p: each(p, Rows=65535, Columns=65535),
    bomb,
    rle_bomb,
    jpeg_2000_of_another_size,
    corrupt_jpeg_2000,
    nested,
    lying_length,
    links,
]

_HARNESS = """
import json, os, resource, sys
from MedSAMSegmentLib.cli.main import main
results = []
for folder in sorted(os.listdir(sys.argv[1])):
    status = main(["--debug", "info", os.path.join(sys.argv[1], folder)])
    results.append([folder, status])
# The peak of this program alone: ru_maxrss begins with that of whoever started it.
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak = [int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
print("RESULT" + json.dumps([results, peak]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is measured as on Linux")
def test_hostile_inputs_take_little_memory_and_say_nothing_private(tmp_path: Path) -> None:
    """Through the command line with tracebacks: refused, in little memory, nothing private, nothing left."""
    folder = tmp_path / "bad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, damage in enumerate(HOSTILE):
            damage(write_series(folder / f"{number:02d}"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", _HARNESS, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    results, peak = json.loads(done.stdout.split("RESULT")[1])
    assert [status for _, status in results] == [3] * len(HOSTILE)
    assert max(peak) < 300 * 1024
    for word in ("Mueller", "SECRET"):
        assert word not in done.stdout + done.stderr
    assert sorted(tmp_path.rglob("*")) == before
