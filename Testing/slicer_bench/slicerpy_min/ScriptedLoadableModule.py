"""The base classes of scripted modules, as far as the extension relies on them."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any

import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """What a module says of itself."""

    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)

    def runTest(self, msec: int = 100, **more: Any) -> None:
        getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")().runTest(**more)


class ScriptedLoadableModuleWidget:
    """A module's panel; ``parent`` has a layout already."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout() if parent is not None else None

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """In Slicer this adds the buttons of the developer mode."""


class ScriptedLoadableModuleLogic:
    """A module's logic."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node.SetAttribute("ModuleName", self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self test."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*(arguments or ("runTest",)), **more)

    def delayDisplay(self, message: str, *ignored: Any, **more: Any) -> None:
        slicer.util.delayDisplay(message)

    def runTest(self) -> None:
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            self.setUp()
            getattr(self, name)()
            self.tearDown()
