"""The extension as Slicer's build and the Extensions Index see it: nothing missing, nothing that contradicts."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "MedSAMSegment" / "MedSAMSegmentLib"
PANELS = sorted(ROOT.glob("*/Resources/UI/*.ui"))
STUB = Path(__file__).parent / "stub_slicer"
LARGEST_REPOSITORY = 60 << 20

IN_SLICER = {"slicer", "qt", "ctk", "vtk", "numpy", "SampleData", "SegmentEditorEffects", "MedSAMSegment"}
"""What is there in Slicer before anything is installed, besides Python's own modules."""


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """The build folder of the extension, configured as for Slicer."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    if not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang", "cl")):
        pytest.skip("CMake's project() needs a compiler")
    build = tmp_path_factory.mktemp("build")
    command = [cmake, "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={STUB}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return build


def listed(folder):
    """Every file below a folder but what tools leave behind."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "cache__/" not in path.as_posix() and "_cache/" not in path.as_posix()}


def test_slicer_would_install_every_file_of_both_modules(configured):
    installed = configured / "modules"
    package = listed(LIBRARY)
    assert len(package) > 200 and any(name.endswith("embedded.safetensors") for name in package)
    assert listed(installed / "MedSAMSegmentLib") == package
    assert not list(installed.rglob("*.pyc"))
    assert listed(ROOT / "MedSAMSegment" / "Resources") <= listed(installed / "Resources")
    assert listed(ROOT / "SegmentEditorMedSAMBox") - {"CMakeLists.txt"} <= listed(installed)
    assert (configured / "tests" / "MedSAMSegmentSelfTest.py").is_file()


def test_metadata_are_complete_and_agree(configured):
    lines = (configured / "metadata.txt").read_text(encoding="utf-8").splitlines()
    said = dict(line.split(" ", 1) for line in lines)
    entry = json.loads((ROOT / "MedSAMSegment.json").read_text(encoding="utf-8"))
    old = (ROOT / "MedSAMSegment.s4ext").read_text(encoding="utf-8").splitlines()
    old = dict((*line.split(" ", 1), "")[:2] for line in old if not line.startswith("#"))
    assert said["project"] == "MedSAMSegment" and not said["project"].startswith("Slicer")
    assert {"$schema", "category", "scm_url"} <= entry.keys()
    assert entry["build_dependencies"] == said["depends"].split() == old["depends"].split()
    assert (entry["category"], entry["scm_url"]) == (old["category"], old["scmurl"])
    for name in ("homepage", "contributors", "description", "iconurl", "screenshoturls"):
        assert said[name] == old[name]
    # Addresses of pictures are those of this repository's own files.
    for address in (said["iconurl"], *said["screenshoturls"].split()):
        assert (ROOT / address.split("/main/", 1)[1]).is_file()
    assert (ROOT / "LICENSE").is_file()


def test_icons_are_as_large_as_the_index_asks():
    from PIL import Image

    for path in [ROOT / "Resources" / "MedSAMSegment.png", *ROOT.glob("*/Resources/Icons/*.png")]:
        with Image.open(path) as picture:
            expected = (260, 280) if path.stem.endswith("Phantom") else (128, 128)
            assert picture.size == expected, path.name


def test_the_repository_stays_small():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in names.split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.is_file()) < LARGEST_REPOSITORY


@pytest.mark.parametrize("panel", PANELS, ids=lambda path: path.stem)
def test_panels_compile(panel):
    pytest.importorskip("PySide6", reason="needs PySide6-Essentials")
    compiler = Path(sys.executable).with_name("pyside6-uic")
    if not compiler.is_file():
        pytest.skip("pyside6-uic is not installed")
    done = subprocess.run([str(compiler), str(panel)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    compile(done.stdout, panel.stem, "exec")


def test_code_interface_file_and_parameters_name_the_same_things():
    (panel,) = PANELS
    root = ElementTree.parse(panel).getroot()
    widgets = [widget.get("name") for widget in root.iter("widget")]
    assert len(widgets) == len(set(widgets))
    used, parameters, connected = set(), set(), set()
    for path in sorted((LIBRARY / "slicer").glob("panel*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _is_ui(node.value):
                used.add(node.attr)
            if isinstance(node, ast.ClassDef) and any(_name(d) == "parameterNodeWrapper" for d in node.decorator_list):
                parameters |= {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    assert used and not used - set(widgets)
    for item in root.iter("property"):
        if item.get("name") == "SlicerParameterName":
            connected.add(item.find("string").text)
    assert connected and not connected - parameters
    # A button or a choice that no code and no parameter knows does nothing.
    passive = {"QLabel", "QFrame", "qMRMLWidget", "ctkCollapsibleButton", "QWidget"}
    bound = {widget.get("name") for widget in root.iter("widget") if _own(widget, "SlicerParameterName") is not None}
    lost = {w.get("name") for w in root.iter("widget") if w.get("class") not in passive} - used - bound
    assert lost == set()


def _is_ui(node):
    return (isinstance(node, ast.Attribute) and node.attr == "ui") or (isinstance(node, ast.Name) and node.id == "ui")


def _name(node):
    return ast.unparse(node).partition("(")[0]


def _own(widget, name):
    return next((item for item in widget.findall("property") if item.get("name") == name), None)


def test_nothing_that_slicer_lacks_is_imported_before_the_user_asks():
    """The modules load, and the panel opens, where neither torch nor anything else was ever installed."""
    waiting = [ROOT / "MedSAMSegment" / "MedSAMSegment.py", *(ROOT / "SegmentEditorMedSAMBox").rglob("*.py")]
    seen, foreign = set(), {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports_at_load(path):
            top = name.partition(".")[0]
            if top == "MedSAMSegmentLib":
                waiting += _files_of(name)
            elif top not in sys.stdlib_module_names | IN_SLICER:
                foreign[name] = path.name
    assert foreign == {} and len(seen) > 20


def _imports_at_load(path):
    """Absolute names that are imported when a file is loaded, not those in functions or for type checkers."""
    package = path.relative_to(LIBRARY.parent).with_suffix("").parts if LIBRARY in path.parents else ()
    package = package[:-1]
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name
            if name.startswith("MedSAMSegmentLib"):
                yield from (f"{name}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def _files_of(name):
    """The files that importing a module of the package loads: itself and the packages it is in."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = LIBRARY.parent.joinpath(*parts[:end])
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.is_file():
                yield candidate


def test_the_module_file_only_introduces():
    source = (ROOT / "MedSAMSegment" / "MedSAMSegment.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 120
    classes = set(re.findall(r"^class (\w+)", source, re.M))
    assert {"MedSAMSegment", "MedSAMSegmentWidget", "MedSAMSegmentLogic", "MedSAMSegmentTest"} <= classes
