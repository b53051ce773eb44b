"""The configuration: mistakes are named, and files that others can read or change are not used."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from MedSAMSegmentLib.errors import UsageError
from MedSAMSegmentLib.pacs.configuration import DimseArchive, WebArchive, find_archive, read_archives
from MedSAMSegmentLib.pacs.failures import quiet
from MedSAMSegmentLib.pacs.query import query_for
from pacs_command import Pacs, dimse_table, web_table

Configure = Callable[..., Path]

DIMSE = 'protocol = "dimse"\nhost = "pacs.example"\nport = 104\nae_title = "CLINIC"\n'
WEB = 'protocol = "dicomweb"\nurl = "https://pacs.example/dicom-web"\n'


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def test_archives_are_read_with_safe_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "pacs.toml", f"[archives.a]\n{DIMSE}\n[archives.b]\n{WEB}ca_file = 'ca.pem'\n")
    a, b = read_archives(path).values()
    assert isinstance(a, DimseArchive)
    assert isinstance(b, WebArchive)
    assert a.tls is not None, "encrypted unless the user says otherwise"
    assert a.verify == b.verify == "content"
    assert b.tls is not None
    assert b.tls.ca_file == tmp_path / "ca.pem"
    with pytest.raises(UsageError) as refusal:
        find_archive("c", path)
    assert refusal.value.code == "NO_SUCH_ARCHIVE"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[archives]\n",
        "archives = 1",
        f"[archives.a]\n{DIMSE}colour = 1\n",
        f"[archives.a]\n{DIMSE}[other]\n",
        "[archives.a]\nprotocol = 'ftp'\n",
        f"[archives.a]\n{DIMSE.replace('104', '0')}",
        f"[archives.a]\n{DIMSE.replace('104', '70000')}",
        f"[archives.a]\n{DIMSE.replace('CLINIC', 'SEVENTEEN LETTERS')}",
        f"[archives.a]\n{DIMSE}timeout = -1\n",
        f"[archives.a]\n{DIMSE}tls = 'yes'\n",
        f"[archives.a]\n{DIMSE}verify = 'maybe'\n",
        f"[archives.a]\n{DIMSE}tls = false\nca_file = 'ca.pem'\n",
        f"[archives.a]\n{DIMSE}listen_port = 11112\n",
        f"[archives.a]\n{DIMSE}key_file = 'key.pem'\n",
        f"[archives.a]\n{WEB}user = 'me'\n",
        f"[archives.a]\n{WEB}user = 'me'\npassword = 'x'\ntoken = 'y'\n",
        f"[archives.a]\n{WEB}token = {{ file = 'x' }}\n",
        f"[archives.a]\n{WEB}token = ''\n",
        f"[archives.a]\n{WEB.replace('https', 'http')}",
        f"[archives.a]\n{WEB}tls = false\n",
        f"[archives.a]\n{WEB.replace('https://', 'https://me:secret@')}",
        f"[archives.a]\n{WEB.replace('https://', 'ftp://')}",
    ],
)
def test_mistakes_are_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        read_archives(write(tmp_path / "pacs.toml", text))
    assert refusal.value.code == "PACS_CONFIGURATION"
    assert "secret" not in str(refusal.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions of this kind are POSIX's")
def test_files_open_to_others_are_not_used(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.toml", f"[archives.a]\n{WEB}token = 'x'\n")
    named = write(tmp_path / "named.toml", f"[archives.a]\n{WEB}token = {{ environment = 'X' }}\n")
    key = write(tmp_path / "key.pem", "")
    keyed = write(tmp_path / "keyed.toml", f"[archives.a]\n{WEB}certificate_file = 'c.pem'\nkey_file = 'key.pem'\n")
    for mode in (0o640, 0o604, 0o644, 0o620, 0o602):
        secret.chmod(mode)
        with pytest.raises(UsageError) as refusal:
            read_archives(secret)
        assert refusal.value.code == "PACS_PERMISSIONS"
    named.chmod(0o644)
    assert read_archives(named)
    named.chmod(0o664)
    with pytest.raises(UsageError):
        read_archives(named)
    assert read_archives(keyed)
    key.chmod(0o640)
    with pytest.raises(UsageError) as refusal:
        read_archives(keyed)
    assert refusal.value.code == "PACS_PERMISSIONS"


def test_secrets_are_not_shown_by_accident(tmp_path: Path) -> None:
    archive = find_archive("a", write(tmp_path / "pacs.toml", f"[archives.a]\n{WEB}token = 'hunter2'\n"))
    assert "hunter2" not in repr(archive)


def test_whole_archives_are_not_listed(configure: Configure, pacs: Pacs) -> None:
    configure(dimse_table("a", 1), web_table("b", "http://127.0.0.1:1"))
    assert pacs("find", "a").code == "NO_SEARCH_TERM"
    assert pacs("find", "b", "--patient", "*").code == "NO_SEARCH_TERM"
    assert pacs("find", "b", "--date", "yesterday").code == "BAD_DATE"
    assert pacs("find", "b", "--patient", "a\\b").code == "BAD_TERM"
    assert pacs("find", "b", "--study", "1.2.3/../4").code == "BAD_UID"
    assert pacs("find", "b", "--series", "1.2.3", "--level", "study").code == "BAD_LEVEL"


def test_level_follows_from_what_is_given() -> None:
    assert query_for({"PatientID": "x"}).level == "STUDY"
    assert query_for({"StudyInstanceUID": "1.2"}).level == "SERIES"
    assert query_for({"SeriesInstanceUID": "1.2"}).level == "SERIES"
    assert query_for({"StudyInstanceUID": "1.2"}, level="IMAGE").level == "IMAGE"


def test_libraries_log_nothing_while_they_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    names = ("pynetdicom", "pynetdicom.assoc", "dicomweb_client.web", "urllib3.connectionpool", "pydicom")
    with quiet("searching"):
        for name in names:
            logging.getLogger(name).error("Müstermann")
    assert caplog.text == ""
    logging.getLogger("pydicom").warning("after")
    assert "after" in caplog.text
