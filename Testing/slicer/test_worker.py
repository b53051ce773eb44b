"""The worker process as Slicer uses it: a real child, the embedded network, the computed scan."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from child_process import Answers, ChildTransport, ask, until
from MedSAMSegmentLib.errors import InferenceError
from MedSAMSegmentLib.phantom import make_phantom
from MedSAMSegmentLib.private_folder import PREFIX, sweep
from MedSAMSegmentLib.prompts import BoxPrompt
from MedSAMSegmentLib.slicer.protocol import Frame, FrameReader, pack_mask, unpack_mask
from MedSAMSegmentLib.slicer.worker_client import State, WorkerClient
from MedSAMSegmentLib.slicer.worker_exchange import ExchangeFolder, read_volume
from MedSAMSegmentLib.volume import OrientedBox

OPTIONS = {"model": "embedded", "device": "cpu", "settings": {}}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(0)


def box_around(phantom, name, margin=2):
    where = np.nonzero(phantom.mask(name))
    (k0, k1), (j0, j1), (i0, i1) = ((int(axis.min()), int(axis.max()) + 1) for axis in where)
    corner = (i0 - margin, j0 - margin, k0, i1 + margin, j1 + margin, k1)
    return BoxPrompt(OrientedBox.from_index_range(phantom.volume.geometry, *corner)).as_dict()


def whole_mask(phantom, header, payload):
    mask = np.zeros(phantom.volume.geometry.shape, dtype=bool)
    part = unpack_mask(header["mask"], payload)
    where = tuple(slice(o, o + n) for o, n in zip(header["mask"]["offset"], part.shape, strict=True))
    mask[where] = part
    return mask


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A client and the transport that turns its loop; nothing is left behind."""
    root = tmp_path_factory.mktemp("exchange")
    transport = ChildTransport()
    client = WorkerClient(transport, root=str(root))
    yield client, transport
    client.shut_down()
    assert list(root.iterdir()) == []


@pytest.fixture
def desk(worker, phantom):
    """The same with the scan newly opened, and the reply to that."""
    client, transport = worker
    opened = Answers()
    client.open_scan(phantom.volume, OPTIONS, done=opened.done, failed=opened.failed)
    until(transport, lambda: opened.over)
    assert opened.error is None
    return client, transport, opened.reply


# ---- frames --------------------------------------------------------------------------------------------------------


def test_frames_survive_any_cutting_and_are_printable():
    frames = [Frame({"id": n, "text": "ä\n\0" * n}, bytes(range(256)) * n) for n in range(4)]
    data = b"".join(frame.encode() for frame in frames)
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    for size in (1, 7, 1000, len(data)):
        reader = FrameReader()
        got = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
        assert [(dict(f.header), f.payload) for f in got] == [(dict(f.header), f.payload) for f in frames]


@pytest.mark.parametrize("noise", [b"Downloading: 100%|####| done\n" * 2, b"MSSF zzzzzzzz 00000000\n{}", b"\0" * 40])
def test_noise_on_the_pipe_is_recognised(noise):
    with pytest.raises(InferenceError, match="unreadable"):
        FrameReader().feed(noise)


def test_masks_travel_cropped_and_exactly():
    mask = np.zeros((5, 40, 30), dtype=bool)
    mask[2:4, 10:13, 7:20] = np.random.default_rng(0).random((2, 3, 13)) > 0.4
    mask[2, 10, 7] = mask[3, 12, 19] = True
    where, payload = pack_mask(mask, (10, 0, 0))
    assert where == {"offset": [12, 10, 7], "shape": [2, 3, 13]}
    assert np.array_equal(unpack_mask(where, payload), mask[2:4, 10:13, 7:20])
    where, payload = pack_mask(np.zeros((3, 4), dtype=bool))
    assert unpack_mask(where, payload).size == 0


# ---- the exchange folder -------------------------------------------------------------------------------------------


def test_voxels_arrive_bit_identical_in_a_private_file(tmp_path, phantom):
    folder = ExchangeFolder(tmp_path)
    writer = folder.writer(phantom.volume)
    steps = 0
    while not writer.done:
        writer.step()
        steps += 1
    assert steps > 1
    if os.name == "posix":
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert Path(writer.description["path"]).stat().st_mode & 0o777 == 0o600
    volume = read_volume(writer.description)
    assert np.array_equal(volume.voxels, phantom.volume.voxels)
    assert volume.geometry == phantom.volume.geometry
    folder.remove()
    assert not folder.path.exists()


