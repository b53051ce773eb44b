"""The archives a user has written down: where they are, how to speak to them, whom to trust.

The file is TOML, one table an archive::

    [archives.clinic]
    protocol = "dimse"
    host = "pacs.example.org"
    port = 2762
    ae_title = "CLINIC"
    calling_ae_title = "MEDSAMSEG"
    ca_file = "clinic-ca.pem"

    [archives.web]
    protocol = "dicomweb"
    url = "https://pacs.example.org/dicom-web"
    user = "segmenter"
    password = { environment = "CLINIC_PASSWORD" }
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError
from .secrets import Secret

FILE_NAME = "pacs.toml"
ENVIRONMENT = "MEDSAMSEGMENT_PACS"

_VERIFY = ("content", "presence", "none")


@dataclass(frozen=True)
class Tls:
    """Whom to trust and what to show (PS3.15 B.12: TLS 1.2 or newer).

    Attributes:
        ca_file: certificates that are trusted instead of the system's.
        certificate_file: our own, for archives that ask for it; ``key_file`` is its key.
        key_password: opens the key.
        server_name: the name in the archive's certificate where it is not the host.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None
    server_name: str = ""


@dataclass(frozen=True)
class Archive:
    """One archive.

    Attributes:
        name: what the user calls it.
        timeout: seconds to wait for a connection, and for each answer.
        attempts: how often a request is tried before we give up for now.
        wait: seconds before the second attempt; doubled before each further one.
        verify: what is looked at after sending: ``"content"`` (read back and compared), ``"presence"`` (the archive
            lists it), ``"none"``.
        tls: None where the connection is not encrypted.
    """

    name: str
    timeout: float
    attempts: int
    wait: float
    verify: str
    tls: Tls | None


@dataclass(frozen=True)
class DimseArchive(Archive):
    """An archive that speaks DIMSE (PS3.7, PS3.8).

    Attributes:
        ae_title: the archive's.
        calling_ae_title: ours.
        listen_port: where we take objects that the archive sends after C-MOVE; 0 where C-GET is used.
        listen_host: the address of this computer that we listen on; empty for all.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    listen_port: int
    listen_host: str


@dataclass(frozen=True)
class WebArchive(Archive):
    """An archive that speaks DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS below one address."""

    url: str
    user: str
    password: Secret | None
    token: Secret | None


def configuration_path(given: Path | None = None) -> Path:
    """The file given, else the one ``MEDSAMSEGMENT_PACS`` names, else ``pacs.toml`` in the user's configuration."""
    if given is not None:
        return given
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("medsamsegment", appauthor=False) / FILE_NAME


