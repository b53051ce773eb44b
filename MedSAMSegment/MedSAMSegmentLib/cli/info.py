"""``medsamsegment info``: what a scan is, and whether it can be segmented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MedSAMSegmentError
from .console import Output, new_table
from .options import Json, Phase, Scan, Series, SkipUnreadable, Upright, read_scan

if TYPE_CHECKING:
    from ..volume import Volume
    from ..volume.readers.dicom import SeriesReport

#: A slice spacing this many times the pixel spacing makes the third dimension hard to follow.
_THICK_SLICES = 8.0


def info(
    scan: Scan,
    series: Series = None,
    phase: Phase = None,
    skip_unreadable: SkipUnreadable = False,
    upright: Upright = False,
    json: Json = False,
) -> int:
    """Show geometry, modality and grey values of a scan, and warn of what is unusual.

    Of DICOM it lists every series, with what is wrong with it. A scan that cannot be used is refused with the reason,
    as every other command would refuse it. Nothing that tells of the patient is shown.
    """
    from rich.text import Text

    output = Output(json)
    reports = _series_reports(scan, skip_unreadable)
    listed = [_series_facts(report) for report in reports]
    if len(reports) > 1:
        _show_series(output, reports)
    try:
        volume = read_scan(scan, series, phase, skip_unreadable, upright)
    except MedSAMSegmentError as error:
        if not reports:
            raise
        output.error(error, series=listed)
        return error.exit_status
    facts = describe(volume, scan)
    facts["series"] = listed
    table = new_table(headings=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, Text(value))
    output.say(table)
    for warning in facts["warnings"]:
        output.note(warning)
    output.emit(facts)
    return 0


def _series_reports(scan: Path, skip_unreadable: bool) -> list[SeriesReport]:
    """The series of a DICOM scan; none of anything else, and none where the files themselves are refused."""
    from ..volume.readers import detect_format

    try:
        if detect_format(scan) != "dicom":
            return []
        from ..volume.readers.dicom import inspect_series

        return inspect_series(scan, skip_unreadable)
    except MedSAMSegmentError:
        return []  # reading the scan is refused for the same reason, and says so


def _series_facts(report: SeriesReport) -> dict[str, Any]:
    summary, geometry = report.summary, report.geometry
    return {
        "number": summary.number,
        "modality": summary.modality,
        "images": summary.images,
        "multi_frame": summary.multi_frame,
        "localizers": summary.localizers,
        "matrix": [summary.columns, summary.rows],
        "plane": summary.plane,
        "phases": report.phases,
        "size_ijk": None if geometry is None else list(geometry.shape[::-1]),
        "spacing_mm": None if geometry is None else [round(value, 6) for value in geometry.spacing],
        "problem": None if report.problem is None else report.problem.as_dict(),
        "notes": list(report.notes),
    }


def _show_series(output: Output, reports: list[SeriesReport]) -> None:
    from rich.text import Text

    table = new_table()
    for heading in ("series", "images", "matrix", "spacing, mm", "plane"):
        table.add_column(heading, no_wrap=True)
    table.add_column("can it be read?", overflow="fold")
    for report in reports:
        summary, geometry = report.summary, report.geometry
        table.add_row(
            f"{summary.number} {summary.modality}",
            f"{summary.images}{' frames' if summary.multi_frame else ''}",
            f"{summary.columns} x {summary.rows}",
            "" if geometry is None else " x ".join(f"{value:.3g}" for value in geometry.spacing),
            summary.plane or "unknown",
            Text(_verdict(report)),
        )
    output.say(table)


def _verdict(report: SeriesReport) -> str:
    if report.problem is None:
        return "yes"
    if report.phases > 1:
        return f"one of its {report.phases} phases, with --phase"
    return f"no: {report.problem.message}"


def describe(volume: Volume, scan: Path) -> dict[str, Any]:
    """Everything ``info`` shows, as plain data."""
    from ..volume import Window
    from ..volume.window import is_ct

    geometry = volume.geometry
    low, high = Window.parse("auto").resolve(volume)
    depth, height, width = geometry.shape
    return {
        "scan": str(scan),
        "name": volume.name,
        "modality": volume.modality,
        "treated_as_ct": is_ct(volume),
        "size_ijk": [width, height, depth],
        "spacing_mm": [round(value, 6) for value in geometry.spacing],
        "origin_lps_mm": [round(float(value), 6) for value in geometry.origin],
        "direction": [[round(float(value), 9) for value in row] for row in geometry.direction],
        "orientation": geometry.orientation_code,
        "left_handed": geometry.is_left_handed,
        "sheared": geometry.is_sheared(),
        "slice_axis": "kji"[geometry.slice_axis],
        "voxel_type": str(volume.voxels.dtype),
        "range": [volume.voxels.min().item(), volume.voxels.max().item()],
        "window": [round(low, 4), round(high, 4)],
        "dicom_slices": len(volume.source) if volume.source else 0,
        "warnings": [*volume.notes, *_warnings(volume)],
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    size, spacing = facts["size_ijk"], facts["spacing_mm"]
    extent = [count * step for count, step in zip(size, spacing, strict=True)]
    shape = ["left-handed" if facts["left_handed"] else "right-handed"]
    if facts["sheared"]:
        shape.append("sheared")
    return [
        ("scan", facts["scan"]),
        (
            "modality",
            facts["modality"] or f"not stated, looks like {'CT' if facts['treated_as_ct'] else 'MR or other'}",
        ),
        ("size", " x ".join(map(str, size)) + " voxels (i, j, k)"),
        ("spacing", " x ".join(f"{value:.4g}" for value in spacing) + " mm"),
        ("extent", " x ".join(f"{value:.1f}" for value in extent) + " mm"),
        ("axes grow to", f"{facts['orientation']} ({', '.join(shape)})"),
        ("slices", f"across {facts['slice_axis']}"),
        ("first voxel", ", ".join(f"{value:.2f}" for value in facts["origin_lps_mm"]) + " mm LPS"),
        ("values", f"{facts['range'][0]:g} to {facts['range'][1]:g} ({facts['voxel_type']})"),
        ("window", f"{facts['window'][0]:g} to {facts['window'][1]:g} (auto)"),
        *([("DICOM", f"{facts['dicom_slices']} slices with their source objects")] if facts["dicom_slices"] else []),
    ]


def _warnings(volume: Volume) -> list[str]:
    geometry = volume.geometry
    found = []
    if volume.voxels.shape[0] == 1:
        found.append("The scan has a single slice: masks are two-dimensional.")
    spacing = sorted(geometry.spacing)
    if volume.voxels.shape[0] > 1 and spacing[2] > _THICK_SLICES * spacing[0]:
        found.append(
            f"Slices are {spacing[2] / spacing[0]:.0f} times as far apart as pixels: check how the mask follows."
        )
    if geometry.is_sheared() and volume.source is None:  # of DICOM the reader has said so
        found.append("The slices are shifted against each other (gantry tilt): programs without shear misplace them.")
    if volume.voxels.min() == volume.voxels.max():
        found.append("All voxels have the same value: there is nothing to see.")
    return found
