"""Given the same weights, each architecture computes what the official implementation computes.

The golden arrays (folder ``../shared/parity``, or ``$MEDSAM_PARITY_DIR``) come from the official code with
pseudo-random weights; their tolerances are stored with them.  Every golden file of an architecture that this project
has is compared, stage by stage; further files are found by themselves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from golden_cases import PRODUCERS

REPOSITORY = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", REPOSITORY.parent / "shared" / "parity"))


def _stages() -> list[Any]:
    """(golden file, stage) for every golden file of a known architecture; one skipped entry where there is none."""
    found = []
    for path in sorted((PARITY / "golden").glob("*.json")):
        info = json.loads(path.read_text())
        if info.get("weights") in PRODUCERS:
            stages = dict.fromkeys(name.split("/")[0] for name in info["arrays"])
            found += [pytest.param(path.stem, stage, id=f"{path.stem}-{stage}") for stage in stages]
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


@lru_cache(maxsize=1)
def _weights(layout: str, seed: int) -> dict[str, Any]:
    return _tool("weights").make_weights(str(PARITY / "keys" / f"{layout}.json"), seed)


@lru_cache(maxsize=1)
def _case(model: str) -> tuple[Any, Any, dict[str, list[str]]]:
    """Golden arrays, the producer of ours, and the names of each stage."""
    golden = _tool("golden").Golden(model, folder=str(PARITY / "golden"))
    names = defaultdict(list)
    for name in golden.names():
        names[name.split("/")[0]].append(name)
    inputs = _tool("inputs").make_inputs(golden.info["inputs_seed"])
    weights = _weights(golden.info["weights"], golden.info["weights_seed"])
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


def test_weights_are_the_ones_the_golden_arrays_were_made_with() -> None:
    layouts = {json.loads(path.read_text())["weights"]: path for path in (PARITY / "golden").glob("*.json")}
    known = [path for layout, path in layouts.items() if layout in PRODUCERS]
    if not known:
        pytest.skip(f"no golden arrays in {PARITY.name}/golden")
    info = json.loads(known[0].read_text())
    weights = _weights(info["weights"], info["weights_seed"])
    assert f"{_tool('weights').checksum(weights):08x}" == info["weights_crc32"]
