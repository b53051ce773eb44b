"""Installing inside Slicer: what is decided, with packages as pip sees them, and what the user is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_bench import start_slicer


@pytest.fixture
def slicer():
    slicer = start_slicer()
    slicer.app.messages.clear()
    slicer.app.answer = True
    yield slicer
    slicer.app.messages.clear()
    slicer.app.answer = True


@pytest.fixture
def install(slicer):
    from MedSAMSegmentLib.slicer import install

    return install


def wheel(folder, name, version, requires=()):
    """A package that pip installs, with one empty module."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    text += "".join(f"Requires-Dist: {line}\n" for line in requires)
    path = Path(folder, f"{module}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", "")
        archive.writestr(f"{info}/METADATA", text)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def pip(*arguments):
    options = ["--disable-pip-version-check", "--no-index", "-q"]
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *arguments], capture_output=True, text=True
    )


@pytest.fixture
def site(tmp_path):
    """A folder of packages, filled by pip, and the way to fill it."""
    folder, wheels = tmp_path / "site", tmp_path / "wheels"
    folder.mkdir()
    wheels.mkdir()

    def add(*packages):
        files = [str(wheel(wheels, name, version)) for name, version in packages]
        done = pip("--no-deps", "--target", str(folder), *files)
        assert done.returncode == 0, done.stderr
        return [str(folder)]

    add.wheels = wheels
    return add


def test_what_is_missing_too_old_or_there_is_told_apart(install, site):
    path = site(("numpy", "1.26.4"), ("SimpleITK", "2.4.1"))
    plan = install.make_plan(path)
    assert (plan.torch, plan.packages) == (True, ("safetensors>=0.4", "platformdirs>=4.2")) and not plan.complete
    path = site(("safetensors", "0.3.9"), ("platformdirs", "4.10.0"), ("torch", "2.5.1+cu124"))
    plan = install.make_plan(path)
    assert (plan.torch, plan.outdated_torch, plan.packages) == (False, "", ("safetensors>=0.4",))


def test_an_outdated_torch_is_named_and_never_replaced(install, site, slicer, monkeypatch):
    path = site(("torch", "1.13.1"), ("safetensors", "0.5"), ("platformdirs", "4.3"))
    plan = install.make_plan(path)
    assert plan.outdated_torch == "1.13.1" and not plan.torch and not plan.complete
    monkeypatch.setattr(install, "make_plan", lambda: plan)
    assert install.install_dependencies() is False
    ((kind, text),) = slicer.app.messages
    assert kind == "error" and "1.13.1" in text and "not replaced" in text


def test_this_python_has_everything(install, slicer):
    assert install.make_plan().complete
    assert install.install_dependencies() is True and slicer.app.messages == []


def test_pip_cannot_replace_what_is_there(install, site, tmp_path, monkeypatch):
    """The constraints, in pip's own hands: a package that wants another NumPy is refused, others are added."""
    path = site(("numpy", "1.26.4"), ("SimpleITK", "2.4.1"), ("safetensors", "0.3.9"))
    plan = install.make_plan(path)
    lines = install.constraints(plan, path)
    assert sorted(lines.splitlines()) == ["numpy==1.26.4", "simpleitk==2.4.1"]
    constraints = tmp_path / "with spaces" / "constraints.txt"
    constraints.parent.mkdir()
    constraints.write_text(lines, encoding="utf-8")
    wheel(site.wheels, "numpy", "2.2.0")
    wheel(site.wheels, "greedy", "1.0", ["numpy>=2"])
    wheel(site.wheels, "modest", "1.0", ["numpy>=1"])
    new = tmp_path / "new"
    there = ["--find-links", str(site.wheels), "--target", str(new)]
    assert pip("modest", "-c", str(constraints), *there).returncode == 0
    assert (new / "numpy-1.26.4.dist-info").is_dir()
    # The PyTorch extension gives no way to hand them over but the environment.
    monkeypatch.setenv("PIP_CONSTRAINT", constraints.as_uri())
    refused = pip("greedy", *there)
    assert refused.returncode != 0 and "conflict" in refused.stderr.lower()
    assert not list(new.glob("greedy*"))


