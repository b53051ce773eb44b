"""Downloading weights: only after consent, over lines that break, from servers that fail, and never a wrong file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, running
from MedSAMSegmentLib.checkpoints import TransferSettings, cache, clean, download, find_model
from MedSAMSegmentLib.checkpoints.folder import locked
from MedSAMSegmentLib.cli.main import main
from MedSAMSegmentLib.errors import CancelledError, CheckpointError, MedSAMSegmentError, OutputError
from MedSAMSegmentLib.models.specification import ModelSpec

WEIGHTS = bytes(range(256)) * 8000
HASTY = TransferSettings(timeout=5.0, waits=(0.01, 0.01, 0.01), longest_wait=2.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("MEDSAMSEGMENT_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub(WEIGHTS)) as server:
        yield server


@pytest.fixture
def mirror() -> Iterator[Hub]:
    with running(Hub(WEIGHTS)) as server:
        yield server


def offered(hub: Hub, *mirrors: Hub, **changes: Any) -> ModelSpec:
    """A model of the catalog whose file is at the server, with its size and hash published."""
    spec = find_model("medsam2")
    known = {"bytes": len(WEIGHTS), "sha256": hashlib.sha256(WEIGHTS).hexdigest()} | changes
    urls = tuple(f"{other.url}/weights.pt" for other in mirrors)
    origin = dataclasses.replace(spec.checkpoint, url=f"{hub.url}/weights.pt", mirrors=urls, **known)
    return dataclasses.replace(spec, checkpoint=origin)


def fetch(spec: ModelSpec, **options: Any) -> Path:
    return download(spec, consent=lambda terms: True, settings=HASTY, **options)


SUMS = {
    "SHA-256": {"sha256": hashlib.sha256(WEIGHTS).hexdigest()},
    "MD5": {"sha256": "", "md5": hashlib.md5(WEIGHTS).hexdigest()},
    "XXH128": {"sha256": "", "xxh128": "ebb3501f03f0ad8061a452d05ae582e8"},
}
"""What a publisher may state of the same file."""


def refused(spec: ModelSpec, **options: Any) -> MedSAMSegmentError:
    with pytest.raises(MedSAMSegmentError) as caught:
        fetch(spec, **options)
    return caught.value


def part(folder: Path) -> Path:
    return folder / "MedSAM2_latest.pt.part"


def test_a_download_arrives_whole_and_tells_how_far_it_is(folder: Path, hub: Hub) -> None:
    told: list[tuple[int, int | None]] = []
    path = fetch(offered(hub), progress=lambda done, total: told.append((done, total)))
    assert path == folder / "MedSAM2_latest.pt" and path.read_bytes() == WEIGHTS
    assert told[0] == (0, len(WEIGHTS)) and told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {file.name for file in folder.iterdir()} == {path.name, ".locks"}
    assert fetch(offered(hub)) == path and len(hub.requests) == 1, "what is here is not fetched again"


def test_nothing_is_sent_before_the_user_agrees(folder: Path, hub: Hub) -> None:
    shown = []
    with pytest.raises(CheckpointError) as caught:
        download(offered(hub), consent=lambda terms: bool(shown.append(terms)))
    assert caught.value.code == "DOWNLOAD_DECLINED" and not hub.requests
    terms = shown[0]
    assert terms.hosts == ("127.0.0.1",) and terms.bytes == len(WEIGHTS) and terms.bytes_are_exact
    assert terms.licence.identifier == "CC-BY-SA-4.0" and terms.licence.summary
    assert terms.folder == folder


def test_a_dropped_line_goes_on_where_it_was(folder: Path, hub: Hub) -> None:
    hub.script = ["drop", "drop", None]
    assert fetch(offered(hub)).read_bytes() == WEIGHTS
    half = len(WEIGHTS) // 2
    assert [wanted for _, wanted in hub.requests] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_an_interrupted_download_is_resumed_by_the_next_one(folder: Path, hub: Hub) -> None:
    stop = threading.Event()
    with pytest.raises(CancelledError):
        fetch(offered(hub), progress=lambda done, total: stop.set() if done else None, cancel=stop.is_set)
    left = part(folder).stat().st_size
    assert 0 < left < len(WEIGHTS) and not cache().files[0].complete
    assert fetch(offered(hub)).read_bytes() == WEIGHTS
    assert hub.requests[-1][1] == f"bytes={left}-"


def test_a_file_replaced_meanwhile_is_begun_anew(folder: Path, hub: Hub) -> None:
    hub.script = ["drop"] + [500] * 9
    assert refused(offered(hub)).code == "DOWNLOAD_SERVER_ERROR"
    hub.script, hub.etag = [], '"second"'
    assert part(folder).exists()
    assert fetch(offered(hub)).read_bytes() == WEIGHTS


def test_a_wrong_range_is_not_stitched_in(folder: Path, hub: Hub) -> None:
    hub.script = ["drop", "shifted"]
    assert fetch(offered(hub)).read_bytes() == WEIGHTS


def test_a_redirection_is_followed(folder: Path, hub: Hub) -> None:
    hub.script = ["redirect"]
    assert fetch(offered(hub)).read_bytes() == WEIGHTS
    assert [path for path, _ in hub.requests] == ["/weights.pt", "/elsewhere"]


@pytest.mark.parametrize(
    ("script", "code", "requests"),
    [
        ([403], "DOWNLOAD_FORBIDDEN", 1),
        ([404], "DOWNLOAD_NOT_FOUND", 1),
        ([500] * 9, "DOWNLOAD_SERVER_ERROR", 4),
        ([429] * 9, "DOWNLOAD_BUSY", 4),
        (["page"], "DOWNLOAD_IS_WEB_PAGE", 1),
        ([418], "DOWNLOAD_REFUSED", 1),
    ],
)
def test_a_server_that_fails_is_named_and_leaves_nothing(
    folder: Path, hub: Hub, script: list[object], code: str, requests: int
) -> None:
    hub.script = script
    error = refused(offered(hub))
    assert error.code == code and error.exit_status == 4 and "127.0.0.1" in error.message and error.hint
    assert len(hub.requests) == requests
    assert {file.name for file in folder.iterdir()} == {".locks"}


def test_a_busy_server_gets_the_pause_it_asks_for(folder: Path, hub: Hub) -> None:
    hub.script, hub.headers = [429, None], {"Retry-After": "1"}
    started = time.monotonic()
    assert fetch(offered(hub)).read_bytes() == WEIGHTS
    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize("kind", SUMS)
def test_whatever_sum_the_publisher_states_is_compared(folder: Path, hub: Hub, kind: str) -> None:
    spec = offered(hub, bytes=None, **SUMS[kind])
    told = []
    download(spec, consent=lambda terms: told.append(terms.checked_by) or True, settings=HASTY)
    assert f"Its {kind} sum is compared" in told[0]
    cached = folder / "MedSAM2_latest.pt"
    cached.unlink()
    other = {name: value and "0" * len(value) for name, value in SUMS[kind].items()}
    error = refused(offered(hub, bytes=None, **other))
    assert error.code == "CHECKPOINT_ALTERED" and f"its {kind} sum" in error.message and not cached.exists()


def test_a_sum_that_cannot_be_computed_here_is_not_claimed(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spec = offered(hub, bytes=None, **SUMS["XXH128"])
    told = []
    with pytest.raises(CheckpointError):
        download(spec, consent=lambda terms: told.append(terms.checked_by), settings=HASTY)
    assert told == ["No hash is published: this first file is remembered, and a later change is refused."]


def test_a_pause_of_hours_is_told_and_not_waited_for(folder: Path, hub: Hub) -> None:
    hub.script, hub.headers = [429], {"Retry-After": "7200"}
    error = refused(offered(hub))
    assert error.code == "DOWNLOAD_BUSY" and "120 minutes" in error.hint and len(hub.requests) == 1


def test_a_server_fault_that_passes_is_survived(folder: Path, hub: Hub) -> None:
    hub.script = [500, 503, None]
    assert fetch(offered(hub)).read_bytes() == WEIGHTS


def test_a_file_of_another_length_is_refused_before_it_is_fetched(folder: Path, hub: Hub) -> None:
    error = refused(offered(hub, bytes=len(WEIGHTS) - 1))
    assert error.code == "DOWNLOAD_WRONG_SIZE" and f"{len(WEIGHTS):,}" in error.message
    assert not part(folder).exists()


def test_a_forged_file_never_gets_the_name(folder: Path, hub: Hub) -> None:
    hub.content = WEIGHTS[:-1] + b"x"
    assert refused(offered(hub)).code == "CHECKPOINT_ALTERED"
    assert not cache().files


def test_a_mirror_takes_over_and_goes_on_where_the_publisher_stopped(folder: Path, hub: Hub, mirror: Hub) -> None:
    hub.script = ["drop", 403]
    assert fetch(offered(hub, mirror)).read_bytes() == WEIGHTS
    assert mirror.requests == [("/weights.pt", f"bytes={len(WEIGHTS) // 2}-")]


def test_when_all_fail_the_publisher_is_named_first(folder: Path, hub: Hub, mirror: Hub) -> None:
    hub.script, mirror.script = [403], [404]
    error = refused(offered(hub, mirror))
    assert error.code == "DOWNLOAD_FORBIDDEN" and "A mirror failed, too" in error.message


def test_a_host_that_is_not_there_is_given_up_at_once(folder: Path, hub: Hub) -> None:
    spec = offered(hub)
    origin = dataclasses.replace(spec.checkpoint, url="http://127.0.0.1:9/weights.pt")
    assert refused(dataclasses.replace(spec, checkpoint=origin)).code == "DOWNLOAD_UNREACHABLE"


def test_without_a_published_hash_the_content_must_be_weights(folder: Path, hub: Hub) -> None:
    error = refused(offered(hub, bytes=None, sha256=""))
    assert error.code == "CHECKPOINT_NOT_WEIGHTS"
    assert not cache().files


def test_a_model_offered_to_browsers_only_says_what_to_do(folder: Path) -> None:
    error = refused(find_model("lite-medsam"))
    assert error.code == "DOWNLOAD_BROWSER_ONLY" and "models import lite-medsam FILE" in error.hint


def test_two_downloads_at_a_time_fetch_the_file_once(folder: Path, hub: Hub) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(offered(hub)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3 and len(hub.requests) == 1 and paths[0].read_bytes() == WEIGHTS


def test_another_process_that_holds_the_file_is_waited_for_and_its_death_frees_it(folder: Path, hub: Hub) -> None:
    code = (
        "import sys, time; from MedSAMSegmentLib.checkpoints.folder import locked\n"
        "with locked('MedSAM2_latest.pt'):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(CancelledError):
            fetch(offered(hub), cancel=lambda: True)
        assert not hub.requests
        other.kill()
    assert fetch(offered(hub)).read_bytes() == WEIGHTS


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(OutputError) as caught:
        fetch(offered(hub))
    assert caught.value.code == "NO_FOLDER" and "MEDSAMSEGMENT_MODELS" in caught.value.hint


def test_clean_deletes_weights_and_nothing_else(folder: Path, hub: Hub) -> None:
    fetch(offered(hub))
    (folder / "sam2.1_hiera_tiny.pt.part").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    assert cache().bytes == len(WEIGHTS) + 4
    assert [file.model for file in clean(interrupted_only=True)] == ["sam2.1-tiny"]
    assert [file.model for file in clean(["sam2.1-tiny"])] == []
    assert [file.model for file in clean()] == ["medsam2"]
    assert (folder / "notes.txt").exists() and not cache().files


def test_the_command_asks_and_refuses_where_nobody_answers(
    folder: Path, mirror: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSAMSEGMENT_MIRROR", mirror.url)
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115
    assert main(["models", "download", "medsam2", "--json"]) == 2
    streams = capsys.readouterr()
    assert json.loads(streams.out)["error"]["code"] == "CONSENT_NEEDED" and not mirror.requests
    for words in ("CC-BY-SA-4.0", "156.0 MB", "127.0.0.1", "huggingface.co", "SHA-256"):
        assert words in streams.err
    assert main(["models", "clean", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == []


def test_locks_of_different_files_do_not_wait_for_each_other(folder: Path) -> None:
    with locked("one"), locked("two"):
        assert (folder / ".locks" / "one").exists()
