"""A real archive for the tests of this folder, and a command line called in this process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra pacs")
pytest.importorskip("dicomweb_client", reason="needs the extra pacs")
pytest.importorskip("highdicom", reason="needs the extra dicom")

from command_outcome import Outcome
from MedSAMSegmentLib.cli.main import main
from orthanc_server import PASSWORD, PLUGIN, PROGRAM, WHY_NOT, Orthanc
from pacs_command import Objects, Pacs, dimse_table, web_table
from pacs_objects import NAME, PATIENT, write_contours, write_report, write_segmentation, write_study


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system has such a folder: the queue and the archive wait for the disk at every step."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 100 << 20 or not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="pacs-test-", dir=memory, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def pacs(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pacs:
    """``pacs("find", "dimse", …)`` with ``--json``; nothing but stdout ever holds the patient's name or number."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        status = main(["pacs", *map(str, arguments), "--json"])
        answer = Outcome(status, *capfd.readouterr())
        for secret in (NAME, NAME.split("^")[0], PATIENT, PASSWORD):
            assert secret not in answer.err
            assert secret not in answer.out or arguments[0] == "find"
        return answer

    return call


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    folder = tmp_path_factory.mktemp("objects")
    study = write_study(folder / "ct")
    binary = write_segmentation(study, folder / "binary.dcm")
    return Objects(
        study,
        binary,
        write_segmentation(study, folder / "labelmap.dcm", labelmap=True),
        write_contours(study, folder / "contours.dcm"),
        write_report(study, folder / "report.dcm", binary),
    )


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An empty archive that runs."""
    if PROGRAM is None or PLUGIN is None:
        pytest.skip(WHY_NOT)
    (tmp_path / "orthanc").mkdir()
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    yield server
    server.finish()


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``configure(table, …)`` writes the configuration and makes it the one that is used."""

    def write(*tables: str) -> Path:
        path = tmp_path / "pacs.toml"
        path.write_text("\n".join(tables), "utf-8")
        path.chmod(0o600)
        monkeypatch.setenv("MEDSAMSEGMENT_PACS", str(path))
        return path

    return write


@pytest.fixture
def both(orthanc: Orthanc, configure: Callable[..., Path]) -> Orthanc:
    """The archive under two names: ``dimse`` and ``web``."""
    configure(dimse_table("dimse", orthanc.dicom_port), web_table("web", orthanc.url))
    return orthanc