class Installers:
    """What Slicer and the PyTorch extension would do, written down instead of done."""

    def __init__(self, install, monkeypatch, plan):
        self.calls, self.plans = [], [plan, install.Plan(False, False, ())]
        monkeypatch.setattr(install, "make_plan", lambda: self.plans.pop(0) if len(self.plans) > 1 else self.plans[0])
        packaging = types.ModuleType("slicer.packaging")
        packaging.pip_install = self.pip
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
        pytorch = types.ModuleType("PyTorchUtils")
        pytorch.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=self.torch)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", pytorch)

    def pip(self, arguments):
        assert "numpy==" in Path(arguments[-1]).read_text(encoding="utf-8")
        self.calls.append(("pip", *arguments[:-2]))

    def torch(self, askConfirmation, torchVersionRequirement):
        self.calls.append(("torch", torchVersionRequirement, os.environ["PIP_CONSTRAINT"].startswith("file://")))
        return types.ModuleType("torch")


def test_the_question_names_everything_and_yes_installs_it(install, slicer, monkeypatch):
    installers = Installers(install, monkeypatch, install.Plan(True, False, ("safetensors>=0.4",)))
    assert install.install_dependencies() is True
    ((kind, text),) = slicer.app.messages
    assert kind == "question" and "PyTorch 2.4" in text and "safetensors>=0.4" in text and "GB" in text
    assert installers.calls == [("torch", ">=2.4", True), ("pip", "safetensors>=0.4")]
    assert "PIP_CONSTRAINT" not in os.environ


def test_no_installs_nothing(install, slicer, monkeypatch):
    installers = Installers(install, monkeypatch, install.Plan(True, False, ("safetensors>=0.4",)))
    slicer.app.answer = False
    assert install.install_dependencies() is False and installers.calls == []


def test_a_failed_installation_is_said_in_a_sentence(install, slicer, monkeypatch):
    plan = install.Plan(False, False, ("safetensors>=0.4",))
    installers = Installers(install, monkeypatch, plan)

    def fail(arguments):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_install", fail)
    assert install.install_dependencies() is False and installers.calls == []
    kind, text = slicer.app.messages[-1]
    assert kind == "error" and "failed" in text and "has been changed" in text


def test_the_pytorch_extension_comes_first_and_the_rest_after_the_restart(install, slicer, monkeypatch):
    installers = Installers(install, monkeypatch, install.Plan(True, True, ("safetensors>=0.4",)))
    fetched = []
    manager = types.SimpleNamespace(
        interactive=True, installExtensionFromServer=lambda name, restart: fetched.append((name, restart)) or True
    )
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    assert install.resume() is False
    assert install.install_dependencies() is False
    assert fetched == [("PyTorch", True)] and installers.calls == []
    # Slicer has restarted.
    installers.plans[:] = [install.Plan(True, False, ("safetensors>=0.4",)), install.Plan(False, False, ())]
    assert install.resume() is True
    assert [call[0] for call in installers.calls] == ["torch", "pip"]
    assert install.resume() is False and len(installers.calls) == 2


def test_an_extension_that_cannot_be_fetched_waits_for_nothing(install, slicer, monkeypatch):
    Installers(install, monkeypatch, install.Plan(True, True, ()))
    manager = types.SimpleNamespace(interactive=True, installExtensionFromServer=lambda name, restart: False)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    assert install.install_dependencies() is False
    assert slicer.app.messages[-1][0] == "error" and install.resume() is False


def test_slicers_before_5_12_install_by_their_plain_installer(install, slicer, monkeypatch):
    installers = Installers(install, monkeypatch, install.Plan(False, False, ("safetensors>=0.4",)))
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", installers.pip, raising=False)
    assert install.install_dependencies() is True and installers.calls == [("pip", "safetensors>=0.4")]
