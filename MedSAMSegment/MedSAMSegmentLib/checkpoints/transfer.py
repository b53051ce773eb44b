"""One file over HTTP(S) into a part file that can be resumed.

RFC 9110: ranges and ``If-Range`` for resuming, ``Retry-After`` for busy servers.  Proxies are those of the environment
(``HTTPS_PROXY``, ``NO_PROXY``).  Apart from the request for the file, nothing is sent.
"""

from __future__ import annotations

import email.utils
import errno
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import CancelledError, CheckpointError, OutputError
from .folder import state_of

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are here and the bytes of the whole file (none where the server does not say)."""
Cancel = Callable[[], bool]
"""Asked again and again whether to stop."""

_BLOCK = 1 << 18
_SHORTEST_POLL = 0.1


@dataclass(frozen=True)
class TransferSettings:
    """How patient a download is."""

    timeout: float = 30.0
    """Seconds without a byte after which the line counts as dropped."""
    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Seconds before each new attempt; counted anew whenever bytes came."""
    longest_wait: float = 120.0
    """Seconds; a server that asks for a longer pause (``Retry-After``) is given up for now."""


@dataclass
class _State:
    """What must be known to go on with a part file."""

    url: str
    validator: str = ""
    """Strong ETag of the file: the server confirms that it still offers the same one."""
    total: int | None = None


