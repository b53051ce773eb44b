"""How far each model is from its official program: ``python -m benchmarks.model_table`` (docs/models.md).

Every golden array of the parity folder is compared with what this project computes from the same weights; a row is one
stage, with its largest absolute difference and how much of the stored tolerance it uses at most.  ``--write``
puts the table between the two marks of docs/models.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

from MedSAMSegmentLib.allocator import keep_freed_memory

from .page import put_between_marks

REPOSITORY = Path(__file__).resolve().parents[1]
PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", REPOSITORY.parent / "shared" / "parity"))


def load(path: Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def compare(golden_file: str, producers: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a stage of a golden file."""
    golden = load(PARITY / "golden.py").Golden(golden_file, folder=str(PARITY / "golden"))
    weights_of = load(PARITY / "weights.py").make_weights
    weights = weights_of(str(PARITY / "keys" / f"{golden.info['weights']}.json"), golden.info["weights_seed"])
    inputs = load(PARITY / "inputs.py").make_inputs(golden.info["inputs_seed"])
    how = {name: meta["how"] for name, meta in golden.meta.items()}
    producer = producers[golden.info["weights"]](weights, inputs, how)
    stages = defaultdict(list)
    for name in golden.names():
        stages[name.split("/")[0]].append(name)
    rows = []
    for stage, names in stages.items():
        ours = producer.stage(stage)
        results = [golden.compare(name, ours[name.split("/", 1)[1]]) for name in names]
        rows.append({"model": golden_file, "stage": stage, "arrays": len(names), "results": results})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| golden file | stage | arrays | largest difference | allowed there | pixels that differ | tolerance used |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        results = row["results"]
        good = sum(bool(result["ok"]) for result in results)
        numbers = [result for result in results if "max_abs_error" in result]
        worst = max(numbers, key=lambda result: result["max_abs_error"], default=None)
        masks = [result["mismatch"] for result in results if "mismatch" in result]
        cells = (
            row["model"],
            row["stage"],
            f"{good} of {row['arrays']}",
            f"{worst['max_abs_error']:.1e}" if worst else "",
            f"{worst['atol']:.0e}" if worst else "",
            f"{100 * max(masks):.4f} %" if masks else "",
            f"{100 * max(map(_used, results)):.0f} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
    relative = {result["rtol"] for row in rows for result in row["results"] if "rtol" in result}
    good = sum(bool(result["ok"]) for row in rows for result in row["results"])
    besides = f"; a difference of {max(relative):.0e} of the value is allowed besides" if relative else ""
    return "\n".join(
        [*lines, "", f"{good} of {sum(row['arrays'] for row in rows)} arrays are within tolerance{besides}."]
    )


def _used(result: dict[str, Any]) -> float:
    """How much of its tolerance an array uses: of the root mean square or of mean and deviation, of differing pixels,
    or of the overlap that may be missing; an array that must be identical uses none or all.
    """
    if "max_abs_error" in result:
        pairs = [(result["rms_error"], result["rms_tol"]), (result["stat_error"], result["stat_tol"])]
    elif "mismatch" in result:
        pairs = [(result["mismatch"], result["max_mismatch"])]
    elif "lowest_iou" in result:
        pairs = [(1 - result["lowest_iou"], 1 - result["min_iou"])]
    else:
        pairs = [(0.0 if result["ok"] else 1.0, 1.0)]
    return max(error / tolerance if tolerance else float(error > 0) for error, tolerance in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="golden files, default all of known architectures")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    chosen = parser.parse_args()
    keep_freed_memory()
    sys.path.insert(0, str(REPOSITORY / "Testing" / "models"))
    producers = load(REPOSITORY / "Testing" / "models" / "golden_cases.py").PRODUCERS
    rows: list[dict[str, Any]] = []
    for path in sorted((PARITY / "golden").glob("*.json")):
        known = json.loads(path.read_text()).get("weights") in producers
        if known and (not chosen.models or path.stem in chosen.models):
            rows += compare(path.stem, producers)
            print(f"{path.stem}: done", file=sys.stderr)
    text = table(rows)
    print(text)
    if chosen.write:
        put_between_marks("table", text)


if __name__ == "__main__":
    main()
