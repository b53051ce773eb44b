"""What a Segment Editor effect is given by Slicer's editor, over the real editor logic of the wheel.

Slicer's C++ effect hands its calls to ``vtkSlicerSegmentEditorLogic``; so does this.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any


class EffectHost:
    """An open Segment Editor with one effect active.

    Args:
        path: the effect's file, with a class ``SegmentEditorEffect``.
        segmentation, volume: what is edited.
    """

    def __init__(self, path: Path, segmentation: Any, volume: Any) -> None:
        import qt
        import slicer

        self.name = self.title = ""
        self.perSegment = True
        self.requireSegments = False
        self.visible = True
        editor = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        editor.UnRegister(None)
        self.editor = slicer.mrmlScene.AddNode(editor)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.editor.SetAndObserveSegmentationNode(segmentation)
        self.editor.SetAndObserveSourceVolumeNode(volume)
        self.logic.SetSegmentEditorNode(self.editor)
        self.logic.SetSegmentationNode(segmentation)
        self.logic.SetSourceVolumeNode(volume)
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetMaximumNumberOfStates(10)
        self.logic.SetSegmentationHistory(self.history)
        self.history.SetSegmentation(segmentation.GetSegmentation())
        slicer.qSlicerSegmentEditorAbstractEffect = slicer.vtkSlicerSegmentEditorLogic
        base = types.ModuleType("SegmentEditorEffects")
        base.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
        base.__all__ = ["AbstractScriptedSegmentEditorEffect"]
        sys.modules["SegmentEditorEffects"] = base
        specification = importlib.util.spec_from_file_location("SegmentEditorEffect", path)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        self._frame = qt.QWidget()
        self._layout = qt.QFormLayout(self._frame)
        self.effect = module.SegmentEditorEffect(self)
        self.effect.setupOptionsFrame()
        self.effect.setMRMLDefaults()
        self.effect.updateGUIFromMRML()

    # ---- what an effect calls --------------------------------------------------------------------------------------

    def addOptionsWidget(self, widget: Any) -> None:
        self._layout.addRow(widget)

    def parameterSetNode(self) -> Any:
        return self.editor

    def integerParameter(self, name: str) -> int:
        return int(self.editor.GetAttribute(f"{self.name}.{name}") or 0)

    def setParameter(self, name: str, value: Any) -> None:
        self.editor.SetAttribute(f"{self.name}.{name}", str(value))
        self.effect.updateGUIFromMRML()

    def setParameterDefault(self, name: str, value: Any) -> None:
        if self.editor.GetAttribute(f"{self.name}.{name}") is None:
            self.editor.SetAttribute(f"{self.name}.{name}", str(value))

    def confirmCurrentSegmentVisible(self) -> bool:
        return self.visible

    def saveStateForUndo(self) -> None:
        self.logic.SaveStateForUndo()

    def modifySegmentByLabelmap(self, segmentation: Any, segment: str, labelmap: Any, mode: Any) -> None:
        everything = [0, -1, 0, -1, 0, -1]
        self.logic.ModifySegmentByLabelmap(segmentation, segment, labelmap, mode, everything, self.perSegment, False)


class AbstractScriptedSegmentEditorEffect:
    """The base class that Slicer gives to effects in Python."""

    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect
