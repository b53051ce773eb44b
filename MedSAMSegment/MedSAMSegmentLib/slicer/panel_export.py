"""Export from the panel; each way asks where to, and returns a sentence for the user.

DICOM goes through this program's own writers, everything else through Slicer's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import InputError, MedSAMSegmentError, OutputError
from .dicom_export import export_dicom, source_files

_WRITERS = "highdicom>=0.24 contourpy>=1.2"


def segmentation_file(segmentation: Any, volume: Any, parent: Any) -> str:
    """``.seg.nrrd``: masks with names, colours and terminology."""
    path = _ask_file(segmentation, parent, ".seg.nrrd")
    if not path:
        return ""
    if not slicer.util.exportNode(segmentation, path):
        raise _not_written()
    return _("Saved as {name}.").format(name=os.path.basename(path))


def nifti_file(segmentation: Any, volume: Any, parent: Any) -> str:
    """NIfTI: one label map on the volume's grid."""
    path = _ask_file(segmentation, parent, ".nii.gz")
    if not path:
        return ""
    node = _labelmap_node(segmentation, volume)
    try:
        if not slicer.util.exportNode(node, path):
            raise _not_written()
    finally:
        slicer.mrmlScene.RemoveNode(node)
    return _("Saved as {name}.").format(name=os.path.basename(path))


def labelmap(segmentation: Any, volume: Any, parent: Any) -> str:
    """A label map volume in the scene, on the volume's grid."""
    node = _labelmap_node(segmentation, volume)
    return _("Label map '{name}' was made.").format(name=node.GetName())


def dicom_segmentation(segmentation: Any, volume: Any, parent: Any) -> str:
    """DICOM Segmentation."""
    return _dicom(segmentation, volume, parent, "", _by_slicer)


def structure_set(segmentation: Any, volume: Any, parent: Any) -> str:
    """DICOM RT Structure Set."""
    return _dicom(segmentation, volume, parent, "rtstruct:", None)


def _dicom(
    segmentation: Any, volume: Any, parent: Any, prefix: str, otherwise: Callable[[Any, Any, Any], str] | None
) -> str:
    """By this program's own writers, in a process of their own; what they need is installed on request."""
    _check(segmentation)
    source_files(volume)
    path = _ask_file(segmentation, parent, ".dcm")
    if not path:
        return ""
    wanted = ([prefix + path], segmentation, volume, parent)
    try:
        notes = _exported(*wanted)
    except MedSAMSegmentError as error:
        if error.code != "MISSING_PACKAGE":
            raise
        question = _("Writing DICOM needs Python packages that Slicer does not bring: {names}. Install them now?")
        if slicer.util.confirmOkCancelDisplay(question.format(names=_WRITERS)):
            slicer.util.pip_install(_WRITERS)
            notes = _exported(*wanted)
        elif otherwise is not None:
            return otherwise(segmentation, volume, parent)
        else:
            return ""
    return " ".join([_("Saved as {name}.").format(name=os.path.basename(path)), *notes])


def _exported(targets: list[str], segmentation: Any, volume: Any, parent: Any) -> tuple[str, ...]:
    """The views stay alive meanwhile; the panel does not take another order."""
    parent.setEnabled(False)
    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        return export_dicom(targets, segmentation, volume, waiting=slicer.app.processEvents)
    finally:
        slicer.app.restoreOverrideCursor()
        parent.setEnabled(True)


def _by_slicer(segmentation: Any, volume: Any, parent: Any) -> str:
    """By the exporter of Slicer's DICOM module."""
    plugins = getattr(slicer.modules, "dicomPlugins", {})
    if "DICOMSegmentationPlugin" not in plugins:
        raise InputError(
            "NO_DICOM_EXPORTER", "This Slicer has no DICOM-SEG exporter.", "Use Slicer 5.12 or QuantitativeReporting."
        )
    folder = qt.QFileDialog.getExistingDirectory(parent, _("Folder for the DICOM-SEG"))
    if not folder:
        return ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    plugin = plugins["DICOMSegmentationPlugin"]()
    exportables = plugin.examineForExport(hierarchy.GetItemByDataNode(segmentation))
    for exportable in exportables:
        exportable.directory = folder
    problem = plugin.export(exportables) if exportables else _("the exporter does not take this segmentation")
    if problem:
        raise OutputError("EXPORT_FAILED", f"The DICOM-SEG was not written: {problem}.", "See the log of Slicer.")
    return _("DICOM-SEG written.")


def _check(segmentation: Any) -> None:
    if segmentation is None or segmentation.GetSegmentation().GetNumberOfSegments() == 0:
        raise InputError("NO_RESULTS", "There is nothing to export.", "Segment an object first.")


def _ask_file(segmentation: Any, parent: Any, suffix: str) -> str:
    _check(segmentation)
    proposed = f"{segmentation.GetName()}{suffix}"
    path = qt.QFileDialog.getSaveFileName(parent, _("Export"), proposed, f"(*{suffix})")
    return path if not path or path.lower().endswith(suffix) else f"{path}{suffix}"


def _labelmap_node(segmentation: Any, volume: Any) -> Any:
    _check(segmentation)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{segmentation.GetName()} label map")
    logic = slicer.modules.segmentations.logic()
    if not logic.ExportVisibleSegmentsToLabelmapNode(segmentation, node, volume):
        slicer.mrmlScene.RemoveNode(node)
        raise _not_written()
    return node


def _not_written() -> OutputError:
    return OutputError("EXPORT_FAILED", "The file was not written.", "Check the folder and the space left.")
