"""The buttons that get weights and packages, pressed: what the user is asked, and what is there afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "checkpoints"))

from hub import Hub, running
from MedSAMSegmentLib.checkpoints import find_model
from MedSAMSegmentLib.checkpoints.fitting import expected_tensors

MODEL = "medsam2-efficienttam-tiny-flare25-recist"
"""A small one whose publisher states no hash."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that fits the model."""
    path = tmp_path_factory.mktemp("weights") / "from a stick.pt"
    tensors = {name: torch.zeros(tensor.shape) for name, tensor in expected_tensors(find_model(MODEL)).items()}
    torch.save({"model": tensors}, path)
    return path


@pytest.fixture
def own_process(desktop, tmp_path, monkeypatch):
    """A worker that begins with the test's environment, a folder of models of its own, and nothing said yet."""
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    desktop.controller.shut_down()
    desktop.slicer.app.messages.clear()
    yield desktop
    desktop.controller.shut_down()
    desktop.parameters.model, desktop.parameters.checkpoint = "embedded", ""
    desktop.slicer.app.messages.clear()
    desktop.slicer.app.answer = True


def opened_with(desktop, model: str) -> None:
    """The scan can be opened, and by this model."""
    assert desktop.controller.open()
    desktop.until(lambda: desktop.controller.opened is not None)
    assert desktop.controller.opened["model"]["name"] == model


def test_weights_are_downloaded_once_the_user_has_read_what_it_means(own_process, weights, tmp_path, monkeypatch):
    desktop, cached = own_process, tmp_path / "models" / find_model(MODEL).checkpoint.file_name
    with running(Hub(weights.read_bytes())) as hub:
        monkeypatch.setenv("MEDSAMSEGMENT_MIRROR", hub.url)
        desktop.parameters.model = MODEL
        desktop.turn()
        assert desktop.ui.downloadButton.isEnabled() and "not downloaded yet" in desktop.ui.modelInfoLabel.text

        desktop.slicer.app.answer = False
        desktop.ui.downloadButton.click()
        desktop.until(lambda: desktop.slicer.app.messages)
        ((kind, question),) = desktop.slicer.app.messages
        assert kind == "question" and "127.0.0.1" in question and "CC-BY-SA" in question
        assert "first file is remembered" in question and "Nothing of your data is sent" in question
        desktop.turn()
        assert hub.requests == [] and not cached.exists() and not desktop.controller.busy

        desktop.slicer.app.answer = True
        desktop.ui.downloadButton.click()
        desktop.until(lambda: cached.exists() and not desktop.controller.busy)
        assert cached.read_bytes() == weights.read_bytes() and len(hub.requests) == 1
    desktop.turn()
    assert "The weights are here" in desktop.ui.messageLabel.text and not desktop.controller.failed
    assert not desktop.ui.downloadButton.isEnabled() and "ready" in desktop.ui.modelInfoLabel.text
    # They are what segments from now on.
    opened_with(desktop, MODEL)


def test_a_download_that_fails_says_so_and_leaves_the_panel_usable(own_process, tmp_path, monkeypatch):
    desktop = own_process
    with running(Hub(b"<html>Sign in first</html>")) as hub:
        hub.script = ["page"] * 10
        monkeypatch.setenv("MEDSAMSEGMENT_MIRROR", hub.url)
        desktop.parameters.model = "medsam2"
        # Only the mirror can be reached from here: what the publisher's host answers is not tested.
        monkeypatch.setenv("HTTPS_PROXY", hub.url)
        desktop.ui.downloadButton.click()
        desktop.until(lambda: desktop.controller.failed)
    desktop.turn()
    assert not desktop.controller.busy and desktop.ui.messageLabel.text
    assert not list((tmp_path / "models").glob("*.pt"))
    desktop.parameters.model = "embedded"
    desktop.turn()
    desktop.box("liver")
    desktop.segment()
    assert desktop.mask(desktop.controller.selected).any()


def test_imported_weights_are_used_and_others_are_refused(own_process, weights, tmp_path, monkeypatch):
    desktop = own_process
    wrong = tmp_path / "wrong.pt"
    torch.save({"model": {"a": torch.zeros(2)}}, wrong)
    chosen = [str(wrong), "", str(weights)]
    monkeypatch.setattr(desktop.qt.QFileDialog, "getOpenFileName", staticmethod(lambda *given: chosen.pop(0)))
    desktop.parameters.model = MODEL
    desktop.turn()
    desktop.ui.importButton.click()
    desktop.until(lambda: desktop.controller.failed)
    assert desktop.controller.code == "CHECKPOINT_WRONG_ARCHITECTURE" and desktop.parameters.checkpoint == ""
    before = desktop.controller.message
    desktop.ui.importButton.click()  # the dialog is closed without a choice
    desktop.turn()
    assert desktop.controller.message == before
    desktop.ui.importButton.click()
    desktop.until(lambda: desktop.parameters.checkpoint)
    desktop.turn()
    assert desktop.parameters.checkpoint == str(weights) and "your own weights" in desktop.ui.modelInfoLabel.text
    opened_with(desktop, MODEL)


# The worker's own search path comes first, so a module of the same name would not be found before the real one.
NOT_THERE = """
import os, sys

class NotThere:
    def find_spec(self, name, *more):
        if name == "safetensors" and os.path.exists({marker!r}):
            raise ModuleNotFoundError("not here", name=name)

sys.meta_path.insert(0, NotThere())
"""


def test_a_missing_package_is_named_and_its_button_makes_the_panel_work(own_process, tmp_path, monkeypatch):
    desktop, marker = own_process, tmp_path / "not installed"
    marker.touch()
    (tmp_path / "sitecustomize.py").write_text(NOT_THERE.format(marker=str(marker)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    desktop.ui.drawBoxButton.click()
    desktop.put_box(desktop.widget._placing, "liver")
    from MedSAMSegmentLib.slicer import install, panel_scene

    panel_scene.stop_placing()
    desktop.until(lambda: desktop.controller.failed)
    desktop.turn()
    assert desktop.controller.code == "NOT_INSTALLED" and "'safetensors'" in desktop.ui.messageLabel.text
    assert not desktop.ui.installButton.isHidden()

    def installed() -> bool:
        marker.unlink()
        return True

    monkeypatch.setattr(install, "install_dependencies", installed)
    desktop.ui.installButton.click()
    desktop.box("liver")
    desktop.segment()
    assert desktop.ui.installButton.isHidden()
    assert desktop.mask(desktop.controller.selected).any()
