"""Two-dimensional pictures on the command line: what the models' own programs compute."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints import find_model
from MedSAMSegmentLib.cli.console import Output
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.volume import read_labelmap
from PIL import Image

PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", Path(__file__).resolve().parents[2].parent / "shared" / "parity"))
needs_golden = pytest.mark.skipif(
    not (PARITY / "golden").is_dir(), reason=f"no golden arrays in {PARITY.name}; set MEDSAM_PARITY_DIR"
)


def tool(name: str) -> ModuleType:
    """A module of the parity folder, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"command_parity_{name}", PARITY / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def golden_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LiteMedSAM's file with the golden weights."""
    info = json.loads((PARITY / "golden" / "lite_medsam.json").read_text())
    weights = tool("weights").make_weights(str(PARITY / "keys" / "lite_medsam.json"), info["weights_seed"])
    path = tmp_path_factory.mktemp("weights") / "lite_medsam.pth"
    torch.save({name: torch.from_numpy(value.copy()) for name, value in weights.items()}, path)
    return path


@pytest.fixture(scope="module")
def mobile_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileSAM's file with weights of no meaning."""
    torch.manual_seed(0)
    network = build_model(find_model("mobile-sam"))
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A pink cell on purple."""
    rows, columns = np.mgrid[:90, :120]
    disc = (rows - 40) ** 2 + (columns - 60) ** 2 < 400
    Image.fromarray(np.where(disc[..., None], [220, 150, 190], [90, 40, 120]).astype(np.uint8)).save(
        tmp_path / "cell.png"
    )
    return tmp_path / "cell.png"


@needs_golden
def test_a_picture_gets_the_mask_of_the_published_program(run, golden_weights: Path, tmp_path: Path) -> None:
    inputs = tool("inputs").make_inputs(0)
    golden = tool("golden").Golden("lite_medsam", folder=str(PARITY / "golden"))
    Image.fromarray(inputs["image"]).save(tmp_path / "image.png")
    box = ",".join(str(int(value)) for value in inputs["box"])
    result = run(
        *("segment", tmp_path / "image.png", "--box", box, "--model", "lite-medsam"),
        *("--checkpoint", golden_weights, "-o", tmp_path / "mask.png", "--json"),
    )
    assert result.status == 0, result.err
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    golden.check("2d/box0_mask", mask > 0)
    assert result.json["objects"][0]["voxels"] == (mask == 1).sum()
    assert not any("luminance" in note for note in result.json["notes"]), "colours were shown"


@needs_golden
def test_challenge_cases_get_the_labels_of_the_published_program(run, golden_weights: Path, tmp_path: Path) -> None:
    inputs = tool("inputs").make_inputs(0)
    golden = tool("golden").Golden("lite_medsam", folder=str(PARITY / "golden"))
    (tmp_path / "imgs").mkdir()
    boxes = np.stack([inputs["box"], inputs["box2"]]).astype(int)
    np.savez_compressed(tmp_path / "imgs" / "2D_image.npz", imgs=inputs["image"], boxes=boxes)
    first, last = re.search(r"\[x0,y0,(\d+),x1,y1,(\d+)\]", golden.meta["3d/slices"]["how"]).groups()
    x0, y0, x1, y1 = inputs["vol_box"].astype(int)
    boxes = np.array([[x0, y0, int(first), x1, y1, int(last)]])
    spacing = (0.7, 0.8, 5.0)
    np.savez_compressed(tmp_path / "imgs" / "3D_volume.npz", imgs=inputs["volume"], boxes=boxes, spacing=spacing)
    result = run(
        *("challenge", tmp_path / "imgs", tmp_path / "segs", "--model", "lite-medsam"),
        *("--checkpoint", golden_weights, "--official", "--json"),
    )
    assert result.status == 0, result.err
    golden.check("2d/segs", np.load(tmp_path / "segs" / "2D_image.npz")["segs"])
    golden.check("3d/segs", np.load(tmp_path / "segs" / "3D_volume.npz")["segs"])


@needs_golden
def test_scribbles_of_a_challenge_are_shown_to_the_network_as_a_mask(run, golden_weights: Path, tmp_path: Path) -> None:
    """The program for scribbles: strokes as a mask of ones, no box; a later label over the earlier ones."""
    picture = np.tile(tool("inputs").make_inputs(0)["image"], (2, 2, 1))[:256, :256]
    strokes = np.zeros(picture.shape[:2], np.int64)
    strokes[60:64, 30:120], strokes[100:180, 150], strokes[200, 20:60] = 7, 2, 1000
    (tmp_path / "imgs").mkdir()
    np.savez_compressed(tmp_path / "imgs" / "2D_scribbles.npz", imgs=picture, scribbles=strokes)
    np.savez_compressed(tmp_path / "imgs" / "2D_boxes.npz", imgs=picture, boxes=np.array([[30, 60, 120, 64]]))
    result = run(
        *("challenge", tmp_path / "imgs", tmp_path / "segs", "--json"),
        *("--model", "lite-medsam-scribble", "--checkpoint", golden_weights),
    )
    assert result.status == 3 and [item["error"]["code"] for item in result.json["failed"]] == ["NO_SCRIBBLE"]
    found = np.load(tmp_path / "segs" / "2D_scribbles.npz")["segs"]

    from MedSAMSegmentLib.checkpoints import load_model

    network = load_model("lite-medsam-scribble", golden_weights, "cpu").network
    values = picture.astype(np.float32)
    values = (values - values.min()) / (values.max() - values.min())
    with torch.inference_mode():
        embedding = network.encode_image(torch.from_numpy(values).permute(2, 0, 1)[None])
        expected = np.zeros(found.shape, np.uint8)
        for label in (2, 7):
            drawn = torch.from_numpy((strokes == label).astype(np.float32))[None, None]
            expected[(network.decode(embedding, mask_input=drawn).low_res_logits[0, 0] > 0).numpy()] = label
    assert found.dtype == np.uint8 and found.any() and (found != expected).mean() < 1e-3

    boxes_only = run(
        *("challenge", tmp_path / "imgs", tmp_path / "others", "--json"),
        *("--model", "lite-medsam", "--checkpoint", golden_weights),
    )
    assert [item["error"]["code"] for item in boxes_only.json["failed"]] == ["NO_BOX"]
    Image.fromarray(picture).save(tmp_path / "scan.png")
    refused = run(
        *("segment", tmp_path / "scan.png", "--box", "30,60,120,64", "--model", "lite-medsam-scribble"),
        *("--checkpoint", golden_weights, "-o", tmp_path / "m.png", "--json"),
    )
    assert (refused.status, refused.code) == (2, "PROMPT_NOT_TRAINED") and not (tmp_path / "m.png").exists()


def test_clicks_and_candidates_on_a_picture(run, picture: Path, mobile_sam: Path, tmp_path: Path) -> None:
    options = ("--model", "mobile-sam", "--checkpoint", mobile_sam, "-o", tmp_path / "m.seg.nrrd", "--json")
    one = run("segment", picture, "--point", "60,40", "--outside-point", "5,5", "--label", "cell", *options)
    assert one.status == 0, one.err
    assert [item["name"] for item in one.json["objects"]] == ["cell"]
    three = run("segment", picture, "--point", "60,40", "--multimask", *options)
    assert three.status == 0, three.err
    scores = [item["score"] for item in three.json["objects"][0]["candidates"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_everything_on_a_picture(run, picture: Path, mobile_sam: Path, tmp_path: Path) -> None:
    """With weights of no meaning only the way from the options to the files counts."""
    result = run(
        *("auto", picture, "--model", "mobile-sam", "--checkpoint", mobile_sam, "--points-per-side", "2"),
        *("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--box-nms-thresh", "1"),
        *(
            "-o",
            tmp_path / "labels.png",
            "-o",
            f"sheet:{tmp_path / 'sheet.png'}",
            "-o",
            tmp_path / "m.seg.nrrd",
            "--json",
        ),
    )
    assert result.status == 0, result.err
    objects = result.json["objects"]
    assert objects and all(item["slices"]["0"]["area"] == item["voxels"] > 0 for item in objects)
    assert {"predicted_iou", "stability_score", "bbox", "point_coords", "crop_box"} <= objects[0]["slices"]["0"].keys()
    labels = np.asarray(Image.open(tmp_path / "labels.png"))
    assert labels.shape == (90, 120) and labels.max() == len(objects)
    assert (tmp_path / "m.seg.nrrd").read_bytes().count(b"_Name:=object") == len(objects)


def test_what_cannot_be_looked_at_alone_is_refused(run, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.png"
    for arguments, status, code in (
        (["--model", "medsam"], 2, "PROMPT_NOT_TRAINED"),
        (["--model", "embedded"], 2, "NO_IMAGE_MODEL"),
        (["--model", "sam-vit-b", "--points-per-side", "0"], 2, "BAD_SETTING"),
        (["--model", "sam-vit-b", "--slices", "3:9"], 2, "BAD_SLICES"),
        (["--model", "sam-vit-b", "--use-m2m"], 2, "OPTION_CONFLICT"),
    ):
        result = run("auto", picture, *arguments, "-o", output, "--json")
        assert (result.status, result.code) == (status, code)
    clicks = run("segment", picture, "--point", "60,40", "--model", "lite-medsam", "-o", output, "--json")
    assert (clicks.status, clicks.code) == (2, "PROMPT_NOT_TRAINED") and not output.exists()


@pytest.fixture
def small_networks_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SAM 2 small enough for a volume, under a name of the catalog."""
    from MedSAMSegmentLib import checkpoints
    from small_networks import small_model

    monkeypatch.setattr(checkpoints, "load_model", lambda *_: small_model("sam2"))


