"""Given the same weights, each architecture computes what the official implementation computes.

The golden arrays (folder ``../shared/parity``, or ``$MEDSAM_PARITY_DIR``) come from the official code with
pseudo-random weights; their tolerances are stored with them.  Every golden file of an architecture that this project
has is compared, stage by stage; the others are shown as skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from golden_cases import PRODUCERS
from MedSAMSegmentLib.allocator import keep_freed_memory

REPOSITORY = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", REPOSITORY.parent / "shared" / "parity"))


def _stages() -> list[Any]:
    """(golden file, stage) for every golden file; those of architectures that are not built yet are skipped by name.

    Files made with the same weights follow each other, so that these are made once.
    """
    found = []
    files = {path.stem: json.loads(path.read_text()) for path in (PARITY / "golden").glob("*.json")}
    known = {model: info for model, info in files.items() if info.get("weights") in PRODUCERS}
    for model, info in sorted(known.items(), key=lambda item: (item[1]["weights_crc32"], item[0])):
        stages = dict.fromkeys(name.split("/")[0] for name in info["arrays"])
        found += [pytest.param(model, stage, id=f"{model}-{stage}") for stage in stages]
    for model in sorted(files.keys() - known.keys()):
        reason = f"{len(files[model]['arrays'])} golden arrays of an architecture that this project does not have"
        found.append(pytest.param(model, "", marks=pytest.mark.skip(reason=reason), id=model))
    if not found:
        reason = f"no golden arrays in {PARITY.name}/golden; set MEDSAM_PARITY_DIR to the folder that holds them"
        found.append(pytest.param("", "", marks=pytest.mark.skip(reason=reason)))
    return found


@lru_cache
def _tool(name: str) -> ModuleType:
    """A module of the parity folder, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"parity_{name}", PARITY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _weights(info: dict[str, Any]) -> dict[str, Any]:
    """The weights of a golden file; those of the last file are kept, because the next one may have the same."""
    checksum = info["weights_crc32"]
    if checksum not in _kept_weights:
        _kept_weights.clear()
        keys = PARITY / "keys" / f"{info['weights']}.json"
        weights = _tool("weights").make_weights(str(keys), info["weights_seed"])
        made = f"{_tool('weights').checksum(weights):08x}"
        assert made == checksum, "these are not the weights that the golden arrays were made with"
        _kept_weights[checksum] = weights
    return _kept_weights[checksum]


_kept_weights: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module", autouse=True)
def _whole_machine() -> Iterator[None]:
    """These networks are large: they get two cores, and memory is kept for the next layer."""
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(max(before, min(2, os.cpu_count() or 1)))
    yield
    torch.set_num_threads(before)
    _case.cache_clear()
    _kept_weights.clear()


@lru_cache(maxsize=1)
def _case(model: str) -> tuple[Any, Any, dict[str, list[str]]]:
    """Golden arrays, the producer of ours, and the names of each stage."""
    golden = _tool("golden").Golden(model, folder=str(PARITY / "golden"))
    names = defaultdict(list)
    for name in golden.names():
        names[name.split("/")[0]].append(name)
    inputs = _tool("inputs").make_inputs(golden.info["inputs_seed"])
    weights = _weights(golden.info)
    how = {name: meta["how"] for name, meta in golden.meta.items()}
    return golden, PRODUCERS[golden.info["weights"]](weights, inputs, how), names


@pytest.mark.parametrize(("model", "stage"), _stages())
def test_computes_what_the_official_implementation_computes(model: str, stage: str) -> None:
    golden, producer, names = _case(model)
    ours = producer.stage(stage)
    wrong = {}
    for name in names[stage]:
        key = name.split("/", 1)[1]
        assert key in ours, f"{name} is a golden array that the producer of {model} does not make"
        result = golden.compare(name, ours[key])
        if not result["ok"]:
            wrong[name] = result
    assert not wrong
