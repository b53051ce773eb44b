"""Stand-ins for Slicer's own widgets (qMRML..., qSlicer...), on the real scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from PySide6.QtCore import Property, QItemSelection, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)


def _only_child(parent: QWidget, child: QWidget) -> None:
    row = QHBoxLayout(parent)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(child)


class _Observing:
    """Observers of VTK objects that are given up together."""

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def observe(self, subject: Any, events: tuple[Any, ...], callback: Callable[[], None]) -> None:
        for event in events:
            # After the nodes' own observers.
            self._tags.append((subject, subject.AddObserver(event, lambda caller, name: callback(), -1.0)))

    def stop(self) -> None:
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags = []


@qt.stand_in
class qMRMLWidget(QWidget):
    """Tells its children which scene there is, by the connections of the .ui file."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self.isEntered = False

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@qt.stand_in
class qSlicerWidget(qMRMLWidget):
    """The parent of a module's panel."""


@qt.stand_in
class qMRMLNodeComboBox(QWidget):
    """A list of the scene's nodes of some classes; without ``noneEnabled`` the first one is chosen."""

    currentNodeChanged = Signal(object)
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._list = QComboBox()
        _only_child(self, self._list)
        self._list.activated.connect(self._chosen)
        self._observers = _Observing()
        self._scene: Any = None
        self._current: Any = None
        self._types: list[str] = []
        self._nodes: list[Any] = []
        self._flags = {"noneEnabled": False, "addEnabled": True, "removeEnabled": True, "showChildNodeTypes": True}
        self._none_display, self._base_name = "None", ""

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._observers.stop()
        self._scene = scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndBatchProcessEvent)
            self._observers.observe(scene, events, self._fill)
        self._fill()
        self.mrmlSceneChanged.emit(scene)

    def setNodeTypes(self, types: Any) -> None:
        self._types = list(types)
        self._fill()

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self._choose(node if node in self._nodes else None)

    def addNode(self) -> Any:
        kind = self._types[0]
        name = self._base_name or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(name))
        self._choose(node)
        return node

    def _flag(name: str) -> Any:  # type: ignore[misc]
        def write(self: qMRMLNodeComboBox, value: bool) -> None:
            self._flags[name] = value
            self._fill()

        return Property(bool, lambda self: self._flags[name], write)

    noneEnabled, addEnabled = _flag("noneEnabled"), _flag("addEnabled")
    removeEnabled, showChildNodeTypes = _flag("removeEnabled"), _flag("showChildNodeTypes")
    renameEnabled = Property(bool, lambda self: False, lambda self, value: None)

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._fill()

    nodeTypes = Property("QStringList", lambda self: list(self._types), setNodeTypes)
    noneDisplay = Property(str, lambda self: self._none_display, _set_none_display)
    baseName = Property(str, lambda self: self._base_name, lambda self, text: setattr(self, "_base_name", text))

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors():
            return False
        children = self._flags["showChildNodeTypes"]
        return any(node.IsA(kind) if children else node.GetClassName() == kind for kind in self._types)

    def _fill(self) -> None:
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        nodes = self._scene.GetNodes()
        found = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        self._nodes = [node for node in found if self._accepts(node)]
        self._list.clear()
        if self._flags["noneEnabled"]:
            self._list.addItem(self._none_display)
        for node in self._nodes:
            self._list.addItem(node.GetName())
        if self._flags["addEnabled"]:
            self._list.addItem("Create new ...")
        current = self._current if self._current in self._nodes else None
        if current is None and self._nodes and not self._flags["noneEnabled"]:
            current = self._nodes[0]
        self._choose(current)

    def _choose(self, node: Any) -> None:
        changed, self._current = node is not self._current, node
        if changed and node is not None and node not in self._nodes:
            self._fill()
        first = int(self._flags["noneEnabled"])
        self._list.setCurrentIndex(self._nodes.index(node) + first if node in self._nodes else first - 1)
        if changed:
            self.currentNodeChanged.emit(node)

    def _chosen(self, row: int) -> None:
        """By the user."""
        row -= int(self._flags["noneEnabled"])
        if row == len(self._nodes):
            self.addNode()
        else:
            self._choose(self._nodes[row] if row >= 0 else None)


@qt.stand_in
class qMRMLSegmentsTableView(QWidget):
    """Segments by row: visible or not, colour, name, status."""

    selectionChanged = Signal(QItemSelection, QItemSelection)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = QTableWidget(0, 4)
        _only_child(self, self._table)
        self._table.setHorizontalHeaderLabels(["", "", "Name", "Status"])
        for column, width in enumerate((28, 40, 200)):
            self._table.setColumnWidth(column, width)
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setMinimumHeight(110)
        self._table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._table.itemChanged.connect(self._renamed)
        self._node: Any = None
        self._segments: list[str] = []
        self._observers = _Observing()
        self._filling = False

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._observers.stop()
        self._node = node
        if node is not None:
            kind = slicer.vtkSegmentation
            events = (kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, kind.SegmentsOrderModified)
            self._observers.observe(node.GetSegmentation(), events, self._fill)
        self._fill()

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows())
        return tuple(self._segments[row] for row in rows if row < len(self._segments))

    def setSelectedSegmentIDs(self, segments: Any) -> None:
        self._table.clearSelection()
        for segment in segments:
            if segment in self._segments:
                self._table.selectRow(self._segments.index(segment))

    def _selection_changed(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        if not self._filling:
            self.selectionChanged.emit(selected, deselected)

    def _renamed(self, item: QTableWidgetItem) -> None:
        if not self._filling and item.column() == 2:
            self._node.GetSegmentation().GetSegment(self._segments[item.row()]).SetName(item.text())

    def _fill(self) -> None:
        selected = self.selectedSegmentIDs()
        self._filling = True
        self._segments = [] if self._node is None else list(self._node.GetSegmentation().GetSegmentIDs())
        self._table.setRowCount(len(self._segments))
        for row, name in enumerate(self._segments):
            for column, item in enumerate(self._items(name)):
                self._table.setItem(row, column, item)
        self.setSelectedSegmentIDs(selected)
        self._filling = False

    def _items(self, name: str) -> tuple[QTableWidgetItem, ...]:
        segment = self._node.GetSegmentation().GetSegment(name)
        display, logic = self._node.GetDisplayNode(), slicer.vtkSlicerSegmentationsModuleLogic
        eye = QTableWidgetItem("◉" if display is None or display.GetSegmentVisibility(name) else "○")
        colour = QTableWidgetItem()
        colour.setBackground(qt.QColor.fromRgbF(*segment.GetColor()))
        status = logic.GetSegmentStatusAsHumanReadableString(logic.GetSegmentStatus(segment))
        return eye, colour, QTableWidgetItem(segment.GetName()), QTableWidgetItem(status)


@qt.stand_in
class qMRMLSegmentationShow3DButton(QPushButton):
    """Makes and removes the closed surfaces that the 3-D view shows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Show 3D", parent)
        self._node: Any = None
        self.setCheckable(True)
        self.toggled.connect(self._show)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node

    def _show(self, shown: bool) -> None:
        if self._node is not None and shown:
            self._node.CreateClosedSurfaceRepresentation()
        elif self._node is not None:
            self._node.RemoveClosedSurfaceRepresentation()


for _name, _kind in qt.QUiLoader.stand_ins.items():
    if _name.startswith(("qMRML", "qSlicer")):
        setattr(slicer, _name, _kind)
