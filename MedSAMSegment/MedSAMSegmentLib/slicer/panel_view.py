"""What the panel shows: the choices, the objects, what can be done with them, and how sure the network is."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import panel_models
from . import panel_scene as scene
from .confidence_strip import ConfidenceStrip
from .panel_controller import PanelController


class PanelView:
    """See the module's text.

    Args:
        ui: the widgets of ``MedSAMSegment.ui``.
        strip: shows how sure the network is of every slice; it is put into its frame.

    Attributes:
        choices: by parameter, its combo box and (value, text) of all that can be chosen there.
        showing: widgets change because of :meth:`show`, not because of the user.
    """

    def __init__(self, ui: Any, strip: ConfidenceStrip) -> None:
        self.choices = _choices(ui)
        self.showing = False
        self.ui = ui
        self._strip = strip
        self._shown: Any = None
        row = qt.QHBoxLayout(ui.confidenceFrame)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(strip)
        for box, items in self.choices.values():
            for value, text in items:
                box.addItem(text, value)

    def show(self, controller: PanelController, parameters: Any, pressed: Any | None) -> None:
        """Show everything as it is now.

        Args:
            pressed: the button of what is being drawn.
        """
        if self.showing:
            return
        self.showing = True
        try:
            self._show_choices(parameters)
            self._show_run(controller)
            self._show_segments(controller, parameters.segmentation)
            self._show_confidence(controller, parameters.segmentation)
            self._show_corrections(controller)
            drawing = self.ui.drawBoxButton, self.ui.drawDiameterButton, self.ui.drawRectangleButton
            for button in drawing:
                button.setEnabled(parameters.inputVolume is not None)
            for button in (*drawing, *self._clicks(), self.ui.sliceBoxButton):
                button.setChecked(button is pressed)
        finally:
            self.showing = False

    def _show_choices(self, parameters: Any) -> None:
        ui = self.ui
        for name, (box, items) in self.choices.items():
            values = [value for value, _text in items]
            current = getattr(parameters, name)
            box.setCurrentIndex(values.index(current) if current in values else 0)
        spec = panel_models.chosen_model(parameters.model)
        here = panel_models.is_here(spec) or bool(parameters.checkpoint)
        ui.modelInfoLabel.setText(panel_models.describe(spec, parameters.checkpoint))
        ui.downloadButton.setEnabled(not here and not spec.checkpoint.browser_only)
        custom = parameters.window == "custom"
        ui.windowLevelSpinBox.setVisible(custom)
        ui.windowWidthSpinBox.setVisible(custom)
        ui.firstSliceSpinBox.setEnabled(parameters.limitRange)
        ui.lastSliceSpinBox.setEnabled(parameters.limitRange)

    def _show_run(self, controller: PanelController) -> None:
        ui, busy = self.ui, controller.busy
        ui.segmentButton.setText(_("Cancel") if busy else _("Segment"))
        ui.segmentButton.setEnabled(busy or controller.ready)
        ui.segmentButton.setToolTip(
            _("Stop; what was found so far is kept. (Shift+S)")
            if busy
            else _("Segment all objects that are new or were changed. (Shift+S)")
            if controller.ready
            else _("Choose a volume and draw a box first.")
        )
        ui.progressBar.setVisible(busy)
        ui.progressBar.setValue(round(100 * (controller.fraction or 0.0)))
        ui.messageLabel.setText(controller.message)
        ui.installButton.setVisible(controller.code == "NOT_INSTALLED")
        ui.undoButton.setEnabled(controller.client.can_undo and not busy)
        ui.redoButton.setEnabled(controller.client.can_redo and not busy)

    def _show_segments(self, controller: PanelController, segmentation: Any | None) -> None:
        table = self.ui.objectsTable
        if self._shown is not segmentation:
            self._shown = segmentation
            table.setSegmentationNode(segmentation)
            self.ui.show3DButton.setSegmentationNode(segmentation)
        names = set(controller.objects)
        for node in controller.boxes():
            name = node.GetAttribute(scene.SEGMENT)
            scene.show_handles(node, name == controller.selected)
            names.add(name)
        # Of a scene that was loaded, the states that were saved hold until the scan is open.
        if segmentation is not None and controller.opened is not None:
            for name in names:
                _show_status(segmentation, name, controller)
        selected = controller.selected
        if _has_segment(segmentation, selected) and list(table.selectedSegmentIDs()) != [selected]:
            table.setSelectedSegmentIDs([selected])

    def _show_confidence(self, controller: PanelController, segmentation: Any | None) -> None:
        ui, name = self.ui, controller.selected
        there = _has_segment(segmentation, name)
        scores = controller.scores.get(name, {}) if there else {}
        accepted = set(controller.objects.get(name, {}).get("accepted", ()))
        self._strip.show_scores(scores, accepted, controller.shown_slice())
        weakest = controller.weakest_slices(name) if there else []
        ui.weakestButton.setEnabled(bool(weakest))
        if weakest:
            ui.confidenceLabel.setText(
                _("Least sure on slice {index}: {score:.0%}").format(index=weakest[0], score=scores[weakest[0]])
            )
        else:
            ui.confidenceLabel.setText("")

    def _show_corrections(self, controller: PanelController) -> None:
        ui = self.ui
        selected = controller.correctable and not controller.busy
        segmented = selected and bool(controller.scores.get(controller.selected))
        clicks = controller.understands("points")
        for button in self._clicks():
            button.setEnabled(selected and clicks)
        ui.sliceBoxButton.setEnabled(selected)
        for button in (ui.acceptSliceButton, ui.acceptAllButton):
            button.setEnabled(segmented)
        accepted = controller.objects.get(controller.selected, {}).get("accepted", ())
        ui.releaseButton.setEnabled(selected and (bool(accepted) or controller.opened is None))
        ui.removeButton.setEnabled(selected)

    def _clicks(self) -> tuple[Any, ...]:
        ui = self.ui
        return ui.insideButton, ui.outsideButton, ui.scribbleButton, ui.outsideScribbleButton


def _choices(ui: Any) -> dict[str, tuple[Any, list[tuple[str, str]]]]:
    return {
        "model": (ui.modelComboBox, [(spec.name, spec.title) for spec in panel_models.choosable_models()]),
        "window": (ui.windowComboBox, panel_models.windows()),
        "direction": (
            ui.directionComboBox,
            [
                ("both", _("both ways")),
                ("up", _("upwards from the slice shown")),
                ("down", _("downwards from the slice shown")),
            ],
        ),
        "strategy": (
            ui.strategyComboBox,
            [
                ("auto", _("Automatic: the whole box at once where the model can")),
                ("propagate", _("Propagate with memory")),
                ("hybrid", _("Propagate, and ask the box again where in doubt")),
                ("per-slice", _("Every slice on its own from the box")),
            ],
        ),
        "plane": (
            ui.planeComboBox,
            [
                ("auto", _("As acquired")),
                ("axial", _("Axial")),
                ("coronal", _("Coronal")),
                ("sagittal", _("Sagittal")),
            ],
        ),
        "device": (
            ui.deviceComboBox,
            [("auto", _("Automatic")), ("cpu", _("CPU")), ("cuda", _("NVIDIA GPU")), ("mps", _("Apple GPU"))],
        ),
    }


def _has_segment(segmentation: Any | None, name: str) -> bool:
    return segmentation is not None and segmentation.GetSegmentation().GetSegment(name) is not None


def _show_status(segmentation: Any, name: str, controller: PanelController) -> None:
    """The state of an object in Slicer's own column."""
    segment = segmentation.GetSegmentation().GetSegment(name)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if segment is None:
        return
    status = {
        "new": logic.NotStarted,
        "changed": logic.InProgress,
        "segmented": logic.InProgress,
        "doubtful": logic.Flagged,
        "accepted": logic.Completed,
    }[controller.status(name)]
    if logic.GetSegmentStatus(segment) != status:
        logic.SetSegmentStatus(segment, status)