def read_archives(path: Path) -> dict[str, DimseArchive | WebArchive]:
    """All archives of a configuration file, by name.

    Raises:
        UsageError: ``PACS_CONFIGURATION`` (missing, not TOML, a key that is unknown, missing or of the wrong kind),
            ``PACS_PERMISSIONS`` (others may change the file; or it or a key file holds a secret that others may read).
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8 text") from None
    content = _parse(path, text)
    tables = content.pop("archives", None)
    if content or not isinstance(tables, dict) or not tables:
        raise _wrong(path, "it should hold tables named [archives.NAME] and nothing else")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _wrong(path, f"archives.{name} is not a table")
    archives = {name: _Reader(path, name, table).archive() for name, table in tables.items()}
    _check_permissions(path, secret=any(_holds_secret(archive) for archive in archives.values()))
    for archive in archives.values():
        if archive.tls and archive.tls.key_file:
            _check_permissions(archive.tls.key_file, secret=True)
    return archives


def find_archive(name: str, path: Path | None = None) -> DimseArchive | WebArchive:
    """The archive of that name.

    Raises:
        UsageError: ``NO_SUCH_ARCHIVE``; those of :func:`read_archives`.
    """
    path = configuration_path(path)
    archives = read_archives(path)
    if name not in archives:
        raise UsageError(
            "NO_SUCH_ARCHIVE", f"No archive is called {name!r} in {path}.", f"There are: {', '.join(archives)}."
        )
    return archives[name]


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"it is not TOML: {error}") from None


class _Reader:
    """Takes one table apart, and knows what is left over."""

    def __init__(self, path: Path, name: str, table: dict[str, Any]) -> None:
        self.path, self.name, self.left = path, name, dict(table)

    def archive(self) -> DimseArchive | WebArchive:
        protocol = self.text("protocol")
        common: dict[str, Any] = {
            "name": self.name,
            "timeout": self.number("timeout", 30.0, least=0.1),
            "attempts": int(self.number("attempts", 4, least=1)),
            "wait": self.number("wait", 2.0, least=0.0),
            "verify": self.text("verify", "content"),
            "tls": self.tls(),
        }
        if common["verify"] not in _VERIFY:
            raise self.wrong(f"verify should be one of {', '.join(_VERIFY)}")
        archive: DimseArchive | WebArchive
        if protocol == "dimse":
            archive = DimseArchive(
                **common,
                host=self.text("host"),
                port=self.port("port"),
                ae_title=self.title("ae_title"),
                calling_ae_title=self.title("calling_ae_title", "MEDSAMSEG"),
                listen_port=self.port("listen_port", 0),
                listen_host=self.text("listen_host", ""),
            )
            if archive.listen_port and archive.tls and not archive.tls.certificate_file:
                raise self.wrong("with listen_port and TLS we need a certificate_file, for what the archive sends us")
        elif protocol == "dicomweb":
            archive = WebArchive(
                **common,
                url=self.url(encrypted=common["tls"] is not None),
                user=self.text("user", ""),
                password=self.secret("password"),
                token=self.secret("token"),
            )
            if archive.token and (archive.user or archive.password):
                raise self.wrong("it has both a token and a user or password; the archive takes one of them")
            if bool(archive.user) != bool(archive.password):
                raise self.wrong("user and password go together")
        else:
            raise self.wrong('protocol should be "dimse" or "dicomweb"')
        if self.left:
            raise self.wrong(f"it has a key that is not known: {min(self.left)}")
        return archive

    def tls(self) -> Tls | None:
        wanted = self.left.pop("tls", True)
        if not isinstance(wanted, bool):
            raise self.wrong("tls should be true or false")
        tls = Tls(
            self.file("ca_file"),
            self.file("certificate_file"),
            self.file("key_file"),
            self.secret("key_password"),
            self.text("server_name", ""),
        )
        if not wanted and tls != Tls():
            raise self.wrong("it has certificates, but tls = false")
        if tls.key_file and not tls.certificate_file:
            raise self.wrong("key_file is the key of a certificate_file, which is not there")
        return tls if wanted else None

    def text(self, key: str, default: str | None = None) -> str:
        value = self.left.pop(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise self.wrong(f"{key} is missing, or not a text")
        return value

    def number(self, key: str, default: float, least: float) -> float:
        value = self.left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e6:
            raise self.wrong(f"{key} should be a number of at least {least:g}")
        return value

    def port(self, key: str, default: int | None = None) -> int:
        if key not in self.left and default is not None:
            return default
        value = self.left.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
            raise self.wrong(f"{key} should be a number from 1 to 65535")
        return value

    def title(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default)
        # PS3.5 6.2, AE: at most 16 printable ASCII characters, no backslash.
        if len(value) > 16 or not value.strip() or not value.isascii() or not value.isprintable() or "\\" in value:
            raise self.wrong(f"{key} should be 1 to 16 plain characters")
        return value

    def url(self, encrypted: bool) -> str:
        value = self.text("url").rstrip("/")
        parts = urlsplit(value)
        try:
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.username or parts.password or parts.query or parts.fragment:
            raise self.wrong("url should look like https://HOST/PATH, without user, password or ?")
        if encrypted != (parts.scheme == "https"):
            raise self.wrong("url begins with http:// only where tls = false says that nothing is encrypted")
        return value

    def file(self, key: str) -> Path | None:
        value = self.text(key, "")
        # Names in the file are meant from the file's own folder.
        return self.path.parent / Path(value).expanduser() if value else None

    def secret(self, key: str) -> Secret | None:
        if key not in self.left:
            return None
        secret = Secret.parse(self.left.pop(key))
        if secret is None:
            raise self.wrong(
                f'{key} should be {{ environment = "NAME" }}, {{ keyring = "SERVICE", user = "NAME" }} or a text'
            )
        return secret

    def wrong(self, what: str) -> UsageError:
        return _wrong(self.path, f"in archives.{self.name}, {what}")


def _holds_secret(archive: DimseArchive | WebArchive) -> bool:
    secrets = [archive.tls.key_password if archive.tls else None]
    if isinstance(archive, WebArchive):
        secrets += [archive.password, archive.token]
    return any(secret is not None and secret.is_written for secret in secrets)


def _check_permissions(path: Path, secret: bool) -> None:
    """Others must not change where patients' data go, nor read a secret.  Windows has no such bits to look at."""
    try:
        found = path.stat()
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror}") from None
    if os.name != "posix":
        return
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError("PACS_PERMISSIONS", f"Others may change {path}.", f"Run: chmod go-w '{path}'")
    if secret and found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UsageError(
            "PACS_PERMISSIONS", f"{path} holds a secret, and others may read it.", f"Run: chmod 600 '{path}'"
        )
    if found.st_uid not in (0, os.getuid()):
        raise UsageError("PACS_PERMISSIONS", f"{path} belongs to another user.", "Make a copy of your own.")


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError("PACS_CONFIGURATION", f"The configuration {path} cannot be used: {what}.", "See docs/pacs.md.")
