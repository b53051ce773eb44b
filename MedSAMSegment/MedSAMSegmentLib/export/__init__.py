"""Writing results: NIfTI label maps, Slicer segmentations, DICOM objects, measurements, pictures.

All or nothing, the scan's exact geometry; DICOM objects are read back and compared before they get their name.
"""

from .contact_sheet import draw_contact_sheet, write_contact_sheet
from .nifti import write_nifti, write_nifti_array
from .objects import ExportedObject, label_map
from .options import Algorithm, SheetStyle, WriteOptions
from .seg_nrrd import write_seg_nrrd
from .tile import Layer
from .write import Written, check_output, check_outputs, check_source, output_format, write_result, write_results

__all__ = [
    "Algorithm",
    "ExportedObject",
    "Layer",
    "SheetStyle",
    "WriteOptions",
    "Written",
    "check_output",
    "check_outputs",
    "check_source",
    "draw_contact_sheet",
    "label_map",
    "output_format",
    "write_contact_sheet",
    "write_nifti",
    "write_nifti_array",
    "write_result",
    "write_results",
    "write_seg_nrrd",
]
