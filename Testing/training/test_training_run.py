"""Training learns, can be killed and goes on to the same result, and leaves what a user needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from MedSAMSegmentLib.errors import CheckpointError, InputError, UsageError
from MedSAMSegmentLib.models.coarse import CoarseGrid
from MedSAMSegmentLib.models.embedded import build_embedded
from MedSAMSegmentLib.training.corrections import begin_correcting, correction_step
from MedSAMSegmentLib.training.detail_samples import make_detail_batch
from MedSAMSegmentLib.training.details import detail_step
from MedSAMSegmentLib.training.fields import Randomness
from MedSAMSegmentLib.training.losses import overlaps
from MedSAMSegmentLib.training.options import KINDS, Stage, TrainingOptions
from MedSAMSegmentLib.training.rectangles import make_rectangle_batch, rectangle_step
from MedSAMSegmentLib.training.run import run_training
from MedSAMSegmentLib.training.trainer import STATE_FILE, StepReport, Trainer
from MedSAMSegmentLib.training.volume_samples import make_volume_batch

SMALL = {
    "channels": (8, 16, 16, 16),
    "blocks": (1, 1, 1, 1),
    "dim": 32,
    "decoder_widths": (16, 8),
    "memory_dim": 16,
    "coarse_channels": (4, 8, 8),
    "coarse_regions": True,
    "coarse_looks_again": True,
}


def _options(**changes: object) -> TrainingOptions:
    values = {
        "seed": 7,
        "warm_up": 2,
        "network": SMALL,
        "stages": (
            Stage("volumes", 2, samples=2, slices=8, size=16),
            Stage("clicks", 2, samples=2, slices=8, size=16),
            Stage("slices", 2, samples=4, slices=2, size=48),
            Stage("sequences", 3, samples=2, slices=3, size=48),
            Stage("details", 2, samples=2, slices=2, size=48),
            Stage("rectangles", 2, samples=2, slices=2, size=48),
        ),
    }
    return TrainingOptions(**{**values, **changes})


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_run_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = Trainer(_options(), tmp_path / "whole", workers=0)
    whole.run(lambda report: None)
    for stop in (2, 3, 7, 10, 12, None):
        part = Trainer(_options(), tmp_path / "parts", workers=0)
        part.run(lambda report: None, until=stop)
        part.save()
    weights, resumed = whole.weights(), part.weights()
    assert part.step == 13
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_worker_processes_do_not_change_the_result(tmp_path: Path) -> None:
    alone = Trainer(_options(), tmp_path / "alone", workers=0)
    alone.run(lambda report: None, until=2)
    helped = Trainer(_options(), tmp_path / "helped", workers=1)
    helped.run(lambda report: None, until=2)
    assert all(torch.equal(value, helped.weights()[name]) for name, value in alone.weights().items())


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    options = _options(learning_rate=4e-3, warm_up=5, stages=(Stage("slices", 40, samples=8, slices=2, size=48),))
    Trainer(options, tmp_path, workers=0).run(lambda report: losses.append(report.loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_coarse_network_learns_from_where_its_evidence_begins(tmp_path: Path) -> None:
    losses: list[float] = []
    stage = Stage("volumes", 40, samples=6, slices=8, size=16)
    options = _options(learning_rate=4e-3, warm_up=5, stages=(stage,))
    Trainer(options, tmp_path, workers=0).run(lambda report: losses.append(report.loss))
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])


def test_clicks_teach_the_part_that_corrects_and_nothing_else(tmp_path: Path) -> None:
    stages = (Stage("volumes", 2, samples=2, slices=8, size=16), Stage("clicks", 2, samples=2, slices=8, size=16))
    run = Trainer(_options(stages=stages), tmp_path, workers=0)
    run.run(lambda report: None, until=2)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.run(lambda report: None)
    after = run.network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("corrector.") for name in changed)
    without = Trainer(_options(stages=stages[:1]), tmp_path / "without", workers=0)
    assert without.network.corrector is None, "it belongs to the coarse part that it was trained with"


def test_corrections_are_learned() -> None:
    """The same boxes and clicks again and again."""
    torch.manual_seed(1)
    network = build_embedded(**SMALL, coarse_corrects=True)
    begin_correcting(network)
    for name, value in network.coarse.state_dict().items():
        if not name.startswith("down.1"):
            assert torch.equal(network.corrector.state_dict()[name], value), "it begins as what it corrects"
    batch = make_volume_batch(3, 0, 4, CoarseGrid((8, 16, 16)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        result = correction_step(network, batch, Randomness.from_seed(5))
        optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_slices_learn_how_far_what_was_found_can_be_trusted() -> None:
    """The same boxes again and again: a network that finds nothing is not believed."""
    torch.manual_seed(1)
    network = build_embedded(**SMALL)
    torch.nn.init.constant_(network.coarse.head.bias, -9.0)
    batch = make_detail_batch(3, 0, 4, 3, 48, CoarseGrid())
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    seen = []
    for number in range(60):
        result = detail_step(network, batch, Randomness.from_seed(number))
        optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        optimizer.step()
        seen += [result.dice] if "found" in result.dice else []
    assert max(dice["found"] for dice in seen) < 0.3
    last = [dice["corrected"] for dice in seen[-10:]]
    assert sum(last) / len(last) > 0.5


def test_what_lies_in_rectangles_is_learned() -> None:
    """The same slices again and again."""
    torch.manual_seed(1)
    network = build_embedded(**SMALL, rectangle_unet=True)
    batch = make_rectangle_batch(3, 0, 4, 3, 48)
    optimizer = torch.optim.AdamW(network.rectangle_unet.parameters(), lr=5e-3)
    seen = []
    for _ in range(40):
        result = rectangle_step(network, batch)
        optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        optimizer.step()
        seen.append(result.dice["rectangle"])
    filled = overlaps(batch.places.abs().amax(dim=1) <= 1.0, batch.masks)[1].mean()
    assert seen[-1] > max(0.85, float(filled) + 0.05)


def test_a_run_may_begin_with_given_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first = Trainer(_options(), tmp_path / "first", workers=0)
    weights = {name: value.clone() for name, value in first.weights().items()}
    given = {name: value + 0.5 for name, value in weights.items() if not name.startswith(("coarse.", "corrector."))}
    save_file(given, tmp_path / "given.safetensors")
    options = _options(seed=8, initial_weights=str(tmp_path / "given.safetensors"))
    begun = Trainer(options, tmp_path / "second", workers=0).weights()
    assert all(torch.equal(begun[name], value) for name, value in given.items())
    other = next(name for name in begun if name.startswith("coarse.stem.0"))
    assert not torch.equal(begun[other], weights[other])

    save_file({"trunk.of.another.network": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(CheckpointError) as refused:
            Trainer(_options(initial_weights=str(tmp_path / name)), tmp_path / name, workers=0)
        assert refused.value.code == "BAD_INITIAL_WEIGHTS"


def test_a_run_leaves_checkpoint_log_and_pictures(tmp_path: Path) -> None:
    seen: list[StepReport] = []
    checkpoint = run_training(
        _options(), tmp_path, workers=0, save_every=3, progress=lambda report, total: seen.append(report)
    )
    from safetensors.torch import load_file

    weights = load_file(checkpoint)
    network = build_embedded(**SMALL, coarse_corrects=True, rectangle_unet=True)
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    assert [report.step for report in seen] == list(range(1, 14))
    assert {report.kind for report in seen} == set(KINDS)
    for name in ("log.csv", "curve.png", "samples.png", "volumes.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_of_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    first = Trainer(_options(), tmp_path, workers=0)
    first.save()
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(InputError) as refused:
        Trainer(_options(seed=8), tmp_path, workers=0)
    assert refused.value.code == "OTHER_TRAINING_RUN"
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"not a state")
    with pytest.raises(CheckpointError) as refused:
        Trainer(_options(), tmp_path, workers=0)
    assert refused.value.code == "BAD_TRAINING_STATE"


def test_senseless_stages_are_refused() -> None:
    with pytest.raises(UsageError):
        Stage("frames", 1, 1, 1)
    with pytest.raises(UsageError):
        Stage("slices", 1, 1, 1, size=50)
    with pytest.raises(UsageError):
        Stage("volumes", 1, 1, slices=12, size=40)


@pytest.mark.parametrize("stage", ["slices:1:2x2x48", "details:1:2x2x48", "rectangles:1:2x2x48"])
def test_a_stage_on_its_own_leaves_the_other_parts_of_the_network_as_they_were(tmp_path: Path, stage: str) -> None:
    first = Trainer(_options(stages=(Stage.parse(stage),)), tmp_path / "first", workers=0)
    before = first.weights()
    first.run(lambda report: None)
    after = first.weights()
    coarse = [name for name in before if name.startswith("coarse.")]
    assert coarse
    assert all(torch.equal(before[name], after[name]) for name in coarse)
    assert any(not torch.equal(before[name], after[name]) for name in before if name not in coarse)


@pytest.mark.parametrize("text", ["", "slices", "slices:10", "slices:10:4x2", "slices:x:4x2x48", "slices:0:4x2x48"])
def test_a_stage_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="stage") as error:
        Stage.parse(text)
    assert error.value.code == "BAD_STAGE"
