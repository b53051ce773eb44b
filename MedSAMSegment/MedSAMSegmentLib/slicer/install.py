"""Installing what the worker needs into Slicer's Python: asked for by a button, named beforehand, never at start-up.

Only what is missing is added.  Everything that is there already (NumPy, SimpleITK, PyTorch ...) is held at its version,
so that no other extension and Slicer itself lose what they were made with.  PyTorch comes by Slicer's PyTorch
extension, which finds the build that fits the graphics card.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

_logger = logging.getLogger(__name__)

REQUIREMENTS: Mapping[str, str] = {"safetensors": "0.4", "platformdirs": "4.2"}
"""Packages that Slicer does not bring, with the smallest version that will do."""

TORCH = "2.4"
"""The smallest version of PyTorch."""

_EXTENSION = "PyTorch"
_RESUME = "MedSAMSegment/ResumeInstallation"
_TITLE = "MedSAMSegment"


@dataclass(frozen=True)
class Plan:
    """What has to be done.

    Attributes:
        torch: PyTorch is missing.
        extension: the PyTorch extension is missing, too; installing it needs a restart.
        packages: requirements for pip.
        outdated_torch: version of a PyTorch that is too old; it is not replaced.
    """

    torch: bool
    extension: bool
    packages: tuple[str, ...]
    outdated_torch: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.torch or self.packages or self.outdated_torch)

    def describe(self) -> str:
        """The question before anything is installed."""
        names = list(self.packages)
        if self.torch:
            names.insert(0, _("PyTorch {version} or later, by the PyTorch extension").format(version=TORCH))
        if self.extension:
            names.insert(0, _("the extension PyTorch, after which Slicer restarts and goes on"))
        return _(
            "To segment, this must be installed:\n\n{names}\n\n"
            "PyTorch is a download of 0.2 to 3 GB, depending on the graphics card; the rest is small. "
            "Packages that are installed already are not changed. Install now?"
        ).format(names="\n".join(f"- {name}" for name in names))


def make_plan(path: Sequence[str] | None = None) -> Plan:
    """What is missing.

    Args:
        path: folders of packages; by default those of this Python.
    """
    there = _installed(path)
    outdated = [name for name, least in REQUIREMENTS.items() if name not in there or _older(there[name], least)]
    packages = tuple(f"{name}>={REQUIREMENTS[name]}" for name in outdated)
    torch = there.get("torch", "")
    missing = not torch
    return Plan(
        missing,
        missing and importlib.util.find_spec("PyTorchUtils") is None,
        packages,
        torch if torch and _older(torch, TORCH) else "",
    )


def constraints(plan: Plan, path: Sequence[str] | None = None) -> str:
    """Lines for pip that hold every installed package at its version, but for those that the plan renews."""
    renewed = {re.split("[<>=]", package)[0] for package in plan.packages}
    return "".join(f"{name}=={version}\n" for name, version in _installed(path).items() if name not in renewed)


def install_dependencies() -> bool:
    """Ask, and install what is missing.

    Returns:
        Whether all is there now.  ``False`` also when the user declined, when something failed (which was said in a
        sentence), or when Slicer restarts to go on; the panel works on in each case.
    """
    plan = make_plan()
    if plan.complete:
        return True
    if slicer.app.testingEnabled():
        _logger.info("Nothing is installed in testing mode.")
        return False
    if plan.outdated_torch:
        slicer.util.errorDisplay(
            _(
                "PyTorch {version} is too old; {least} or later is needed. Other extensions may rely on it, so it is "
                "not replaced here: uninstall it in the module 'PyTorch Utils', restart, and try again."
            ).format(version=plan.outdated_torch, least=TORCH),
            windowTitle=_TITLE,
        )
        return False
    if not slicer.util.confirmOkCancelDisplay(plan.describe(), windowTitle=_TITLE):
        return False
    try:
        if plan.extension:
            _install_extension()
            return False
        with _constraints_file(plan) as file:
            if plan.torch:
                _install_torch(file)
            if plan.packages:
                _pip_install([*plan.packages, "-c", str(file)])
    except Exception as error:
        _logger.exception("The installation failed.")
        slicer.util.errorDisplay(
            _("The installation failed: {reason}. Nothing that was there has been changed; try again later.").format(
                reason=str(error) or type(error).__name__
            ),
            windowTitle=_TITLE,
        )
        return False
    importlib.invalidate_caches()
    return make_plan().complete


def resume() -> bool:
    """Go on after the restart that the user agreed to; does nothing at any other start.

    Returns:
        Whether an installation was waiting.
    """
    settings = qt.QSettings()
    if not slicer.util.toBool(settings.value(_RESUME, False)):
        return False
    settings.remove(_RESUME)
    install_dependencies()
    return True


def _install_extension() -> None:
    """Install the PyTorch extension; Slicer restarts, and :func:`resume` goes on."""
    settings = qt.QSettings()
    settings.setValue(_RESUME, True)
    manager = slicer.app.extensionsManagerModel()
    # What is installed was asked already.
    manager.interactive = False
    if not manager.installExtensionFromServer(_EXTENSION, True):
        settings.remove(_RESUME)
        raise RuntimeError(_("the extension PyTorch could not be fetched; install it in the Extensions Manager"))


def _install_torch(constraints_file: Path) -> None:
    """By the PyTorch extension, whose pip obeys the environment."""
    import PyTorchUtils

    # pip splits the variable at spaces, which a URL has none of.
    before, os.environ["PIP_CONSTRAINT"] = os.environ.get("PIP_CONSTRAINT"), constraints_file.as_uri()
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=f">={TORCH}"
        )
    finally:
        if before is None:
            del os.environ["PIP_CONSTRAINT"]
        else:
            os.environ["PIP_CONSTRAINT"] = before
    if torch is None:
        raise RuntimeError(_("PyTorch was not installed"))


def _pip_install(arguments: list[str]) -> None:
    """By Slicer >= 5.12's own installer, which shows how far it is; by the plain one before."""
    try:
        from slicer.packaging import pip_install
    except ImportError:
        from slicer.util import pip_install
    pip_install(arguments)


@contextlib.contextmanager
def _constraints_file(plan: Plan) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="medsamsegment-install-") as folder:
        file = Path(folder, "constraints.txt")
        file.write_text(constraints(plan), encoding="utf-8")
        yield file


def _installed(path: Sequence[str] | None) -> dict[str, str]:
    """Version of every installed package, by its normalised name; the first one found is the one that is imported."""
    found: dict[str, str] = {}
    options: dict[str, Any] = {} if path is None else {"path": list(path)}
    for package in metadata.distributions(**options):
        name, version = package.metadata["Name"], package.version
        if name and version:
            found.setdefault(re.sub("[-_.]+", "-", name).lower(), version)
    return found


def _older(version: str, least: str) -> bool:
    """Whether a version comes before another one, by the numbers they begin with."""

    def release(text: str) -> list[int]:
        numbers = re.match(r"\d+(\.\d+)*", text)
        return [int(part) for part in numbers.group().split(".")] if numbers else []

    a, b = release(version), release(least)
    longest = max(len(a), len(b))
    return a + [0] * (longest - len(a)) < b + [0] * (longest - len(b))
