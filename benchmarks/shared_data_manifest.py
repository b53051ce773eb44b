"""Write the evaluation manifest of the project's development data, and check it against the published baselines.

    python benchmarks/shared_data_manifest.py                   # writes benchmarks/shared_data.json
    python benchmarks/shared_data_manifest.py --verify          # and recomputes the filled-box and ellipsoid rows

The data is not part of the repository; it is looked for in ``../shared/data`` beside the checkout.  The objects follow
the rules of its ``baselines.csv``: hippocampus is the union of both parts, TotalSegmentator and vertebra labels need
300 voxels, cells need 30 and are thinned evenly to 40 an image, FreeSurfer keeps the deep structures.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from MedSAMSegmentLib.evaluation.baselines import BASELINES
from MedSAMSegmentLib.evaluation.harness import evaluate
from MedSAMSegmentLib.evaluation.labels import read_labels
from MedSAMSegmentLib.evaluation.manifest import Case, LabelSource, Manifest, TruthObject

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_DATA = REPOSITORY.parent / "shared" / "data"
DEFAULT_OUTPUT = REPOSITORY / "benchmarks" / "shared_data.json"

SMALLEST_ORGAN = 300
SMALLEST_CELL = 30
CELLS_AN_IMAGE = 40
FREESURFER_DEEP = (4, 5, 8, 10, 11, 12, 13, 16, 17, 18, 43, 47, 49, 50, 51, 52, 53, 54)
TOTALSEGMENTATOR_NAMES = {
    1: "spleen",
    2: "kidney R",
    3: "kidney L",
    4: "gallbladder",
    5: "liver",
    6: "stomach",
    7: "pancreas",
    18: "small bowel",
    20: "colon",
    52: "aorta",
    63: "IVC",
    86: "autochthon L",
    87: "autochthon R",
}
SPINE_NAMES = {5: "vertebra 5", 6: "vertebra 6", 7: "vertebra 7", 105: "disc 105", 106: "disc 106"}
BASELINE_ROWS = {"filled-box": "a_box", "ellipsoid": "b_ellipsoid"}


def build(data: Path) -> Manifest:
    """The manifest of the folder ``data``."""
    cases = [*_lesions(data), *_organs(data), *_cells(data)]
    return Manifest("development data", data, tuple(cases))


def _lesions(data: Path) -> Iterable[Case]:
    for file in sorted((data / "ct_lesion/medsam2").glob("*.npz")):
        path = file.relative_to(data).as_posix()
        objects = (TruthObject("CT lesion (DeepLesion)", (1,)),)
        yield Case(f"medsam2/{file.stem}", "CT lesion", path, LabelSource(path), objects)
    for kind, folder, scan in (("CT lesion", "ct_lesion", "CT"), ("MRI lesion", "mri_lesion", "MR_T1")):
        for patient in sorted((data / folder / "sts").iterdir()):
            path = patient.relative_to(data).as_posix()
            yield Case(
                f"sts/{patient.name}_{scan}",
                kind,
                f"{path}/{scan}_image.nii.gz",
                LabelSource(f"{path}/{scan}_mask.nii.gz"),
                (TruthObject(f"soft-tissue sarcoma GTV ({scan})", (1,)),),
            )


def _organs(data: Path) -> Iterable[Case]:
    spleen = "ct_organ/spleen2"
    yield Case(
        "ivadomed/spleen2",
        "CT organ",
        f"{spleen}/sub-spleen2/ct/sub-spleen2_ct.nii.gz",
        LabelSource(f"{spleen}/derivatives/labels/sub-spleen2/ct/sub-spleen2_ct_seg-manual.nii.gz"),
        (TruthObject("spleen", (1,)),),
    )
    total = "ct_organ_pseudo/totalsegmentator"
    labels = LabelSource(f"{total}/example_seg.nii.gz")
    yield Case(
        "totalseg/ct_sm",
        "CT organ pseudo",
        f"{total}/example_ct_sm.nii.gz",
        labels,
        _every_label(data, labels, SMALLEST_ORGAN, TOTALSEGMENTATOR_NAMES, "class"),
    )
    for file in sorted((data / "mri_organ/hippocampus/images").glob("*.nii.gz")):
        yield Case(
            f"hippo/{file.name.removesuffix('.nii.gz')}",
            "MRI organ",
            f"mri_organ/hippocampus/images/{file.name}",
            LabelSource(f"mri_organ/hippocampus/labels/{file.name}"),
            (TruthObject("hippocampus (whole)", (1, 2)),),
        )
    spine = "mri_organ/tptbox_spine/sample_mri/sub-mri"
    labels = LabelSource(f"{spine}_seg-vert_label-6_msk.nii.gz")
    objects = _every_label(data, labels, SMALLEST_ORGAN, SPINE_NAMES, "label")
    yield Case("tptbox/mri", "MRI organ", f"{spine}_label-6_T2w.nii.gz", labels, objects)
    for name, image, label in (
        ("t2", "t2/t2", "t2/t2_seg-manual"),
        ("t1", "t1/t1w", "t1/t1w_seg-manual"),
        ("t2s", "t2s/t2s", "t2s/t2s_seg"),
        ("t2s_gm", "t2s/t2s", "t2s/t2s_gmseg_manual"),
        ("mt1", "mt/mt1", "mt/mt1_seg"),
    ):
        folder = "mri_organ/sct_cord"
        structure = "cord grey matter" if name == "t2s_gm" else "spinal cord"
        yield Case(
            f"sct/{name}",
            "MRI organ",
            f"{folder}/{image}.nii.gz",
            LabelSource(f"{folder}/{label}.nii.gz"),
            (TruthObject(structure, (1,)),),
        )
    brain = "mri_organ_auto/niivue_fs"
    yield Case(
        "niivue/fs",
        "MRI organ auto",
        f"{brain}/norm.mgz",
        LabelSource(f"{brain}/aparc.a2009s+aseg.mgz"),
        tuple(TruthObject(f"FreeSurfer {value}", (value,)) for value in FREESURFER_DEEP),
    )


def _cells(data: Path) -> Iterable[Case]:
    for name, group in (("2d", "cells 2D"), ("3d", "cells 3D synthetic")):
        labels = LabelSource(f"cells/stardist/mask{name}.tif")
        objects = _cells_of(data, labels, "nucleus", 40 if name == "2d" else sys.maxsize)
        yield Case(f"stardist/nuclei{name}", group, f"cells/stardist/img{name}.tif", labels, objects, False)
    axons = data / "cells/sem_axons/derivatives/labels"
    for file in sorted(axons.rglob("*axon-manual.png")):
        label = file.relative_to(data).as_posix()
        image = label.replace("/derivatives/labels", "").replace("_seg-axon-manual", "")
        source = LabelSource(label, components_above=127)
        name = file.name.removesuffix("_SEM_seg-axon-manual.png")
        objects = _cells_of(data, source, "axon", CELLS_AN_IMAGE)
        yield Case(f"ivadomed_sem/{name}", "cells 2D", image, source, objects, False)


def _sizes(data: Path, labels: LabelSource) -> list[tuple[int, int]]:
    values, counts = np.unique(read_labels(data / labels.path, labels), return_counts=True)
    return [(int(value), int(count)) for value, count in zip(values, counts, strict=True) if value > 0]


def _every_label(
    data: Path, labels: LabelSource, smallest: int, names: dict[int, str], other: str
) -> tuple[TruthObject, ...]:
    return tuple(
        TruthObject(names.get(value, f"{other} {value}"), (value,))
        for value, count in _sizes(data, labels)
        if count >= smallest
    )


def _cells_of(data: Path, labels: LabelSource, name: str, limit: int) -> tuple[TruthObject, ...]:
    large = [value for value, count in _sizes(data, labels) if count >= SMALLEST_CELL]
    chosen = large[:: max(1, len(large) // limit)][:limit]
    return tuple(TruthObject(f"{name} {value}", (value,)) for value in chosen)


def verify(manifest: Manifest, published: Path) -> int:
    """Compare our filled-box and ellipsoid scores with ``baselines.csv``; returns the number of differing objects."""
    with open(published, newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["prompt"] == "tight"]
    differing = 0
    for method, code in BASELINE_ROWS.items():
        expected = {(row["case"], row["object"]): row for row in rows if row["method"] == code}
        report = evaluate(manifest, BASELINES[method], name=method)
        found = {(score.case, score.object): score for score in report.scores}
        differing += len(expected.keys() ^ found.keys())
        for key in expected.keys() & found.keys():
            row, score = expected[key], found[key]
            box = "/".join(f"{low}:{high}" for low, high in score.box)
            same = box == row["bbox_zyx"] and score.voxels == int(row["voxels"])
            same &= abs(score.dice - float(row["dice"])) < 1e-4
            same &= (score.nsd is None) == (row["nsd2mm"] == "")
            same &= score.nsd is None or abs(score.nsd - float(row["nsd2mm"])) < 1e-4
            if not same:
                differing += 1
                print(f"{method}: {key} is {score}, published {row}", file=sys.stderr)
        for summary in report.groups():
            nsd = "-" if summary.nsd is None else f"{summary.nsd:.2f}"
            print(f"{method:12s} {summary.group:20s} {summary.count:4d} objects  {summary.dice:.2f} / {nsd}")
    print("all objects, boxes and scores match" if differing == 0 else f"{differing} objects differ")
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the data")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="manifest to write")
    parser.add_argument("--verify", action="store_true", help="recompute two rows of the data's baselines.csv")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"no data in {options.data}")
    manifest = build(options.data)
    manifest.write(options.output)
    objects = sum(len(case.objects) for case in manifest.cases)
    print(f"{options.output}: {len(manifest.cases)} cases, {objects} objects")
    return 1 if options.verify and verify(manifest, options.data / "baselines.csv") else 0


if __name__ == "__main__":
    sys.exit(main())
