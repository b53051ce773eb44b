"""What the Slicer application adds to the wheel ``slicer-core``, as far as the extension uses it; no Qt.

:func:`bootstrap` makes ``slicer.mrmlScene``, ``slicer.app`` and ``slicer.modules.<name>.logic()``.  Scene, nodes, files
and logics are the wheel's own C++; only the thin layer that calls them is ours.
"""

from __future__ import annotations

import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

_LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}
"""Name of a module in ``slicer.modules``, and the class of its logic."""

_FILE_TYPES = {
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".mrk.json": "MarkupsFile",
    ".seg.nrrd": "SegmentationFile",
    ".nrrd": "VolumeFile",
    ".nii": "VolumeFile",
    ".nii.gz": "VolumeFile",
    ".mha": "VolumeFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
}


class InputOutput:
    """What ``slicer.util.load...``, ``save...`` and ``export...`` call (``qSlicerCoreIOManager``)."""

    def fileType(self, filename: str) -> str:
        return _FILE_TYPES[_suffix(filename, _FILE_TYPES)]

    def loadNodes(self, file_type: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        name = str(properties.get("name") or Path(path).name.split(".")[0])
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        logic = {"MarkupsFile": "markups", "SegmentationFile": "segmentations", "VolumeFile": "volumes"}
        module = getattr(slicer.modules, logic.get(file_type, "transforms")).logic()
        if file_type == "VolumeFile":
            node = module.AddArchetypeVolume(path, name, int(bool(properties.get("labelmap"))))
        elif file_type == "SegmentationFile":
            node = module.LoadSegmentationFromFile(path, True, name)
        elif file_type == "MarkupsFile":
            node = slicer.mrmlScene.GetNodeByID(module.LoadMarkups(path, name) or "")
        else:
            node = module.AddTransform(path, slicer.mrmlScene)
        if node is not None and nodes is not None:
            nodes.AddItem(node)
        return node is not None

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if "nodeID" not in properties or file_type == "SceneFile":
            return self._save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        return _write(node.GetStorageNode(), node, path)

    def exportNodes(
        self, identifiers: list[str], paths: list[str], properties: dict[str, Any], world: bool, messages: Any = None
    ) -> bool:
        """Write without touching the nodes' own storage; hardening transforms is not offered."""
        if world:
            raise NotImplementedError("the bench exports nodes in their own coordinates only")
        written = []
        for identifier, path in zip(identifiers, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(identifier)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            slicer.mrmlScene.AddNode(storage)
            written.append(_write(storage, node, path))
            slicer.mrmlScene.RemoveNode(storage)
        return all(written)

    def fileWriterFileType(self, node: Any) -> str:
        return str(node.GetClassName())

    def fileWriterExtensions(self, node: Any) -> list[str]:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        types_ = storage.GetSupportedWriteFileTypes()
        return [types_.GetValue(index) for index in range(types_.GetNumberOfValues())]

    def extractKnownExtension(self, filename: str, node: Any) -> str:
        formats = slicer.vtkDataFileFormatHelper
        known = [formats.GetFileExtensionFromFormatString(text) for text in self.fileWriterExtensions(node)]
        return _suffix(filename, known)

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = slicer.mrmlScene
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def _save_scene(self, path: str) -> bool:
        scene = slicer.mrmlScene
        if path.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(path))
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(path))
        return bool(scene.Commit())


def _suffix(filename: str, known: Any) -> str:
    """The longest known suffix of a file's name; empty for none."""
    return max((suffix for suffix in known if str(filename).lower().endswith(suffix)), key=len, default="")


def _write(storage: Any, node: Any, path: str) -> bool:
    storage.SetFileName(path)
    return bool(storage.WriteData(node))


class Application:
    """``slicer.app``; what shows something is added by ``slicer_app_qt``."""

    def __init__(self, logic: Any) -> None:
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-bench-")
        self._logic = logic
        self._files = InputOutput()
        self._slots: dict[str, list[Callable[[], None]]] = {}

    def applicationLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def coreIOManager(self) -> InputOutput:
        return self._files

    ioManager = coreIOManager

    def testingEnabled(self) -> bool:
        """Whether ``slicer.util`` lets exceptions pass instead of showing them; tests want to see them."""
        return False

    def layoutManager(self) -> None:
        return None

    def pauseRender(self) -> None:
        """Views of the bench are rendered when they are looked at."""

    resumeRender = pauseRender

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self._slots.setdefault(signal, []).append(slot)

    def emit(self, signal: str) -> None:
        """What Slicer announces, e.g. ``startupCompleted()``."""
        for slot in self._slots.get(signal, []):
            slot()


class Module:
    """One entry of ``slicer.modules``."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name, self.path, self._logic = name, path, logic

    def logic(self) -> Any:
        return self._logic


def bootstrap(slicer_python_dir: str | None = None, application: type[Application] = Application) -> Any:
    """Make the scene, the application and the logics; once in a process.

    Args:
        slicer_python_dir: holds ``ScriptedLoadableModule.py``, ``parameterNodeWrapper.py`` and ``i18n.py``, which are
            then found as parts of ``slicer``; by default the bench's own.
        application: what ``slicer.app`` is made of.

    Returns:
        The package ``slicer``.
    """
    if getattr(slicer, "mrmlScene", None) is not None:
        return slicer
    console = vtk.vtkOutputWindow()
    console.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(console)
    slicer.__path__.append(slicer_python_dir or str(Path(__file__).with_name("slicerpy_min")))
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(logic)
    slicer.mrmlScene = scene
    slicer.app = application(logic)
    _add_cache(scene)
    _add_modules(scene, logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return slicer


def _add_cache(scene: Any) -> None:
    """Reading a scene bundle (.mrb) needs a place for its files."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(slicer.app.temporaryPath)
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    # The scene does not keep them alive.
    slicer.app.cache = cache, manager


def _add_modules(scene: Any, application_logic: Any) -> None:
    slicer.modules = types.ModuleType("slicer.modules")
    sys.modules["slicer.modules"] = slicer.modules
    logics = {name: getattr(slicer, kind)() for name, kind in _LOGICS.items()}
    for name, logic in logics.items():
        logic.SetMRMLScene(scene)
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name.capitalize(), logic)
        setattr(slicer.modules, name, Module(name, logic))
    slicer.modules.colors = Module("colors", application_logic.GetColorLogic())
