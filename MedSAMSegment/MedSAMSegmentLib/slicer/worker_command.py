"""How the worker process is started: Slicer's Python as a program of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_PACKAGES = str(Path(__file__).resolve().parents[2])
_BEGIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from MedSAMSegmentLib.slicer.{} import main; main()"


def worker_command(folder: str, python: str | None = None, module: str = "worker") -> list[str]:
    """Program and arguments.

    Args:
        folder: the exchange folder.
        python: the interpreter; by default Slicer's, outside Slicer the one that is running.
        module: whose ``main`` runs.
    """
    return [python or shutil.which("PythonSlicer") or sys.executable, "-c", _BEGIN.format(module), _PACKAGES, folder]
