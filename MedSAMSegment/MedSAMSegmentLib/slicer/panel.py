"""The panel: connects the widgets of ``MedSAMSegment.ui`` with the controller, and has the view show what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..errors import MedSAMSegmentError
from . import panel_export, panel_models
from . import panel_scene as scene
from .bridge_prompts import display_window
from .bridge_segments import code_by_name
from .confidence_strip import ConfidenceStrip
from .panel_controller import PanelController
from .panel_parameters import PanelParameters
from .panel_view import PanelView

_MODULE = "MedSAMSegment"

_SETTINGS = (
    "model",
    "checkpoint",
    "device",
    "window",
    "windowLevel",
    "windowWidth",
    "strategy",
    "plane",
    "fullSlice",
    "clip",
    "marginMm",
    "smooth",
    "keepComponent",
    "fillHoles",
    "diskCacheMB",
)


class MedSAMSegmentPanel(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """See the module's text.  The module file derives its widget class ``MedSAMSegmentWidget`` from it."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.controller: PanelController | None = None
        self._parameters: Any = None
        self._gui_tag: Any = None
        self._settings: tuple[Any, ...] = ()
        self._placing: Any = None
        self._place_button: Any = None
        self._boxes: set[str] = set()
        self._shortcuts: list[Any] = []
        self._review = 0
        self._watched: Any = None
        self._names: dict[str, str] = {}

    # ---- what it works with ----------------------------------------------------------------------------------------

    def make_controller(self) -> PanelController:
        """The controller with Slicer's transport and bridge."""
        from .bridge import SceneBridge
        from .worker_process import QtTransport

        return PanelController(QtTransport(), SceneBridge(), self.refresh)

    def parameter_node(self) -> Any:
        """The MRML node that the settings are kept in: the module's own, one in every scene."""
        node = slicer.mrmlScene.GetSingletonNode(_MODULE, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(_MODULE)
            node.SetName(_MODULE)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", _MODULE)
        return node

    # ---- life ------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MedSAMSegment.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.strip = ConfidenceStrip(self._go_to)
        self.view = PanelView(self.ui, self.strip)
        self.controller = self.make_controller()
        self._connect()
        for event, handler in (
            (slicer.mrmlScene.StartCloseEvent, self._scene_closes),
            (slicer.mrmlScene.EndCloseEvent, self._scene_changed),
            (slicer.mrmlScene.EndImportEvent, self._scene_changed),
        ):
            self.addObserver(slicer.mrmlScene, event, handler)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._node_removed)
        interaction = slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent
        self.addObserver(scene.interaction_node(), interaction, self._mode_changed)
        self._scene_changed()

    def enter(self) -> None:
        self._scene_changed()
        self._make_shortcuts()

    def exit(self) -> None:
        self._remove_shortcuts()
        self._disconnect_gui()

    def cleanup(self) -> None:
        self._remove_shortcuts()
        self._disconnect_gui()
        self.removeObservers()
        if self.controller is not None:
            self.controller.shut_down()

    def _scene_closes(self, caller: Any = None, event: Any = None) -> None:
        self._disconnect_gui()
        self._parameters = None
        self._boxes.clear()
        self._placing = None
        if self.controller is not None:
            self.controller.use(None)

    def _scene_changed(self, caller: Any = None, event: Any = None) -> None:
        """Use the parameter node of the scene as it is now."""
        node = self.parameter_node()
        if self._parameters is None or self._parameters.parameterNode is not node or event is not None:
            self._disconnect_gui()
            self._parameters = PanelParameters(node)
            if self.controller is not None:
                self.controller.use(self._parameters)
        if self._gui_tag is None:
            self._gui_tag = self._parameters.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        if self._parameters.inputVolume is None:
            self._parameters.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        self._settings = self._setting_values()
        self._parameters_changed()

    def _disconnect_gui(self) -> None:
        if self._parameters is not None and self._gui_tag is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        self._gui_tag = None

    # ---- connections -----------------------------------------------------------------------------------------------

    def _chosen(self, name: str, index: int) -> None:
        if self._parameters is not None:
            value = self.view.choices[name][1][index][0]
            if value == "display":
                self._take_displayed_window()
                return
            if name == "model" and value != self._parameters.model:
                self._parameters.checkpoint = ""
            setattr(self._parameters, name, value)

    def _take_displayed_window(self) -> None:
        """Level and width that the volume is displayed with become those that the network sees."""
        parameters = self._parameters
        volume = parameters.inputVolume
        if volume is None or volume.GetScalarVolumeDisplayNode() is None:
            self.refresh()
            return
        level, width = (float(part) for part in display_window(volume).split("/"))
        parameters.windowLevel = min(max(level, -4096.0), 65535.0)
        parameters.windowWidth = min(max(width, 1.0), 65535.0)
        parameters.window = "custom"

    def _connect(self) -> None:
        ui, controller = self.ui, self.controller
        assert controller is not None
        for name, (box, _items) in self.view.choices.items():
            box.connect("activated(int)", lambda index, name=name: self._chosen(name, index))
        for button, action in (
            (ui.drawBoxButton, lambda: self._draw(ui.drawBoxButton, controller.draw_box)),
            (ui.drawDiameterButton, lambda: self._draw(ui.drawDiameterButton, controller.draw_diameter)),
            (ui.drawRectangleButton, lambda: self._draw(ui.drawRectangleButton, controller.draw_rectangle)),
            (ui.segmentButton, self._segment_or_cancel),
            (ui.weakestButton, self._go_to_weakest),
            (ui.acceptSliceButton, self._accept_slice),
            (ui.acceptAllButton, controller.accept),
            (ui.releaseButton, controller.release),
            (ui.undoButton, controller.undo),
            (ui.redoButton, controller.redo),
            (ui.removeButton, lambda: controller.remove(controller.selected)),
            (ui.downloadButton, self._download),
            (ui.importButton, self._import),
            (ui.installButton, self._install),
            (ui.exportDicomButton, lambda: self._export(panel_export.dicom_segmentation)),
            (ui.exportStructuresButton, lambda: self._export(panel_export.structure_set)),
            (ui.exportNrrdButton, lambda: self._export(panel_export.segmentation_file)),
            (ui.exportNiftiButton, lambda: self._export(panel_export.nifti_file)),
            (ui.exportLabelmapButton, lambda: self._export(panel_export.labelmap)),
        ):
            button.connect("clicked(bool)", lambda checked=False, action=action: action())
        for button, role, positive in (
            (ui.insideButton, "points", True),
            (ui.outsideButton, "points", False),
            (ui.scribbleButton, "scribble", True),
            (ui.outsideScribbleButton, "scribble", False),
            (ui.sliceBoxButton, "slice-box", True),
        ):
            button.connect(
                "clicked(bool)",
                lambda checked=False, button=button, role=role, positive=positive: self._draw(
                    button, partial(controller.correct, role, positive)
                ),
            )
        ui.objectsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self._selected)

    def _make_shortcuts(self) -> None:
        """Keys that work only while the panel is open; single letters belong to the views (B and F turn the slices)."""
        if self._shortcuts:
            return
        ui = self.ui
        for keys, button in (
            ("Shift+B", ui.drawBoxButton),
            ("Shift+D", ui.drawDiameterButton),
            ("Shift+R", ui.drawRectangleButton),
            ("Shift+S", ui.segmentButton),
            ("Shift+W", ui.weakestButton),
            ("Shift+P", ui.insideButton),
            ("Shift+N", ui.outsideButton),
            ("Shift+A", ui.acceptSliceButton),
            ("Ctrl+Shift+Z", ui.undoButton),
            ("Ctrl+Shift+Y", ui.redoButton),
        ):
            shortcut = qt.QShortcut(slicer.util.mainWindow() or self.parent)
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.connect("activated()", button.click)
            self._shortcuts.append(shortcut)

    def _remove_shortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []

    # ---- the user does something -----------------------------------------------------------------------------------

    def _parameters_changed(self, caller: Any = None, event: Any = None) -> None:
        if self._parameters is None or self.controller is None:
            return
        self.controller.nodes_chosen()
        values = self._setting_values()
        if values != self._settings:
            self._settings = values
            self.controller.settings_changed()
        self._show_window()
        self.refresh()

    def _setting_values(self) -> tuple[Any, ...]:
        return tuple(getattr(self._parameters, name) for name in _SETTINGS)

    def _show_window(self) -> None:
        from ..volume.window import CT_PRESETS

        parameters = self._parameters
        if not parameters.showWindow or parameters.inputVolume is None:
            return
        if parameters.window in CT_PRESETS:
            width, level = CT_PRESETS[parameters.window]
        elif parameters.window == "custom":
            level, width = parameters.windowLevel, parameters.windowWidth
        elif self.controller is not None and self.controller.opened is not None:
            low, high = self.controller.opened["window"]
            level, width = (low + high) / 2, high - low
        else:
            return
        scene.show_window(parameters.inputVolume, level, width)

    def _draw(self, button: Any, begin: Callable[[], Any]) -> None:
        """Let the user draw the node that ``begin`` makes; a second press gives up."""
        was_this = self._place_button is button
        scene.stop_placing()
        if not was_this:
            node = begin()
            self._placing, self._place_button = node, button if node is not None else None
        self.refresh()

    def _mode_changed(self, caller: Any = None, event: Any = None) -> None:
        """Drawing has ended, by the last click or because the user gave up."""
        interaction = scene.interaction_node()
        if self._placing is None or interaction.GetCurrentInteractionMode() == interaction.Place:
            return
        node, self._placing, self._place_button = self._placing, None, None
        # The last point is set after the mode has changed.
        qt.QTimer.singleShot(0, lambda: self._drawn(node))

    def _drawn(self, node: Any) -> None:
        if node.GetScene() is None or self.controller is None:
            return
        begun = {"box": self.controller.box_drawn, "diameter": self.controller.diameter_drawn}
        begun.get(node.GetAttribute(scene.ROLE), self.controller.drawn)(node)
        self.refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_removed(self, caller: Any, event: Any, node: Any = None) -> None:
        name = None if node is None else node.GetAttribute(scene.SEGMENT)
        if name and self.controller is not None and not slicer.mrmlScene.IsClosing():
            self._boxes.discard(node.GetID())
            self.controller.box_deleted(name)

    def _box_moved(self, caller: Any, event: Any = None) -> None:
        if self.controller is not None:
            self.controller.box_moved(caller)

    def _segment_or_cancel(self) -> None:
        assert self.controller is not None
        if self.controller.busy:
            self.controller.cancel()
        else:
            self.controller.segment()

    def _selected(self, *ignored: Any) -> None:
        chosen = self.ui.objectsTable.selectedSegmentIDs()
        if chosen and self.controller is not None and not self.view.showing:
            self.controller.selected = chosen[0]
            self._review = 0
            self.refresh()

    def _go_to(self, index: int) -> None:
        if self.controller is not None:
            self.controller.show_slice(index)
            self.refresh()

    def _go_to_weakest(self) -> None:
        assert self.controller is not None
        weakest = self.controller.weakest_slices(self.controller.selected)
        if weakest:
            self._go_to(weakest[self._review % len(weakest)])
            self._review += 1

    def _accept_slice(self) -> None:
        assert self.controller is not None
        index = self.controller.shown_slice()
        if index is not None:
            self.controller.accept([index])

    # ---- models and files ------------------------------------------------------------------------------------------

    def _download(self) -> None:
        assert self.controller is not None
        self.controller.download(self._parameters.model, panel_models.agrees_to_download)

    def _import(self) -> None:
        assert self.controller is not None
        path = qt.QFileDialog.getOpenFileName(
            self.parent, _("Weights"), "", _("Weights (*.safetensors *.pt *.pth);;All files (*)")
        )
        if path:
            self.controller.import_weights(self._parameters.model, path)

    def _install(self) -> None:
        from .install import install_dependencies

        if install_dependencies() and self.controller is not None:
            self.controller.settings_changed()
        self.refresh()

    def _export(self, how: Any) -> None:
        segmentation = None if self._parameters is None else self._parameters.segmentation
        with slicer.util.tryWithErrorDisplay(_("The export failed."), waitCursor=False):
            try:
                message = how(segmentation, self._parameters.inputVolume, self.parent)
            except MedSAMSegmentError as error:
                message = f"{error.message} {error.hint}"
            if message:
                self.ui.messageLabel.setText(message)

    # ---- what the panel shows --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show everything as it is now."""
        controller, parameters = self.controller, self._parameters
        if controller is None or parameters is None or self.view.showing:
            return
        if self._watched is not parameters.segmentation:
            self._watched = parameters.segmentation
            self._watch_names(parameters.segmentation)
        for node in controller.boxes():
            if node.GetID() not in self._boxes:
                self._boxes.add(node.GetID())
                self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._box_moved)
        self.view.show(controller, parameters, self._place_button)

    def _watch_names(self, segmentation: Any) -> None:
        """Codes and colour follow the names of this segmentation's segments from now on."""
        self.removeObservers(self._segment_changed)
        self._names = {}
        if segmentation is not None:
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentModified):
                self.addObserver(segmentation.GetSegmentation(), event, self._segment_changed)
            self._segment_changed(segmentation.GetSegmentation())

    def _segment_changed(self, segmentation: Any, event: Any = None) -> None:
        for segment_id in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segment_id)
            before, self._names[segment_id] = self._names.get(segment_id), segment.GetName()
            if before is None or before == segment.GetName():
                continue
            code_by_name(segment, before)
            for node in self.controller.boxes() if self.controller is not None else ():
                if node.GetAttribute(scene.SEGMENT) == segment_id:
                    scene.show_colour(node, segment.GetColor())
