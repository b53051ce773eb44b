"""Series of every kind times every DICOM result, as other programs read them: ``python -m benchmarks.dicom_matrix``.

The table of docs/dicom-results.md: voxels found wrong (of the objects' true voxels), by this program's own reader,
highdicom, dcmqi (inside 3D Slicer) and plastimatch, and errors that dciodvfy reports.  ``--write`` puts it between the
two marks of the page.  The same comparisons are the test ``Testing/export/test_dicom_matrix.py``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .page import DOCS, put_between_marks

REPOSITORY = Path(__file__).resolve().parents[1]
for _folder in ("Testing", "Testing/export"):
    sys.path.insert(0, str(REPOSITORY / _folder))

import dicom_truth as truth  # noqa: E402  (the tests are no package)
import test_dicom_matrix as matrix  # noqa: E402
from MedSAMSegmentLib.volume.readers.segments import read_segments  # noqa: E402

Masks = dict[str, np.ndarray]
KINDS = ("BINARY", "LABELMAP", "FRACTIONAL", "rtstruct")


def wrong_voxels(found: Masks, expected: Masks) -> str:
    """``exact``, or the share of voxels that are missing or too many."""
    wrong = sum(
        int(np.count_nonzero(found[name] ^ mask)) if name in found else int(np.count_nonzero(mask))
        for name, mask in expected.items()
    )
    total = sum(int(np.count_nonzero(mask)) for mask in expected.values())
    return "exact" if wrong == 0 else f"{min(wrong / total, 1):.0%} wrong"


def by_us(written: matrix.Written, kind: str, folder: Path) -> str:
    """This program, on its own grid."""
    stored = {item.name: item.mask for item in read_segments(written.file(kind), written.volume).segments}
    expected = {item.name: item.mask for item in written.objects}
    if kind == "LABELMAP":
        expected[truth.LIVER] = expected[truth.LIVER] & ~expected[truth.LESION]
    return wrong_voxels(stored, expected)


def by_highdicom(written: matrix.Written, kind: str, folder: Path) -> str:
    found = truth.by_highdicom(written.file(kind), written.series) >= 0.5
    return wrong_voxels({name: found[..., n] for n, name in enumerate(written.masks)}, written.expected(kind))


def by_dcmqi(written: matrix.Written, kind: str, folder: Path) -> str:
    found = truth.by_dcmqi(written.file(kind), written.series, folder / f"dcmqi-{kind}")
    return wrong_voxels(found, written.expected(kind))


def by_plastimatch(written: matrix.Written, kind: str, folder: Path) -> str:
    if written.name in matrix.NOT_FOR_PLASTIMATCH or written.series.planes[0].frame_number is not None:
        return "not read"
    found = list(truth.by_plastimatch(written.file(kind), written.series, folder / "plastimatch").values())
    # It renames structures; each mask is compared with the one that is most like it.
    best = {name: min(found, key=lambda other: int((other ^ mask).sum())) for name, mask in written.masks.items()}
    return wrong_voxels(best, written.masks)


def by_dciodvfy(written: matrix.Written, kind: str, folder: Path) -> str:
    errors = truth.dciodvfy_errors(written.file(kind))
    if kind == "LABELMAP":
        errors = [line for line in errors if not any(known in line for known in matrix.LABEL_MAP_UNKNOWN)]
    return str(len(errors))


Reader = Callable[[matrix.Written, str, Path], str]
READERS: list[tuple[str, Reader, tuple[str, ...], bool]] = [
    ("this program", by_us, KINDS, True),
    ("highdicom", by_highdicom, KINDS[:3], True),
    ("dcmqi", by_dcmqi, KINDS[:2], truth.DCMQI is not None),
    ("plastimatch", by_plastimatch, KINDS[3:], shutil.which("plastimatch") is not None),
    ("dciodvfy errors", by_dciodvfy, KINDS, shutil.which("dciodvfy") is not None),
]


def row(name: str) -> list[str]:
    """The cells of one kind of series; what all formats have in common is said once."""
    with tempfile.TemporaryDirectory() as folder:
        written = matrix.Written(name, Path(folder))
        cells = [name]
        for _, reader, kinds, there in READERS:
            answers = {kind: reader(written, kind, Path(folder)) for kind in kinds} if there else {}
            alike = set(answers.values())
            cells.append(
                alike.pop() if len(alike) == 1 else ", ".join(f"{kind} {answer}" for kind, answer in answers.items())
            )
        return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/dicom-results.md")
    parser.add_argument("names", nargs="*", default=matrix.VARIANTS, help="kinds of series; all by default")
    chosen = parser.parse_args()
    names = [f"{name}: {', '.join(kinds)}" if len(kinds) < len(KINDS) else name for name, _, kinds, _ in READERS]
    lines = [f"| series | {' | '.join(names)} |", "|---" * (len(READERS) + 1) + "|"]
    lines += [f"| {' | '.join(row(name))} |" for name in chosen.names]
    table = "\n".join(lines)
    print(table)
    if chosen.write:
        put_between_marks("matrix", table, DOCS / "dicom-results.md")


if __name__ == "__main__":
    main()
