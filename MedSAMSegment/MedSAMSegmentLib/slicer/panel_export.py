"""Export from the panel, with Slicer's own writers; each way asks where to, and returns a sentence for the user."""

from __future__ import annotations

import os
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import InputError, OutputError


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
    """DICOM Segmentation, by the exporter of Slicer's DICOM module."""
    _check(segmentation)
    if not volume.GetAttribute("DICOM.instanceUIDs"):
        raise InputError(
            "NOT_FROM_DICOM",
            "The scan was not read from DICOM, so there is no study that a DICOM-SEG could refer to.",
            "Export .seg.nrrd or NIfTI instead.",
        )
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
