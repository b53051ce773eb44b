"""Writing results: NIfTI label maps, Slicer segmentations, pictures. All or nothing, the scan's exact geometry."""

from .contact_sheet import draw_contact_sheet, write_contact_sheet
from .nifti import write_nifti, write_nifti_array
from .objects import ExportedObject, label_map
from .seg_nrrd import write_seg_nrrd
from .tile import Layer
from .write import check_output, output_format, write_result

__all__ = [
    "ExportedObject",
    "Layer",
    "check_output",
    "draw_contact_sheet",
    "label_map",
    "output_format",
    "write_contact_sheet",
    "write_nifti",
    "write_nifti_array",
    "write_result",
    "write_seg_nrrd",
]
