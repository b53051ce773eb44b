"""How the panel behaves while a long job runs: ``python -m benchmarks.slicer_panel``.

On the bench (``Testing/slicer_bench``): real scene, real worker, the embedded network, a computed scan of 256 x 256
on slices of 0.5 mm, of which the liver fills more than 200.  Printed are the longest time in which the event loop
did not turn, by the clock and by the processor time of the GUI's own thread, and how soon "Cancel" was answered.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing" / "slicer"))

SHAPE, SPACING = (260, 256, 256), (1.2, 1.2, 0.5)


def main() -> None:
    from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry
    from panel_bench import Desktop, start_slicer

    desktop = Desktop(start_slicer(), make_phantom(0, phantom_geometry(SHAPE, SPACING)))
    try:
        name = desktop.box("liver")
        roi = desktop.controller.box_of(name)
        size = np.array(roi.GetSize())
        desktop.until(lambda: desktop.controller.opened is not None)
        desktop.turn()

        stalls, began = desktop.watch_stalls(), time.perf_counter()
        desktop.segment(1200)
        seconds = time.perf_counter() - began
        stalls.stop()
        slices = len(desktop.controller.scores[name])
        print(f"{slices} slices in {seconds:.1f} s; load of the machine {os.getloadavg()[0]:.1f}")
        print(
            f"longest stall: {1000 * max(stalls.wall):.0f} ms by the clock, {1000 * max(stalls.own):.0f} ms of its own"
        )
        print(f"99 of 100 turns: below {1000 * np.quantile(stalls.wall, 0.99):.0f} ms by the clock")

        answers = []
        for fraction in (0.05, 0.3, 0.6):
            roi.SetSize(size[0] - 5 * fraction, size[1], size[2])
            desktop.ui.segmentButton.click()
            desktop.until(lambda fraction=fraction: (desktop.controller.fraction or 0) > fraction, 1200)
            began = time.perf_counter()
            desktop.ui.segmentButton.click()
            desktop.until(lambda: not desktop.controller.busy)
            answers.append(time.perf_counter() - began)
        print("cancelled after", ", ".join(f"{answer:.2f} s" for answer in answers))
    finally:
        desktop.close()


if __name__ == "__main__":
    main()
