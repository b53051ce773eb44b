"""The panel on the headless bench: real MRML, a real worker, the embedded network, the computed scan."""

from __future__ import annotations

import atexit
import functools
import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from MedSAMSegmentLib.phantom import Phantom

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "Testing" / "slicer_bench"


def start_slicer() -> Any:
    """Slicer's scene, logics and widgets, once in a process; the test is skipped where the wheels do not exist."""
    for package in ("PySide6", "slicer"):
        reason = "the bench needs slicer-core and PySide6-Essentials (extra slicer-bench) and their system libraries"
        pytest.importorskip(package, reason=reason, exc_type=ImportError)
    if str(BENCH) not in sys.path:
        sys.path.insert(0, str(BENCH))
    import slicer_app_qt

    return slicer_app_qt.bootstrap_qt()


class Desktop:
    """The module's panel, opened, and a scan in the scene.

    Args:
        slicer: from :func:`start_slicer`.
        phantom: the computed scan.
    """

    def __init__(self, slicer: Any, phantom: Phantom) -> None:
        import qt
        import slicer_app_qt

        self.slicer, self.qt, self.phantom = slicer, qt, phantom
        self.matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.volume.geometry.affine
        module, _ = slicer_app_qt.load_module(ROOT / "MedSAMSegment" / "MedSAMSegment.py")
        self.widget = slicer_app_qt.open_panel(module.MedSAMSegmentWidget)
        self.parent = self.widget.parent
        self.parent.resize(460, 900)
        self.parent.show()
        self.begin()

    def begin(self) -> None:
        """An empty scene with the scan in it; the worker process goes on."""
        slicer = self.slicer
        slicer.mrmlScene.Clear(0)
        self.volume = slicer.util.addVolumeFromArray(
            np.array(self.phantom.volume.voxels),
            ijkToRAS=slicer.util.vtkMatrixFromArray(self.matrix),
            name="CT abdomen",
        )
        self.volume.CreateDefaultDisplayNodes()
        self.widget.enter()
        self.parameters.inputVolume = self.volume
        self.turn()

    @property
    def controller(self) -> Any:
        return self.widget.controller

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def parameters(self) -> Any:
        return self.widget._parameters

    def turn(self) -> None:
        for _ in range(3):
            self.slicer.app.processEvents()

    def until(self, condition: Any, seconds: float = 240.0) -> None:
        """Let Qt work until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.controller.message
            self.slicer.app.processEvents()
            time.sleep(0.001)

    def corners(self, name: str, margin: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Opposite corners of the box around an organ, index (i, j, k)."""
        k, j, i = np.nonzero(self.phantom.mask(name))
        low = np.array([i.min() - margin, j.min() - margin, k.min() - 0.5])
        high = np.array([i.max() + margin, j.max() + margin, k.max() + 0.5])
        return low, high

    def save_and_load(self, path: Path) -> None:
        """Save the scene (.mrb), close it, and load it again."""
        assert self.slicer.util.saveScene(str(path))
        self.slicer.mrmlScene.Clear(0)
        self.slicer.util.loadScene(str(path))
        self.turn()
        self.volume = self.parameters.inputVolume

    def to_ras(self, index: np.ndarray) -> np.ndarray:
        return self.matrix[:3, :3] @ index + self.matrix[:3, 3]

    def inside(self, name: str) -> np.ndarray:
        """A voxel deep inside an organ, index (i, j, k)."""
        from scipy import ndimage

        depth = ndimage.distance_transform_edt(self.phantom.mask(name), self.phantom.volume.geometry.spacing_kji)
        return np.array(np.unravel_index(int(depth.argmax()), depth.shape)[::-1], dtype=float)

    def put_box(self, roi: Any, name: str) -> None:
        """Put a ROI node around an organ."""
        low, high = (self.to_ras(corner) for corner in self.corners(name))
        roi.SetCenter(*((low + high) / 2))
        roi.SetSize(*np.abs(high - low))

    def box(self, name: str) -> str:
        """Press "Draw box", draw, and wait until the object is known; its segment."""
        from MedSAMSegmentLib.slicer import panel_scene

        before = len(self.controller.objects)
        self.ui.drawBoxButton.click()
        self.put_box(self.widget._placing, name)
        panel_scene.stop_placing()
        self.until(lambda: len(self.controller.objects) > before)
        return self.controller.selected

    def segment(self, seconds: float = 240.0) -> None:
        """Press "Segment" and wait for the end of the run."""
        self.ui.segmentButton.click()
        self.until(lambda: self.controller.busy)
        self.until(lambda: not self.controller.busy, seconds)

    def mask(self, segment: str) -> np.ndarray:
        array = self.slicer.util.arrayFromSegmentBinaryLabelmap(self.parameters.segmentation, segment, self.volume)
        return np.array(array) > 0

    def dice(self, segment: str, name: str) -> float:
        mask, truth = self.mask(segment), self.phantom.mask(name)
        return 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))

    def worker_process(self) -> int:
        return self.controller.client._transport.process_id

    def watch_stalls(self) -> Stalls:
        return Stalls(self.qt)

    def close(self) -> None:
        self.widget.exit()
        self.widget.cleanup()
        self.parent.close()


class Stalls:
    """How long the event loop was away between two ticks of a timer, seconds; begins at once.

    Attributes:
        wall: by the clock.
        own: processor time of the GUI's thread: what other programs take of the machine does not count.
    """

    def __init__(self, qt: Any) -> None:
        self.wall: list[float] = []
        self.own: list[float] = []
        # What the test program itself holds is not looked through by the garbage collector meanwhile: with pytest's
        # objects that alone takes 80 ms and more.
        gc.collect()
        gc.freeze()
        self._last = time.perf_counter(), time.thread_time()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.wall.append(now[0] - self._last[0])
        self.own.append(now[1] - self._last[1])
        self._last = now

    def stop(self) -> None:
        self._timer.stop()
        gc.unfreeze()


@functools.cache
def shared_desktop() -> Desktop:
    """One open panel for all tests of a process, over a scan of 40 slices; its worker goes with the process."""
    slicer = start_slicer()
    from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry

    desktop = Desktop(slicer, make_phantom(0, phantom_geometry((40, 180, 180), (2.0, 2.0, 5.0))))
    atexit.register(desktop.close)
    return desktop