class _Dropped(Exception):
    """Something that may be better at the next attempt."""

    def __init__(self, code: str, message: str, hint: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.error = CheckpointError(code, message, hint)
        self.wait = wait


class Transfer:
    """The download of one address into one part file.

    Args:
        url: of the file; the caller has the user's consent.
        part: where the bytes are collected.
        expected_bytes: size of the whole file where it is known.
        hash_is_known: the whole file will be compared with a published hash, so that a part from another address, or
            one the server cannot vouch for, may be continued.
    """

    def __init__(
        self,
        url: str,
        part: Path,
        expected_bytes: int | None,
        hash_is_known: bool,
        settings: TransferSettings,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.url = url
        self.host = host_of(url)
        self.part = part
        self.expected_bytes = expected_bytes
        self.hash_is_known = hash_is_known
        self.settings = settings
        self.progress = progress or (lambda done, total: None)
        self.cancel = cancel or (lambda: False)

    def run(self) -> None:
        """Fetch what is missing.

        Raises:
            CheckpointError: ``DOWNLOAD_*``; what came so far stays in the part file where it is of use.
            CancelledError: the user stopped; the part file stays.
            OutputError: ``DISK_FULL``, ``WRITE_FAILED``.
        """
        failures, contacted = 0, False
        while True:
            before = self._here()
            try:
                if self._attempt():
                    return
                continue
            except _Dropped as dropped:
                contacted = contacted or dropped.error.code != "DOWNLOAD_UNREACHABLE"
                failures = 0 if self._here() > before else failures + 1
                # A host that was never reached is most often not reachable at all: no use in waiting for it.
                if failures > len(self.settings.waits) or not contacted:
                    raise dropped.error from dropped
                wait = self.settings.waits[max(failures - 1, 0)] if self.settings.waits else 0.0
                self._pause(wait if dropped.wait is None else dropped.wait)

    def _attempt(self) -> bool:
        """One request; false if the part file turned out useless and the next request begins anew."""
        state = self._resumable()
        offset = self._here() if state else 0
        if state and state.total is not None and offset == state.total:
            return True
        try:
            with self._open(offset, state) as response:
                if offset and response.status == 206:
                    self._continue(response, offset, state)
                else:
                    self._begin(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and offset:
                    self.forget()
                    return False
                raise self._refusal(error) from error
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise self._interrupted() from error
        return True

    def _open(self, offset: int, state: _State | None) -> Any:
        headers = {"User-Agent": "medsamsegment", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if state and state.url == self.url and state.validator:
                headers["If-Range"] = state.validator
        request = urllib.request.Request(self.url, headers=headers)
        opener = urllib.request.build_opener(_SafeRedirects)
        return opener.open(request, timeout=self.settings.timeout)

    def _begin(self, response: Any) -> None:
        """The whole file from its first byte."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise CheckpointError(
                "DOWNLOAD_IS_WEB_PAGE",
                f"{self.host} sent a web page instead of the weights.",
                "A portal of your network may ask you to sign in first; else fetch the file with a browser and use "
                "'medsamsegment models import'.",
            )
        total = _whole_number(response.headers.get("Content-Length"))
        self._check_size(total)
        etag = response.headers.get("ETag", "")
        state = _State(self.url, "" if etag.startswith("W/") else etag, total)
        self._write("wb", b"")
        self._write_state(state)
        self._receive(response, 0, total)

    def _continue(self, response: Any, offset: int, state: _State | None) -> None:
        """The rest of the file behind what is here."""
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = _whole_number(match[2]) if match else None
        same_file = state is None or None in (state.total, total) or state.total == total
        if match is None or int(match[1]) != offset or not same_file:
            self.forget()
            raise _Dropped(
                "DOWNLOAD_REFUSED", f"{self.host} sent another part of the file than was asked for.", _TRY_LATER, 0.0
            )
        self._check_size(total)
        self._receive(response, offset, total)

    def _receive(self, response: Any, offset: int, total: int | None) -> None:
        done = offset
        self.progress(done, total)
        with self._opened("ab") as file:
            while True:
                if self.cancel():
                    raise CancelledError("The download was stopped.", "Start it again: it goes on where it was.")
                block = response.read1(_BLOCK)
                if not block:
                    break
                self._put(file, block)
                done += len(block)
                if self.expected_bytes is not None and done > self.expected_bytes:
                    break
                self.progress(done, total)
        if total is not None and done < total:
            raise self._interrupted()
        if total is None:
            self._check_size(done)

    def _check_size(self, size: int | None) -> None:
        if size is not None and self.expected_bytes is not None and size != self.expected_bytes:
            self.forget()
            raise CheckpointError(
                "DOWNLOAD_WRONG_SIZE",
                f"{self.host} offers a file of {size:,} bytes instead of {self.expected_bytes:,}.",
                "It is not the published file; get it elsewhere and use 'medsamsegment models import'.",
            )

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """A typed error (final), or a reason to try again."""
        status = error.code
        if status in (429, 503):
            wait = _retry_after(error.headers.get("Retry-After"))
            message = f"{self.host} is busy (HTTP status {status})."
            if wait is not None and wait > self.settings.longest_wait:
                return CheckpointError("DOWNLOAD_BUSY", message, f"Try again in {_duration(wait)}.")
            return _Dropped("DOWNLOAD_BUSY", message, _TRY_LATER, wait)
        if status >= 500 or status == 408:
            return _Dropped("DOWNLOAD_SERVER_ERROR", f"{self.host} has a fault (HTTP status {status}).", _TRY_LATER)
        elsewhere = "Fetch the file with a browser and use 'medsamsegment models import'."
        if status in (401, 403):
            message = f"{self.host} does not hand out the file (HTTP status {status})."
            return CheckpointError("DOWNLOAD_FORBIDDEN", message, elsewhere)
        if status == 407:
            hint = "Name the proxy with your sign-in in the environment variable HTTPS_PROXY."
            return CheckpointError("DOWNLOAD_PROXY", "The proxy of your network asks for a sign-in.", hint)
        if status in (404, 410):
            message = f"{self.host} does not have the file any more (HTTP status {status})."
            return CheckpointError("DOWNLOAD_NOT_FOUND", message, elsewhere)
        return CheckpointError("DOWNLOAD_REFUSED", f"{self.host} answered with HTTP status {status}.", elsewhere)

    def _unreachable(self, reason: Any) -> Exception:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return CheckpointError(
                "DOWNLOAD_NOT_TRUSTED",
                f"The certificate of {self.host} could not be verified.",
                "If your network inspects traffic, name its certificate authority in the environment variable "
                "SSL_CERT_FILE.",
            )
        if isinstance(reason, OSError) and "407" in str(reason):
            hint = "Name the proxy with your sign-in in the environment variable HTTPS_PROXY."
            return CheckpointError("DOWNLOAD_PROXY", "The proxy of your network asks for a sign-in.", hint)
        return _Dropped(
            "DOWNLOAD_UNREACHABLE",
            f"{self.host} cannot be reached.",
            "Check the network and the proxy (environment variable HTTPS_PROXY), or fetch the file on another "
            "computer and use 'medsamsegment models import'.",
        )

    def _interrupted(self) -> _Dropped:
        hint = "Start the download again: it goes on where it was."
        return _Dropped("DOWNLOAD_INTERRUPTED", f"The line to {self.host} was dropped again and again.", hint)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.cancel():
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _SHORTEST_POLL))
        raise CancelledError("The download was stopped.", "Start it again: it goes on where it was.")

    def _here(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _resumable(self) -> _State | None:
        """What is known of the part file, if it may be continued."""
        try:
            state = _State(**json.loads(state_of(self.part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        size = self._here()
        if not size or (state.total is not None and size > state.total):
            return None
        vouched_for = state.url == self.url and bool(state.validator)
        return state if vouched_for or self.hash_is_known else None

    def forget(self) -> None:
        """Delete the part file."""
        self.part.unlink(missing_ok=True)
        state_of(self.part).unlink(missing_ok=True)

    def _write_state(self, state: _State) -> None:
        try:
            state_of(self.part).write_text(json.dumps(asdict(state)), encoding="utf-8")
        except OSError as error:
            raise _write_error(self.part, error) from error

    def _write(self, mode: str, content: bytes) -> None:
        with self._opened(mode) as file:
            self._put(file, content)

    def _opened(self, mode: str) -> Any:
        try:
            return self.part.open(mode)
        except OSError as error:
            raise _write_error(self.part, error) from error

    def _put(self, file: Any, block: bytes) -> None:
        try:
            file.write(block)
        except OSError as error:
            raise _write_error(self.part, error) from error


_TRY_LATER = "Try again later."


def host_of(url: str) -> str:
    """The computer an address points to."""
    return urllib.parse.urlsplit(url).hostname or url


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from an encrypted to an open line."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(
                "DOWNLOAD_INSECURE",
                f"{host_of(req.full_url)} redirects to an address without encryption.",
                "Fetch the file elsewhere and use 'medsamsegment models import'.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None


def _retry_after(text: str | None) -> float | None:
    """Seconds from now; the header holds seconds or a date."""
    seconds = _whole_number(text)
    if seconds is not None or not text:
        return None if seconds is None else float(seconds)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _write_error(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        hint = "Free some space and start again: the download goes on where it was."
        return OutputError("DISK_FULL", f"There is no space left to write {path}.", hint)
    reason = error.strerror or type(error).__name__
    return OutputError(
        "WRITE_FAILED", f"{path} could not be written: {reason}.", "Check the permissions of its folder."
    )
