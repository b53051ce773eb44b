"""The training loop: resumable to the bit, because a step depends on nothing but its number and the saved state."""

from __future__ import annotations

import copy
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..errors import CheckpointError, InputError
from ..models.coarse import CoarseGrid
from ..models.embedded import EmbeddedNetwork, build_embedded
from ..models.layers import channels_last
from .corrections import begin_correcting, correction_step
from .detail_samples import DetailBatch, make_detail_batch
from .details import detail_step
from .fields import Randomness
from .options import TrainingOptions
from .rectangles import RectangleBatch, make_rectangle_batch, rectangle_step
from .samples import Batch, SampleOptions, make_batch
from .steps import sequence_step, slice_step, volume_step
from .volume_samples import VolumeBatch, make_volume_batch

STATE_FILE = "training_state.pt"

AnyBatch = Batch | VolumeBatch | DetailBatch | RectangleBatch
_STEP_STREAM = 1 << 40


@dataclass(frozen=True)
class StepReport:
    """What happened in one step; ``seconds_waiting`` is the time the network waited for the generator."""

    step: int
    kind: str
    loss: float
    dice: dict[str, float]
    learning_rate: float
    seconds: float
    seconds_waiting: float


class _Stream(Dataset["AnyBatch"]):
    """Batches by step number, so that any number of worker processes yields the same run."""

    def __init__(self, options: TrainingOptions, first: int) -> None:
        self.options = options
        self.first = first

    def __len__(self) -> int:
        return self.options.steps - self.first

    def __getitem__(self, index: int) -> AnyBatch:
        step = self.first + index
        stage = self.options.stage_at(step)
        torch.set_num_threads(1)
        if stage.shows_boxes:
            grid = CoarseGrid((stage.slices, stage.size, stage.size))
            return make_volume_batch(self.options.seed, step, stage.samples, grid, bodies=self.options.bodies)
        if stage.kind == "details":
            shape = stage.samples, stage.slices, stage.size
            return make_detail_batch(self.options.seed, step, *shape, CoarseGrid(), bodies=self.options.bodies)
        if stage.kind == "rectangles":
            shape = stage.samples, stage.slices, stage.size
            return make_rectangle_batch(self.options.seed, step, *shape, bodies=self.options.bodies)
        return make_batch(self.options.seed, step, stage.samples, SampleOptions(slices=stage.slices, size=stage.size))


def _same(batch: Any) -> Any:
    return batch


def _begin_with(network: EmbeddedNetwork, weights: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        given = {name: value.float() for name, value in load_file(weights).items()}
        for name in ("corrector", "rectangle_unet"):
            if getattr(network, name) is None:
                given = {key: value for key, value in given.items() if not key.startswith(f"{name}.")}
        surplus = network.load_state_dict(given, strict=False).unexpected_keys
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            "BAD_INITIAL_WEIGHTS", f"{weights.name} does not hold weights of this network.", "Name another file."
        ) from error
    if surplus:
        raise CheckpointError(
            "BAD_INITIAL_WEIGHTS", f"{weights.name} holds {surplus[0]}, which this network does not have."
        )


class Trainer:
    """A run in a folder.

    Args:
        options: of a new run; an existing folder must have been started with the same ones.
        folder: holds the state; created if needed.
        workers: processes that generate batches while the network learns; 0 generates in between.
    """

    def __init__(self, options: TrainingOptions, folder: Path, device: str = "cpu", workers: int = 1) -> None:
        self.options = options
        self.folder = folder
        self.device = torch.device(device)
        self.workers = workers
        torch.manual_seed(options.seed)
        self.network = build_embedded(
            **options.network, coarse_corrects=options.corrects, rectangle_unet=options.knows_rectangles
        ).to(self.device)
        if options.initial_weights and not (folder / STATE_FILE).exists():
            _begin_with(self.network, Path(options.initial_weights))
        channels_last(self.network)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE_FILE).exists():
            self._resume()

    def _resume(self) -> None:
        try:
            state = torch.load(self.folder / STATE_FILE, map_location=self.device, weights_only=True)
            saved = TrainingOptions.from_dict(state["options"])
        except (RuntimeError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                "BAD_TRAINING_STATE",
                f"The training state in {self.folder} cannot be read.",
                "Name another folder, or remove it to start anew.",
            ) from error
        if saved != self.options:
            raise InputError(
                "OTHER_TRAINING_RUN",
                f"{self.folder} holds a run with other options.",
                "Name another folder, or pass the options the run was started with.",
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def save(self) -> None:
        """Writes the state so that a run killed at any moment continues from here with the same result."""
        temporary = self.folder / f".{STATE_FILE}.{os.getpid()}"
        state = {
            "options": self.options.as_dict(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, temporary)
        os.replace(temporary, self.folder / STATE_FILE)

    def run(self, after_step: Callable[[StepReport], None], until: int | None = None) -> None:
        """Trains to the end of the last stage (or to step ``until``), calling ``after_step`` after every step."""
        last = self.options.steps if until is None else min(until, self.options.steps)
        self.network.train()
        batches = self._batches()
        while self.step < last:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            after_step(self._train_on(batch, started, waited))

    def _batches(self) -> Iterator[AnyBatch]:
        stream = _Stream(self.options, self.step)
        if self.workers == 0:
            threads = torch.get_num_threads()
            for index in range(len(stream)):
                batch = stream[index]
                torch.set_num_threads(threads)
                yield batch
            return
        yield from DataLoader(stream, batch_size=None, num_workers=self.workers, prefetch_factor=4, collate_fn=_same)

    def _train_on(self, batch: AnyBatch, started: float, waited: float) -> StepReport:
        stage = self.options.stage_at(self.step)
        batch = type(batch)(**{name: value.to(self.device) for name, value in vars(batch).items()})
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        randomness = Randomness.from_seed(self.options.seed, _STEP_STREAM + self.step)
        if isinstance(batch, DetailBatch):
            result = detail_step(self.network, batch, randomness)
        elif isinstance(batch, RectangleBatch):
            result = rectangle_step(self.network, batch)
        elif isinstance(batch, Batch):
            step = slice_step if stage.kind == "slices" else sequence_step
            result = step(self.network, batch, randomness)
        elif stage.kind == "clicks":
            begin_correcting(self.network, self.average)
            result = correction_step(self.network, batch, randomness)
        else:
            result = volume_step(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_norm)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self._update_average()
        self.step += 1
        seconds = time.perf_counter() - started
        return StepReport(self.step, stage.kind, float(result.loss.detach()), result.dice, rate, seconds, waited)

    def _learning_rate(self) -> float:
        if self.step < self.options.warm_up:
            return self.options.learning_rate * (self.step + 1) / self.options.warm_up
        progress = (self.step - self.options.warm_up) / max(1, self.options.steps - self.options.warm_up)
        return self.options.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.options.average, (self.step + 1) / (self.step + 10))
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, as saved in a checkpoint."""
        return {name: value.detach().contiguous() for name, value in self.average.state_dict().items()}

    def evaluation_network(self) -> EmbeddedNetwork:
        """The averaged network, ready for inference."""
        return self.average.eval()
