"""From a patient's series to images and results that do not name the patient, by the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dicom_variants import PRIVATE_WORDS, write_variant
from MedSAMSegmentLib.volume import read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

BOX = "5,4,1,38,34,6"


def test_results_made_today_belong_to_images_deidentified_with_the_same_key(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    scan = write_variant("oblique", tmp_path / "Quellmalz, Annegret").path
    key, images, seg, sheet = (tmp_path / name for name in ("project.key", "images", "liver.dcm", "sheet.png"))
    done = run(
        *("segment", scan, "--box", BOX, "--label", "Liver", "-o", seg, "-o", sheet),
        *("--deidentify", key, "--creator", "Doe^Jane", "--json"),
    )
    assert done.status == 0, done.err
    assert any("not guaranteed" in note for note in done.json["notes"])
    done = run("deidentify", scan, "--key", key, "-o", images, "--json")
    assert done.status == 0, done.err
    assert done.json["files"] == 8 and any("not guaranteed" in note for note in done.json["notes"])
    for file in (seg, *images.iterdir()):
        raw = file.read_bytes()
        assert not any(word.encode() in raw for word in (*PRIVATE_WORDS, "Doe^Jane") if len(word) > 6)
    (liver,) = read_segments(seg, read_volume(images)).segments
    assert liver.mask.any() and np.array_equal(read_volume(images).voxels, read_volume(scan).voxels)

    done = run("deidentify", scan, "--key", key, "-o", images, "--json")
    assert done.status == 3 and done.code == "FOLDER_NOT_EMPTY"
    done = run(
        *("segment", scan, "--box", BOX, "--label", "Quellmalz 1", "-o", tmp_path / "b.dcm", "--deidentify", key),
        "--json",
    )
    assert done.status == 2 and done.code == "LABEL_IDENTIFIES" and "Quellmalz" not in done.json["error"]["message"]
    assert not (tmp_path / "b.dcm").exists()
