"""Everything the panel remembers, in a parameter node: it is saved with the scene and follows undo and redo of MRML."""

from __future__ import annotations

from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class PanelParameters:
    """See the tooltips of the panel for what each one means; what is known of objects is kept with segmentations."""

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    model: str = "embedded"
    checkpoint: str = ""
    device: str = "auto"
    window: str = "auto"
    windowLevel: Annotated[float, WithinRange(-4096.0, 65535.0)] = 40.0
    windowWidth: Annotated[float, WithinRange(1.0, 65535.0)] = 400.0
    showWindow: bool = False
    livePreview: bool = True
    direction: str = "both"
    limitRange: bool = False
    firstSlice: Annotated[int, WithinRange(0, 100000)] = 0
    lastSlice: Annotated[int, WithinRange(0, 100000)] = 100000
    strategy: str = "auto"
    plane: str = "auto"
    fullSlice: bool = False
    clip: bool = True
    marginMm: Annotated[float, WithinRange(0.0, 50.0)] = 3.0
    smooth: bool = True
    keepComponent: bool = True
    fillHoles: bool = True
    diskCacheMB: Annotated[int, WithinRange(0, 100000)] = 0


def worker_options(parameters: Any) -> dict[str, Any]:
    """What the worker is told when a scan is opened: model, weights, device and settings."""
    window = parameters.window
    if window == "custom":
        window = f"{parameters.windowLevel:g}/{parameters.windowWidth:g}"
    return {
        "model": parameters.model,
        "checkpoint": parameters.checkpoint,
        "device": parameters.device,
        "disk_cache_mb": parameters.diskCacheMB,
        "settings": {
            "window": window,
            "plane": parameters.plane,
            "full_slice": parameters.fullSlice,
            "tracking": {"strategy": parameters.strategy},
            "cleanup": {
                "clip": parameters.clip,
                "margin_mm": parameters.marginMm,
                "smooth": parameters.smooth,
                "keep_component": parameters.keepComponent,
                "fill_holes": parameters.fillHoles,
            },
        },
    }
