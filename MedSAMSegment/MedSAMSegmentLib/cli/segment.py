"""``medsamsegment segment``: boxes and other prompts on a scan become masks in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CancelledError, UsageError
from .console import Output, cancel_on_interrupt
from .deidentify import Key
from .options import (
    Checkpoint,
    Device,
    DiskCache,
    FullSlice,
    Json,
    NoCleanup,
    Official,
    Phase,
    Plane,
    Runtime,
    Scan,
    Series,
    SkipUnreadable,
    Strategy,
    Upright,
    Window,
    read_scan,
)
from .priors import PriorOptions, Priors, PriorUse
from .prompt_options import (
    Boxes,
    Labels,
    Lines,
    Masks,
    OutsidePoints,
    OutsideScribbles,
    Points,
    PromptFiles,
    PromptOptions,
    Rois,
    Scribbles,
    SliceBoxes,
    Space,
)

if TYPE_CHECKING:
    from ..export.deidentify import Deidentification
    from ..inference import EmbeddingCache, Session
    from ..volume import Volume
    from ..volume.readers.segments import StoredSegment
    from .prompted import PromptedObject


def segment(
    scan: Scan,
    outputs: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            help="File to write, several allowed: .nii.gz or .nii (label map), .seg.nrrd (Slicer), .png (contact sheet;"
            " of a 2-D picture the mask, and sheet:FILE.png the contact sheet), .csv or .json (measurements); of a"
            " DICOM scan .dcm (segmentation), labelmap:FILE.dcm, fractional:FILE.dcm, rtstruct:FILE.dcm, sr:FILE.dcm"
            " (report of measurements, beside a segmentation), upright:FILE.dcm (segmentation on an even grid).",
        ),
    ],
    box: Boxes = None,
    space: Space = "ijk",
    roi: Rois = None,
    point: Points = None,
    outside_point: OutsidePoints = None,
    scribble: Scribbles = None,
    outside_scribble: OutsideScribbles = None,
    line: Lines = None,
    slice_box: SliceBoxes = None,
    mask: Masks = None,
    prompts: PromptFiles = None,
    label: Labels = None,
    prior: Priors = None,
    prior_as: PriorUse = "mask",
    model: Annotated[str | None, typer.Option(help="Name of a model, see medsamsegment models.")] = None,
    checkpoint: Checkpoint = None,
    window: Window = "auto",
    device: Device = "auto",
    runtime: Runtime = "auto",
    disk_cache: DiskCache = 0,
    strategy: Strategy = "auto",
    plane: Plane = "auto",
    full_slice: FullSlice = False,
    official: Official = False,
    no_cleanup: NoCleanup = False,
    multimask: Annotated[
        bool,
        typer.Option(
            "--multimask", help="Write all masks the model offers on each object's key slice, to choose from."
        ),
    ] = False,
    session: Annotated[
        Path | None,
        typer.Option(help="With prompts: save them and the settings here. Without: repeat the session saved here."),
    ] = None,
    creator: Annotated[
        str, typer.Option(help="Who makes the masks, Family^Given, for DICOM files; left out unless given.")
    ] = "",
    deidentify: Key = None,
    series: Series = None,
    phase: Phase = None,
    skip_unreadable: SkipUnreadable = False,
    upright: Upright = False,
    json: Json = False,
) -> int:
    """Segment what is prompted and write the masks.

    A picture (PNG, JPEG, TIFF) with boxes or points is segmented whole and in colour, as the model's own program does
    it; everything else through the volume.

    Example: medsamsegment segment scan.nii.gz --box 120,80,30,190,150,52 --label liver -o liver.seg.nrrd -o liver.png
    """
    from ..export import check_outputs, check_source
    from ..export.deidentify import read_key
    from ..inference.runtimes import check_runtime
    from ..prompts import SlicePlane
    from ..volume import Window as IntensityWindow
    from .positions import check_space

    output = Output(json)
    given = PromptOptions(
        *(box or (), space, roi or (), prompts or (), label or (), point or (), outside_point or (), scribble or ()),
        *(outside_scribble or (), line or (), slice_box or (), mask or ()),
    )
    earlier = PriorOptions(prior or (), prior_as)
    earlier.check()
    prompted = given.any_given or bool(prior)
    if not prompted and session is None:
        raise UsageError(
            "NO_BOX",
            "There is nothing to segment.",
            "Give a --box, --roi, --point, --line, --prompts, --prior or a --session.",
        )
    choices = _Choices(model, checkpoint, window, device, strategy, plane, full_slice, official, no_cleanup, runtime)
    if not prompted:
        choices.refuse_settings()
    # Whatever can be refused without reading the scan is refused first.
    check_space(space)
    IntensityWindow.parse(window)
    check_runtime(runtime)
    check_outputs(outputs)

    deidentification = None if deidentify is None else read_key(deidentify)

    volume = read_scan(scan, series, phase, skip_unreadable, upright)
    objects = given.objects(volume.geometry) if given.any_given else []
    priors = earlier.read(volume, output)
    objects = earlier.prompt(objects, priors, volume.geometry, SlicePlane.of(volume.geometry, plane).axis)
    check_source(outputs, volume, deidentification, [item.name for item in objects])
    if objects and session is None and choices.goes_as_picture(scan, volume, objects):
        return _picture(output, choices, scan, volume, objects, outputs, multimask)
    for text in volume.notes:
        output.note(text)
    if session is not None and not objects:
        from ..inference import Session

        job = Session.load(session, volume, model, device, checkpoint, runtime, cache=_cache(disk_cache))
    else:
        job = choices.session(volume, _cache(disk_cache))
        for item in objects:
            item.add_to(job)
        if session is not None:
            job.save(session)
    for text in job.runtime.notes:
        output.note(text)
    if multimask:
        return _offer(output, job, scan, outputs)
    return _volume(output, job, scan, outputs, creator, priors, deidentification)


@dataclass(frozen=True)
class _Choices:
    """The options that decide how is segmented."""

    model: str | None
    checkpoint: Path | None
    window: str
    device: str
    strategy: str
    plane: str
    full_slice: bool
    official: bool
    no_cleanup: bool
    runtime: str

    def refuse_settings(self) -> None:
        """A session file brings its own settings.  Raises ``UsageError`` (``OPTION_CONFLICT``)."""
        given = {
            "--window": self.window != "auto",
            "--strategy": self.strategy != "auto",
            "--plane": self.plane != "auto",
            "--full-slice": self.full_slice,
            "--official": self.official,
            "--no-cleanup": self.no_cleanup,
        }
        conflict = next((name for name, is_given in given.items() if is_given), None)
        if conflict is not None:
            raise UsageError(
                "OPTION_CONFLICT", f"{conflict} is decided by the session file.", "Leave it out, or give new boxes."
            )

    def goes_as_picture(self, scan: Path, volume: Volume, objects: list[PromptedObject]) -> bool:
        """Whether the model has a program of its own for this: a picture, prompted with boxes and clicks."""
        from ..checkpoints import find_model
        from ..inference.image_predictor import IMAGE_ARCHITECTURES
        from .pictures import is_picture_file

        if not is_picture_file(scan, volume) or not all(item.is_box_and_points for item in objects):
            return False
        return find_model(self.model or "embedded").architecture in IMAGE_ARCHITECTURES

    def session(self, volume: Volume, cache: EmbeddingCache) -> Session:
        from ..inference import Session

        return Session(
            volume,
            self.model or "embedded",
            self.device,
            checkpoint=self.checkpoint,
            window=self.window,
            plane=self.plane,
            strategy=self.strategy,
            full_slice=self.full_slice or self.official,
            official=self.official,
            cleanup=not self.no_cleanup,
            cache=cache,
            runtime=self.runtime,
        )


def _cache(megabytes_on_disk: int) -> EmbeddingCache:
    from ..inference import EmbeddingCache, EncodedOnDisk, encoded_folder

    disk = EncodedOnDisk(encoded_folder(), megabytes_on_disk * 10**6) if megabytes_on_disk else None
    return EmbeddingCache(disk=disk)


def _volume(
    output: Output,
    session: Session,
    scan: Path,
    outputs: list[str],
    creator: str,
    priors: dict[str, StoredSegment],
    deidentification: Deidentification | None,
) -> int:
    """Segment every object through the volume; a cancelled run keeps what is done."""
    from .results import show_results, summarise, write_session

    cancelled: CancelledError | None = None
    with cancel_on_interrupt() as cancel, output.progress("segmenting") as progress:
        try:
            session.segment(None, progress, cancel)
        except CancelledError as error:
            cancelled = error
    written = write_session(session, outputs, scan, creator, priors, deidentification)
    for text in written.notes:
        output.note(text)
    summary = summarise(session, scan, written.paths, written.notes)
    if cancelled is not None:
        output.error(cancelled, **summary)
        return cancelled.exit_status
    show_results(output, session, written.paths)
    output.emit(summary)
    return 0


def _offer(output: Output, session: Session, scan: Path, outputs: list[str]) -> int:
    """Write what the model offers on the key slice of every object."""
    from .candidates import describe_offered, offered_in, show_offered, write_offered
    from .results import shown_window, summarise

    offered = offered_in(session)
    subtitle = f"{session.model.name} · masks to choose from"
    title = scan.name or scan.resolve().name
    axis, window = session.plane.axis, shown_window(session)
    written = write_offered(offered, session.volume, axis, outputs, window, title, subtitle)
    show_offered(output, offered, written)
    output.note("Segment the whole object from the one that is meant: --mask NAME=FILE with that mask alone.")
    output.emit({**summarise(session, scan, written), "objects": describe_offered(offered)})
    return 0


def _picture(
    output: Output,
    choices: _Choices,
    scan: Path,
    volume: Volume,
    objects: list[PromptedObject],
    outputs: list[str],
    multimask: bool,
) -> int:
    """Segment a picture the model's own way."""
    from ..checkpoints import find_model, load_model
    from ..inference.provenance import ModelIdentity
    from ..volume import Window as IntensityWindow
    from .candidates import describe_offered, show_offered, write_offered
    from .picture_segment import check_understood, describe_picture, segment_picture
    from .pictures import picture_colours, remarks, whole_slice

    window = IntensityWindow.parse(choices.window)
    colours = picture_colours(scan, volume, choices.window)
    for text in remarks(volume, colours):
        output.note(text)
    check_understood(find_model(choices.model or "embedded"), objects)
    model = load_model(choices.model or "embedded", choices.checkpoint, choices.device)
    image = colours if colours is not None else whole_slice(volume, window.resolve(volume))
    found, seconds, cancelled = segment_picture(output, model, image, volume.geometry, objects, multimask)
    written = []
    if found:
        subtitle = f"{model.spec.name} · the whole picture, as its own program shows it"
        boxes = {item.name: item.box for item in objects if item.box is not None}
        written = write_offered(found, volume, 0, outputs, window, scan.name, subtitle, boxes)
    summary = {
        "scan": str(scan),
        "model": ModelIdentity(model.spec.name, model.spec.architecture, model.weights_sha256).as_dict(),
        "settings": {"window": window.name, "full_slice": True, "official": True},
        "notes": remarks(volume, colours),
        "objects": describe_offered(found) if multimask else describe_picture(found, seconds),
        "outputs": [str(path) for path in written],
    }
    if cancelled is not None:
        output.error(cancelled, **summary)
        return cancelled.exit_status
    show_offered(output, found, written)
    output.emit(summary)
    return 0
