"""``medsamsegment auto``: everything a network finds by itself, as labelled objects in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CancelledError, UsageError
from .console import Output, cancel_on_interrupt, new_table
from .deidentify import Key
from .options import Checkpoint, Device, Json, Phase, Plane, Scan, Series, SkipUnreadable, Upright, Window, read_scan

if TYPE_CHECKING:
    import numpy as np

    from ..export.deidentify import Deidentification
    from ..inference.automatic import AutomaticSettings, FoundMask
    from ..inference.automatic_volume import FoundObject
    from ..models.specification import ModelSpec
    from ..prompts import SlicePlane
    from ..volume import Volume

_GRID_PANEL = "The grid of points, and which masks are kept (as in SAM)"
_VOLUME_PANEL = "From slices to objects of a volume"

# A contact sheet has eight colours; with more objects two would look the same.
_ON_A_SHEET = 8

# What is tracked was looked for on slices so far apart.
_KEY_SLICE_MM = 20.0


def auto(
    scan: Scan,
    outputs: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            help="File to write, several allowed: .nii.gz or .nii (label map), .seg.nrrd (Slicer, overlaps kept), .png"
            " (contact sheet; of a 2-D picture the label map, and sheet:FILE.png the contact sheet), .dcm (DICOM"
            " segmentation; labelmap:FILE.dcm is smaller), rtstruct:FILE.dcm, .csv or .json (measurements).",
        ),
    ],
    model: Annotated[str, typer.Option(help="A model that takes points, such as sam-vit-b or sam2.1-tiny.")],
    checkpoint: Checkpoint = None,
    slices: Annotated[
        str | None, typer.Option(help="One slice, or FIRST:LAST (both looked at) of the plane; default all.")
    ] = None,
    plane: Plane = "auto",
    window: Window = "auto",
    device: Device = "auto",
    points_per_side: Annotated[
        int, typer.Option(help="The grid has the square of this many points.", rich_help_panel=_GRID_PANEL)
    ] = 32,
    points_per_batch: Annotated[
        int, typer.Option(help="Points asked at once; fewer take less memory.", rich_help_panel=_GRID_PANEL)
    ] = 64,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="Least estimated overlap with the truth.", rich_help_panel=_GRID_PANEL, show_default="0.88; SAM 2: 0.8"
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float, typer.Option(help="Least stability when the cut-off moves.", rich_help_panel=_GRID_PANEL)
    ] = 0.95,
    stability_score_offset: Annotated[
        float, typer.Option(help="How far the cut-off moves, in logits.", rich_help_panel=_GRID_PANEL)
    ] = 1.0,
    box_nms_thresh: Annotated[
        float, typer.Option(help="Boxes that overlap more than this are duplicates.", rich_help_panel=_GRID_PANEL)
    ] = 0.7,
    crop_n_layers: Annotated[
        int, typer.Option(help="Look at 2 x 2, 4 x 4 ... crops, too.", rich_help_panel=_GRID_PANEL)
    ] = 0,
    crop_nms_thresh: Annotated[
        float, typer.Option(help="As --box-nms-thresh, between crops.", rich_help_panel=_GRID_PANEL)
    ] = 0.7,
    crop_overlap_ratio: Annotated[
        float,
        typer.Option(
            help="Overlap of crops as a part of the shorter side.", rich_help_panel=_GRID_PANEL, show_default="512/1500"
        ),
    ] = 512 / 1500,
    crop_n_points_downscale_factor: Annotated[
        int, typer.Option(help="Each layer's grid is so much coarser.", rich_help_panel=_GRID_PANEL)
    ] = 1,
    min_mask_region_area: Annotated[
        int, typer.Option(help="Remove holes and islands of fewer pixels.", rich_help_panel=_GRID_PANEL)
    ] = 0,
    use_m2m: Annotated[
        bool,
        typer.Option(
            "--use-m2m", help="SAM 2: ask once more with every mask found; slower.", rich_help_panel=_GRID_PANEL
        ),
    ] = False,
    linking: Annotated[
        str,
        typer.Option(
            help="overlap: look at all slices and join masks that overlap; tracking: follow those of some.",
            rich_help_panel=_VOLUME_PANEL,
        ),
    ] = "overlap",
    link_overlap: Annotated[
        float,
        typer.Option(
            help="Masks of a slice are one object from this intersection over union on.", rich_help_panel=_VOLUME_PANEL
        ),
    ] = 0.5,
    every: Annotated[
        int | None,
        typer.Option(
            help="With tracking, look at every so manieth slice.",
            rich_help_panel=_VOLUME_PANEL,
            show_default="about 20 mm",
        ),
    ] = None,
    gap_slices: Annotated[
        int, typer.Option(help="Slices bridged on which an object was missed.", rich_help_panel=_VOLUME_PANEL)
    ] = 1,
    min_slices: Annotated[
        int, typer.Option(help="Drop objects found on fewer slices of a volume.", rich_help_panel=_VOLUME_PANEL)
    ] = 2,
    series: Series = None,
    phase: Phase = None,
    skip_unreadable: SkipUnreadable = False,
    upright: Upright = False,
    deidentify: Key = None,
    json: Json = False,
) -> int:
    """Find everything on a picture or through a volume with a grid of points, without prompts.

    Defaults are those published with SAM and SAM 2. Slices are looked at one by one and joined to objects, or (with
    --linking tracking) what is found on some of them is followed through the volume.

    Example: medsamsegment auto scan.nii.gz --model sam2.1-tiny --slices 40:60 -o objects.seg.nrrd --json
    """
    from ..checkpoints import find_model, load_model
    from ..export import check_outputs, check_source
    from ..export.deidentify import read_key
    from ..inference.automatic_tracking import track_masks
    from ..inference.automatic_volume import LinkSettings, find_in_slices, link_slices
    from ..inference.image_predictor import ImagePredictor, check_takes_points
    from ..inference.runner import typed_failures
    from ..prompts import SlicePlane
    from ..volume import Window as IntensityWindow
    from .pictures import picture_colours, remarks, shown_slices

    output = Output(json)
    spec = find_model(model)
    check_takes_points(spec)
    settings = _settings(
        spec,
        pred_iou_thresh,
        points_per_side=points_per_side,
        points_per_batch=points_per_batch,
        stability_score_threshold=stability_score_thresh,
        stability_score_offset=stability_score_offset,
        box_nms_threshold=box_nms_thresh,
        crop_layers=crop_n_layers,
        crop_nms_threshold=crop_nms_thresh,
        crop_overlap_ratio=crop_overlap_ratio,
        crop_points_downscale_factor=crop_n_points_downscale_factor,
        minimum_region_area=min_mask_region_area,
        refine=use_m2m,
    )
    link = LinkSettings(link_overlap, gap_slices, min_slices)
    _check_linking(linking, every)
    IntensityWindow.parse(window)
    check_outputs(outputs)

    volume = read_scan(scan, series, phase, skip_unreadable, upright)
    deidentification = None if deidentify is None else read_key(deidentify)
    check_source(outputs, volume, deidentification)
    colours = picture_colours(scan, volume, window)
    for text in remarks(volume, colours):
        output.note(text)
    cut = SlicePlane.of(volume.geometry, plane)
    chosen = _chosen_slices(slices, cut)
    tracked = linking == "tracking" and cut.slices > 1
    if tracked:
        chosen = _key_slices(chosen, cut, every)
    pictures = shown_slices(volume, cut, chosen, IntensityWindow.parse(window).resolve(volume), colours)
    loaded = load_model(model, checkpoint, device)

    masks: dict[int, list[FoundMask]] = {}
    objects: list[FoundObject] = []
    cancelled: CancelledError | None = None
    with cancel_on_interrupt() as cancel, output.progress("looking") as show, typed_failures():
        try:
            predictor = ImagePredictor(loaded)
            for index, found in find_in_slices(predictor, pictures, settings, partial(_tell, show, "looking"), cancel):
                masks[index] = found
            if tracked:
                tell = partial(_tell, show, "tracking")
                for item in track_masks(volume, loaded, masks, window, plane, link.minimum_overlap, tell, cancel):
                    objects.append(item)
        except CancelledError as error:
            cancelled = error
    if tracked:
        objects.sort(key=lambda item: -item.voxels)
    else:
        objects = link_slices(masks, cut.axis, link)
    written = _write(output, volume, cut, objects, outputs, scan, spec.name, window, deidentification)
    summary = {
        "scan": str(scan),
        "model": spec.name,
        "slices_done": sorted(masks),
        "notes": remarks(volume, colours),
        "objects": [_describe(volume, number, item) for number, item in enumerate(objects, start=1)],
        "outputs": [str(path) for path in written],
    }
    if cancelled is not None:
        output.error(cancelled, **summary)
        return cancelled.exit_status
    _show(output, volume, objects, written)
    output.emit(summary)
    return 0


class _Exported:
    """A found object as the writers take it: its mask is made each time it is asked for, since a hundred whole masks
    would not fit into memory."""

    box = None
    colour = None
    terminology = None
    probabilities = None
    tracking_uid = ""

    def __init__(self, name: str, found: FoundObject, shape: tuple[int, int, int]) -> None:
        self.name = name
        self._found = found
        self._shape = shape

    @property
    def mask(self) -> np.ndarray:
        return self._found.mask(self._shape)

    @property
    def scores(self) -> Mapping[int, float]:
        return self._found.scores


def _settings(spec: ModelSpec, iou: float | None, **given: Any) -> AutomaticSettings:
    from ..inference.automatic import FAMILY_OF_SAM2, AutomaticSettings

    if given["refine"] and spec.architecture not in FAMILY_OF_SAM2:
        raise UsageError("OPTION_CONFLICT", "--use-m2m belongs to SAM 2.", "Leave it out, or choose a model of SAM 2.")
    published = AutomaticSettings.published(spec)
    return AutomaticSettings(predicted_iou_threshold=published.predicted_iou_threshold if iou is None else iou, **given)


def _chosen_slices(text: str | None, plane: SlicePlane) -> list[int]:
    """Slices of the plane.  Raises ``UsageError`` (``BAD_SLICES``)."""
    if text is None:
        return list(range(plane.slices))
    first, _, last = text.partition(":")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        low, high = -1, -1
    if not 0 <= low <= high < plane.slices:
        raise UsageError(
            "BAD_SLICES",
            f"{text!r} are no slices of this scan.",
            f"Write one number or FIRST:LAST, from 0 to {plane.slices - 1}.",
        )
    return list(range(low, high + 1))


def _check_linking(linking: str, every: int | None) -> None:
    """Raises ``UsageError`` (``UNKNOWN_LINKING``, ``OPTION_CONFLICT``)."""
    if linking not in ("overlap", "tracking"):
        raise UsageError("UNKNOWN_LINKING", f"There is no linking {linking!r}.", "Use overlap or tracking.")
    if every is not None and (linking != "tracking" or every < 1):
        raise UsageError(
            "OPTION_CONFLICT",
            "--every is a number of slices between those that are tracked.",
            "Add --linking tracking.",
        )


def _key_slices(slices: list[int], plane: SlicePlane, every: int | None) -> list[int]:
    """Every so manieth slice, beginning half as far from the first."""
    step = every or max(round(_KEY_SLICE_MM / plane.slice_spacing), 1)
    return slices[min(step // 2, len(slices) - 1) :: step]


def _tell(show: Callable[[int, int, str], None], what: str, done: int, total: int) -> None:
    show(done, total, what)


def _write(
    output: Output,
    volume: Volume,
    plane: SlicePlane,
    objects: list[FoundObject],
    targets: list[str],
    scan: Path,
    model: str,
    window: str,
    deidentification: Deidentification | None,
) -> list[Path]:
    """Write every output once; nothing where nothing was found."""
    from ..export import Algorithm, SheetStyle, WriteOptions, output_format, write_results
    from ..export.objects import label_map
    from ..version import SOFTWARE_VERSION
    from ..volume import Window as IntensityWindow

    if not objects:
        return []
    shape = volume.geometry.shape
    exported: list[Any] = [_Exported(f"object {number}", item, shape) for number, item in enumerate(objects, start=1)]
    labels = label_map(exported)
    shown = exported[:_ON_A_SHEET]
    rest = f" of {len(exported)}, the largest" if len(shown) < len(exported) else ""
    sheet = SheetStyle(
        plane.axis,
        IntensityWindow.parse(window),
        (scan.name or scan.resolve().name) if deidentification is None else "de-identified",
        f"{model} · {len(shown)}{rest} objects found by a grid of points",
    )
    options = WriteOptions(labels, sheet, Algorithm(model, SOFTWARE_VERSION, automatic=True), "", deidentification)
    kinds = {target: output_format(target)[0] for target in targets}
    sheets = [t for t, kind in kinds.items() if kind == "sheet" or (kind == "png" and shape[0] > 1)]
    others = [target for target in kinds if target not in sheets]
    written: list[Path] = []
    for chosen, items in ((others, exported), (sheets, shown)):
        if chosen:
            done = write_results(chosen, volume, items, options)
            written += done.paths
            for text in done.notes:
                output.note(text)
    return written


def _describe(volume: Volume, number: int, found: FoundObject) -> dict[str, Any]:
    """One object for machines; boxes are x, y, width and height of the slice, as SAM writes them."""
    per_slice = {}
    for index, item in sorted(found.found.items()):
        x0, y0, x1, y1 = item.box
        left, top, right, bottom = item.crop
        per_slice[str(index)] = {
            "predicted_iou": round(item.predicted_iou, 4),
            "stability_score": round(item.stability_score, 4),
            "area": item.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "point_coords": [list(item.point)],
            "crop_box": [left, top, right - left, bottom - top],
        }
    return {
        "name": f"object {number}",
        "label": number,
        "voxels": found.voxels,
        "millilitres": round(_millilitres(volume, found), 4),
        "confidence": round(found.confidence, 4),
        "best_slice": found.best_slice,
        "slices": per_slice,
        "scores": {str(index): round(score, 4) for index, score in sorted(found.scores.items())},
        "bridged_slices": sorted(found.blocks.keys() - found.scores.keys()),
    }


def _millilitres(volume: Volume, found: FoundObject) -> float:
    import numpy as np

    return found.voxels * abs(float(np.linalg.det(volume.geometry.affine[:3, :3]))) / 1000.0


def _show(output: Output, volume: Volume, objects: list[FoundObject], written: list[Path]) -> None:
    from rich.text import Text

    table = new_table()
    for heading in ("object", "slices", "voxels", "ml", "confidence"):
        table.add_column(heading, justify="right")
    for number, item in enumerate(objects, start=1):
        table.add_row(
            str(number),
            f"{min(item.blocks)} to {max(item.blocks)}",
            f"{item.voxels:,}",
            f"{_millilitres(volume, item):.2f}",
            f"{item.confidence:.2f}",
        )
    output.say(table)
    if not objects:
        output.note(
            "Nothing passed the filters; lower --pred-iou-thresh or --stability-score-thresh, or ask more points."
        )
    for path in written:
        output.say(Text(str(path)))
