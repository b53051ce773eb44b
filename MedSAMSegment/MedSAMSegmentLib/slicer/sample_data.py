"""The computed abdomen in Slicer's Sample Data module: no file, no network, no patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .bridge_geometry import TO_LPS

if TYPE_CHECKING:
    from ..volume import Volume

CATEGORY = "MedSAMSegment"
_NAME = "MedSAMSegmentPhantom"


def register(icons: str) -> None:
    """Offer the phantom; ``icons`` is the folder of its thumbnail."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_NAME,
        sampleDescription=_("Computed CT abdomen"),
        # Sample Data asks for these of every sample; nothing is fetched and no file is written.
        uris="",
        fileNames="",
        nodeNames=_("Computed CT abdomen"),
        thumbnailFileName=str(Path(icons, f"{_NAME}.png")),
        customDownloader=lambda source: [load_phantom()],
    )


def load_phantom() -> Any:
    """Compute the scan and add it to the scene; its truth is ``MedSAMSegmentLib.phantom.make_phantom()``."""
    from ..phantom import make_phantom

    return add_volume(make_phantom().volume)


def add_volume(volume: Volume) -> Any:
    """A CT as a new volume node, displayed in the abdominal window."""
    node = slicer.util.addVolumeFromArray(
        volume.voxels.copy(),
        ijkToRAS=slicer.util.vtkMatrixFromArray(TO_LPS @ volume.geometry.affine),
        name=slicer.mrmlScene.GenerateUniqueName(_("Computed CT abdomen")),
    )
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(400, 40)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
