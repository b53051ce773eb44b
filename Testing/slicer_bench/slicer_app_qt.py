"""Slicer with panels, without Slicer: :func:`bootstrap_qt`, and modules loaded as Slicer loads them."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import qt
import slicer
import slicer_application


class QtApplication(slicer_application.Application):
    """``slicer.app`` with an event loop; messages to the user are kept in :attr:`messages` instead of being shown.

    Attributes:
        messages: kind (``"error"``, ``"warning"``, ``"info"`` or ``"question"``) and text.
        answer: what the user says to questions.
    """

    def __init__(self, logic: Any) -> None:
        super().__init__(logic)
        self._application = qt.QApplication.instance() or qt.QApplication(sys.argv[:1])
        self.messages: list[tuple[str, str]] = []
        self.answer = True

    def processEvents(self) -> None:
        self._application.processEvents()

    def userSettings(self) -> Any:
        return qt.QSettings()

    def setOverrideCursor(self, cursor: Any) -> None:
        self._application.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._application.restoreOverrideCursor()


def bootstrap_qt(slicer_python_dir: str | None = None) -> Any:
    """Like :func:`slicer_application.bootstrap`, with Qt, Slicer's widgets and dialogs; once in a process.

    Settings are kept in a folder of their own, which goes with the process.
    """
    if isinstance(getattr(slicer, "app", None), QtApplication):
        return slicer
    settings = tempfile.mkdtemp(prefix="slicer-bench-settings-")
    qt.QSettings.setDefaultFormat(qt.QSettings.Format.IniFormat)
    qt.QSettings.setPath(qt.QSettings.Format.IniFormat, qt.QSettings.Scope.UserScope, settings)
    qt.QCoreApplication.setOrganizationName("slicer-bench")
    slicer_application.bootstrap(slicer_python_dir, QtApplication)
    importlib.import_module("ctk")
    importlib.import_module("qmrml")
    _record_dialogs()
    slicer.util.mainWindow = lambda: None
    return slicer


def _record_dialogs() -> None:
    def recorder(kind: str) -> Any:
        def record(text: Any, *ignored: Any, **more: Any) -> bool:
            slicer.app.messages.append((kind, str(text)))
            return slicer.app.answer

        return record

    for name, kind in (
        ("errorDisplay", "error"),
        ("warningDisplay", "warning"),
        ("infoDisplay", "info"),
        ("delayDisplay", "info"),
        ("messageBox", "info"),
        ("confirmOkCancelDisplay", "question"),
        ("confirmYesNoDisplay", "question"),
    ):
        setattr(slicer.util, name, recorder(kind))


def load_module(path: Path | str) -> tuple[Any, Any]:
    """Import a scripted module and make its object, as Slicer does at its start.

    Returns:
        The Python module and the object.
    """
    path = Path(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = importlib.import_module(path.stem)
    parent = types.SimpleNamespace(path=str(path), title="", icon=None)
    made = getattr(module, path.stem)(parent)
    entry = slicer_application.Module(path.stem, path=str(path))
    setattr(slicer.modules, path.stem.lower(), entry)
    setattr(slicer.modules, f"{path.stem}Instance", made)
    return module, made


def open_panel(widget_class: type) -> Any:
    """Make a module's panel in a window of its own and enter it, as when the user chooses the module."""
    parent = slicer.qSlicerWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    widget = widget_class(parent)
    widget.setup()
    parent.isEntered = True
    widget.enter()
    return widget
