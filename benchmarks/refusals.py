"""What refusing damaged series costs: ``python -m benchmarks.refusals [--write]``.

Every damaged series of ``Testing/volume/dicom_damage.py`` goes through ``medsamsegment info`` in one process and,
where ``../shared`` is there, every odd file of it; those that are refused count.  ``--write`` puts the result into
docs/dicom-reading.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from .page import DOCS, put_between_marks

REPOSITORY = Path(__file__).resolve().parents[1]
ODD_FILES = REPOSITORY.parent / "shared" / "data"


def processor_seconds() -> float:
    """Processor time that this process and its finished children have taken: other programs do not count."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def write_damaged(folder: Path) -> list[Path]:
    """One folder for each kind of damage."""
    for tests in ("Testing", "Testing/volume"):
        sys.path.insert(0, str(REPOSITORY / tests))
    from dicom_damage import REFUSED
    from dicom_phantom import write_series

    folders = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the damage while it is done
        for number, (code, damage) in enumerate(REFUSED):
            folders.append(folder / f"{number:02d} {code}")
            damage(write_series(folders[-1]))
    return folders


def odd_files() -> list[Path]:
    """The files of ``../shared/data`` that programs are known to trip over."""
    kinds = (ODD_FILES / kind for kind in ("odd_dicom", "odd_nifti"))
    return [path for kind in kinds if kind.is_dir() for path in sorted(kind.rglob("*")) if path.is_file()]


def measure(paths: list[str]) -> dict[str, Any]:
    """Run in a process of its own: exit status and seconds of each path, and the most memory anything took, MB."""
    from MedSAMSegmentLib.cli.main import main

    results = []
    for path in paths:
        started = processor_seconds()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = main(["info", path])
        results.append((path, status, processor_seconds() - started))
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"results": results, "megabytes": max(resource.getrusage(each).ru_maxrss for each in who) * unit / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the result into docs/dicom-reading.md")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        sys.__stdout__.write(json.dumps(measure(chosen.measure)))  # type: ignore[union-attr]
        return
    with tempfile.TemporaryDirectory() as folder:
        damaged = write_damaged(Path(folder))
        # The first one pays for the imports of all.
        paths = [str(path) for path in (damaged[0], *damaged, *odd_files())]
        command = [sys.executable, "-m", __spec__.name, "--measure", *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    refused = [(Path(path).name, seconds) for path, status, seconds in found["results"][1:] if status == 3]
    failed = [path for path, status, _ in found["results"] if status not in (0, 3)]
    if failed or len(refused) < len(damaged):
        raise SystemExit(f"not refused as they should be: {failed}, {len(refused)} of {len(damaged)} and more")
    for name, seconds in sorted(refused, key=lambda pair: -pair[1])[:10]:
        print(f"{seconds:6.2f} s  {name}")
    slowest = max(seconds for _, seconds in refused)
    text = (
        f"{len(refused)} damaged or odd inputs were refused with {slowest:.1f} s of processor time at most (median "
        f"{sorted(seconds for _, seconds in refused)[len(refused) // 2]:.2f} s), and never more than "
        f"{found['megabytes']:.0f} MB of memory."
    )
    print(text)
    if chosen.write:
        put_between_marks("refusals", text, DOCS / "dicom-reading.md")


if __name__ == "__main__":
    main()