@pytest.mark.parametrize("linking", [[], ["--linking", "tracking", "--every", "2"]])
def test_everything_in_a_volume(
    run, scan: Path, small_networks_by_name: None, tmp_path: Path, linking: list[str]
) -> None:
    result = run(
        *(
            "auto",
            scan,
            "--model",
            "sam2.1-tiny",
            "--slices",
            "8:11",
            "--points-per-side",
            "3",
            "--pred-iou-thresh",
            "0",
        ),
        *("--stability-score-thresh", "0", "--link-overlap", "0.2", *linking, "-o", tmp_path / "m.nii.gz"),
        *("-o", tmp_path / "m.seg.nrrd", "-o", tmp_path / "sheet.png", "--json"),
    )
    assert result.status == 0, result.err
    answer = result.json
    assert answer["slices_done"] == ([9, 11] if linking else [8, 9, 10, 11]) and answer["objects"]
    assert all(Path(path).stat().st_size > 100 for path in answer["outputs"])
    labels = read_labelmap(tmp_path / "m.nii.gz").voxels
    assert set(np.unique(labels)) <= set(range(len(answer["objects"]) + 1)) and labels.any()
    sizes = [item["voxels"] for item in answer["objects"]]
    assert sizes == sorted(sizes, reverse=True) and answer["objects"][0]["scores"]


def test_linking_options_that_make_no_sense(run, scan: Path, tmp_path: Path) -> None:
    for options, code in ((["--linking", "magic"], "UNKNOWN_LINKING"), (["--every", "3"], "OPTION_CONFLICT")):
        result = run("auto", scan, "--model", "sam2.1-tiny", *options, "-o", tmp_path / "m.nii.gz", "--json")
        assert (result.status, result.code) == (2, code)


def test_ctrl_c_keeps_the_slices_looked_at(
    run, scan: Path, small_networks_by_name: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupting(output: Output, description: str) -> Iterator[Callable[[int, int, str], None]]:
        def update(done: int, total: int, what: str) -> None:
            if done == 2:
                signal.raise_signal(signal.SIGINT)

        yield update

    monkeypatch.setattr(Output, "progress", interrupting)
    result = run(
        *("auto", scan, "--model", "sam2.1-tiny", "--slices", "8:11", "--points-per-side", "1", "--min-slices", "1"),
        *("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "-o", tmp_path / "m.nii.gz", "--json"),
    )
    assert (result.status, result.code) == (130, "CANCELLED")
    assert result.json["slices_done"] == [8] and result.json["objects"] and (tmp_path / "m.nii.gz").is_file()