def test_a_folder_in_use_is_kept_and_one_of_a_killed_slicer_is_swept(tmp_path):
    mine = ExchangeFolder(tmp_path)
    program = (
        "import sys, time; from MedSAMSegmentLib.slicer.worker_exchange import ExchangeFolder\n"
        f"folder = ExchangeFolder({str(tmp_path)!r}); print(folder.path, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    theirs = Path(other.stdout.readline().strip())
    sweep(tmp_path)
    assert theirs.exists() and mine.path.exists()
    other.kill()
    other.wait(10)
    assert theirs.exists()
    sweep(tmp_path)
    assert not theirs.exists() and mine.path.exists()
    mine.remove()


# ---- the life of the process ---------------------------------------------------------------------------------------


def test_it_segments_what_the_box_holds_and_says_how_far_it_is(desk, phantom):
    client, transport, opened = desk
    assert opened["axis"] == 0 and opened["slices"] == 64 and opened["up"] == 1
    assert opened["model"]["name"] == "embedded"
    added = ask(client, transport, "add_object", {"name": "kidney", "box": box_around(phantom, "left kidney")})
    assert added.reply["objects"]["kidney"]["pending"]
    done = ask(client, transport, "segment", {"names": ["kidney"]})
    header, payload = done.results()["kidney"]
    assert dice(whole_mask(phantom, header, payload), phantom.mask("left kidney")) > 0.85
    assert not done.reply["objects"]["kidney"]["pending"] and header["complete"]
    fractions = [header["fraction"] for header, _ in done.events if header["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any(header["event"] == "slice" for header, _ in done.events)
    used = np.flatnonzero(phantom.mask("left kidney").any(axis=(1, 2)))
    assert {int(k) for k in header["scores"]} >= set(used[2:-2].tolist())


def test_a_preview_shows_one_slice_and_keeps_nothing(desk, phantom):
    client, transport, _ = desk
    seen = ask(client, transport, "preview", {"box": box_around(phantom, "left kidney")})
    assert seen.error is None and 0 <= seen.reply["score"] <= 1
    mask = whole_mask(phantom, seen.reply, seen.payload)
    index = seen.reply["slice"]
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [index]
    assert dice(mask[index], phantom.mask("left kidney")[index]) > 0.8
    assert client.content["objects"] == [] and not client.can_undo


def test_what_is_refused_is_said_and_leaves_everything_as_it_was(desk, phantom):
    client, transport, _ = desk
    outside = dict(box_around(phantom, "left kidney"), centre=[5000.0, 0.0, 0.0])
    refused = ask(client, transport, "add_object", {"name": "x", "box": outside})
    assert refused.error.code == "BOX_OUTSIDE" and client.content["objects"] == []
    assert ask(client, transport, "segment", {"names": ["x"]}).error.code == "UNKNOWN_OBJECT"
    assert ask(client, transport, "sing").error.code == "UNKNOWN_VERB"
    assert client.state is State.IDLE


def test_only_the_slices_in_reach_change(desk, phantom):
    client, transport, _ = desk
    ask(client, transport, "add_object", {"name": "kidney", "box": box_around(phantom, "left kidney")})
    used = np.flatnonzero(phantom.mask("left kidney").any(axis=(1, 2)))
    middle, top = int(used[len(used) // 2]), int(used[-1])
    up = ask(client, transport, "segment", {"names": ["kidney"], "reach": [middle, top]})
    upper = whole_mask(phantom, *up.results()["kidney"])
    assert upper[middle:].any() and not upper[:middle].any()
    both = ask(client, transport, "segment", {"names": ["kidney"], "reach": "all"})
    assert whole_mask(phantom, *both.results()["kidney"])[:middle].any()
    missed = ask(client, transport, "segment", {"names": ["kidney"], "reach": [top + 3, top + 9]})
    assert missed.error.code == "EMPTY_RANGE"


def test_undo_and_redo_also_reach_over_a_crash(desk, phantom):
    client, transport, _ = desk
    boxes = {name: box_around(phantom, name) for name in ("left kidney", "spleen")}
    for name, box in boxes.items():
        ask(client, transport, "add_object", {"name": name, "box": box})
    before = transport.started
    os.kill(transport.process.pid, signal.SIGKILL)
    until(transport, lambda: client.state is State.OFF)
    for expected in (["left kidney"], []):
        answers = Answers()
        client.undo(answers.done, answers.failed)
        until(transport, lambda answers=answers: answers.over)
        assert [item["name"] for item in client.content["objects"]] == expected
    assert not client.can_undo
    answers = Answers()
    client.redo(answers.done, answers.failed)
    until(transport, lambda: answers.over)
    assert [item["name"] for item in client.content["objects"]] == ["left kidney"]
    assert transport.started == before + 1


def test_cancelling_keeps_what_was_done(desk, phantom):
    client, transport, _ = desk
    ask(client, transport, "add_object", {"name": "liver", "box": box_around(phantom, "liver")})
    answers, before = Answers(), transport.started
    client.submit("segment", {"names": ["liver"]}, **answers.arguments())
    until(transport, lambda: len([1 for header, _ in answers.events if header["event"] == "progress"]) > 3)
    client.cancel()
    assert client.state is State.STOPPING
    until(transport, lambda: answers.over)
    assert answers.error.code == "CANCELLED" and transport.started == before
    header, payload = answers.results()["liver"]
    assert not header["complete"] and unpack_mask(header["mask"], payload).any()
    finished = ask(client, transport, "segment", {"names": ["liver"]})
    assert finished.results()["liver"][0]["complete"]


def test_a_worker_that_does_not_listen_is_ended_and_replaced(desk, phantom):
    client, transport, _ = desk
    ask(client, transport, "add_object", {"name": "kidney", "box": box_around(phantom, "left kidney")})
    answers, before = Answers(), transport.started
    client.submit("segment", {"names": ["kidney"]}, **answers.arguments())
    os.kill(transport.process.pid, signal.SIGSTOP)
    client.cancel()
    until(transport, lambda: answers.over, seconds=5)
    assert answers.error.code == "CANCELLED"
    again = ask(client, transport, "segment", {"names": ["kidney"]})
    assert again.error is None and transport.started == before + 1


def test_killed_at_ten_random_moments_the_next_run_gives_the_same_mask(desk, phantom):
    client, transport, _ = desk
    ask(client, transport, "add_object", {"name": "kidney", "box": box_around(phantom, "left kidney")})
    expected = ask(client, transport, "segment", {"names": ["kidney"]}).results()["kidney"][1]
    said = client.content["objects"]
    chance = random.Random(5)
    for _ in range(10):
        answers = Answers()
        client.submit("segment", {"names": ["kidney"]}, **answers.arguments())
        moment = time.monotonic() + chance.uniform(0.0, 1.5)
        until(transport, lambda moment=moment, a=answers: time.monotonic() > moment or a.over)
        if transport.process is not None:
            os.kill(transport.process.pid, signal.SIGKILL)
        until(transport, lambda: client.state is State.OFF)
        assert answers.reply is not None or answers.error.code in ("WORKER_DIED", "WORKER_NOT_STARTED")
        assert client.content["objects"] == said
    after = ask(client, transport, "segment", {"names": ["kidney"]})
    assert after.results()["kidney"][1] == expected


def test_nobody_else_can_write_on_the_pipe_or_read_from_it(tmp_path):
    program = (
        "import os, sys\n"
        "from MedSAMSegmentLib.slicer import worker\n"
        "source, target = worker._private_streams()\n"
        "print('a careless library'); os.system('echo a careless program'); os.write(1, b'more')\n"
        "assert sys.stdin.read() == ''\n"
        "os.write(target, b'frames')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], input=b"requests", capture_output=True, timeout=60)
    assert ran.stdout == b"frames" and b"careless library" in ran.stderr and b"careless program" in ran.stderr


def test_the_worker_ends_and_cleans_up_when_slicer_is_gone(tmp_path):
    folder = tmp_path / f"{PREFIX}orphan"
    folder.mkdir()
    (folder / "volume-1.raw").write_bytes(b"voxels")
    begin = "from MedSAMSegmentLib.slicer.worker import main; main()"
    child = subprocess.Popen([sys.executable, "-c", begin, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline().startswith(b"MSSF")
    child.stdin.close()
    assert child.wait(10) == 0
    assert not folder.exists()
    child.stdout.close()


def test_a_download_is_told_before_and_goes_nowhere_else(tmp_path, monkeypatch):
    from MedSAMSegmentLib.errors import CheckpointError
    from MedSAMSegmentLib.slicer.worker_verbs import Desk

    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path))
    worker = Desk(lambda fields, payload: None, lambda: False)
    terms, _ = worker.answer("download_terms", {"model": "medsam2"}, b"")
    assert terms["hosts"] and terms["licence"] and terms["bytes"] > 1e6
    with pytest.raises(CheckpointError) as refused:
        worker.answer("download", {"model": "medsam2", "hosts": ["elsewhere.example"]}, b"")
    assert refused.value.code == "DOWNLOAD_DECLINED"
