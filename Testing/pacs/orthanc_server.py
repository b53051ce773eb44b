"""A real archive: Orthanc with its DICOMweb plugin, on this computer's loopback, in a folder of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
PLUGIN = next(
    (
        path
        for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins", "/usr/local/share/orthanc/plugins")
        for path in Path(folder).glob("libOrthancDicomWeb.so*")
    ),
    None,
)
WHY_NOT = "needs Orthanc with its DICOMweb plugin (Debian: apt-get install orthanc orthanc-dicomweb)"

USER, PASSWORD = "reader", "correct horse"
#: A busy machine takes its time; an idle one a second.
_START_SECONDS = 90.0
AE_TITLE, OUR_AE_TITLE = "TESTPACS", "MEDSAMSEG"


def _ports() -> Iterator[int]:
    """Each port once, in an order of chance; another test process of this run (pytest-xdist) gets others."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    others = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # Below those that systems give to clients: such a port stays free between a kill and the next start.
    ports = list(range(15000 + process, 32000, others))
    random.SystemRandom().shuffle(ports)
    yield from ports


_not_given_yet = _ports()


def free_port() -> int:
    """A port nobody listens on now, and that this run gives to nobody else: an archive that is killed starts again on
    the one it had."""
    for port in _not_given_yet:
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port is left")


class Orthanc:
    """Start it, kill it, start it again: what it stored stays, unless it runs from an empty folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.settings = folder, settings
        self.dicom_port, self.http_port, self.our_port = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.finished = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers; nothing after :meth:`finish`."""
        with self.lock:
            if not self.finished.is_set():
                self._start()

    def finish(self) -> None:
        """Kill it for good: a test that failed may have asked for a later start."""
        self.finished.set()
        with self.lock:
            self.kill()

    def _start(self) -> None:
        configuration = {
            "Name": "TEST",
            "StorageDirectory": str(self.folder / "store"),
            "IndexDirectory": str(self.folder / "index"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False,
            "DicomAlwaysAllowStore": False,
            "DicomModalities": {
                "us": {
                    "AET": OUR_AE_TITLE,
                    "Host": "127.0.0.1",
                    "Port": self.our_port,
                    "AllowEcho": True,
                    "AllowFind": True,
                    "AllowGet": True,
                    "AllowMove": True,
                    "AllowStore": True,
                }
            },
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **self.settings,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration), "utf-8")
        log = open(self.folder / "orthanc.log", "ab")  # noqa: SIM115 -- the process writes to it
        self.process = subprocess.Popen([str(PROGRAM), str(path)], stdout=log, stderr=log, cwd=self.folder)
        last = time.monotonic() + _START_SECONDS
        while time.monotonic() < last:
            if self.process.poll() is not None:
                raise RuntimeError("Orthanc ended: " + (self.folder / "orthanc.log").read_text("utf-8")[-2000:])
            try:
                self.get("/system")
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Orthanc does not answer")

    def kill(self) -> None:
        """As when the power fails."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str) -> object:
        """Its own REST interface, to look from the other side at what it has."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}")
        request.add_header("Authorization", "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return json.load(answer)

    def count(self) -> int:
        """How many objects it has."""
        instances = self.get("/instances")
        assert isinstance(instances, list)
        return len(instances)
