"""DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 chapter 10)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .client import Receive
from .configuration import WebArchive
from .encryption import describe_tls, tls_context
from .failures import (
    PacsError,
    connection_lost,
    dimse_failure,
    http_failure,
    quiet,
    tls_failed,
    unreachable,
)
from .objects import ObjectFacts
from .query import COLUMNS, InstanceReference, Query

if TYPE_CHECKING:
    import requests
    from dicomweb_client.api import DICOMwebClient

#: Objects come in the encoding the archive keeps them in.
_AS_STORED = (("application/dicom", "*"),)

#: A series of which at most this many objects are missing is asked for object by object.
_FEW = 8


class WebClient:
    """One archive behind one address."""

    def __init__(self, archive: WebArchive) -> None:
        self.archive = archive
        with quiet("connecting"):
            self._client = self._connect()

    def _connect(self) -> DICOMwebClient:
        import requests
        from dicomweb_client.api import DICOMwebClient

        archive = self.archive
        session = _session()
        # Neither proxies nor certificates nor passwords (.netrc) of the environment: patients' data go where the
        # configuration says, and REQUESTS_CA_BUNDLE would override ca_file.
        session.trust_env = False
        # A redirection would carry patients' data to an address nobody has allowed.
        session.max_redirects = 0
        if archive.tls is not None:
            session.mount("https://", _adapter(archive))
        if archive.token is not None:
            session.headers["Authorization"] = f"Bearer {_header_text(archive.token.reveal())}"
        elif archive.password is not None:
            # As bytes: requests would write texts in Latin-1 (RFC 7617 leaves it open; servers expect UTF-8).
            session.auth = requests.auth.HTTPBasicAuth(
                archive.user.encode("utf-8"),  # type: ignore[arg-type]
                archive.password.reveal().encode("utf-8"),  # type: ignore[arg-type]
            )
        session.hooks["response"].append(_check_end)
        client = DICOMwebClient(archive.url, session, timeout=archive.timeout)
        # Repeating is the caller's, who knows what may be repeated.
        client.set_http_retry_params(retry=False)
        return client

    def check(self) -> None:
        """A search for one study."""
        with self._asking("checking"):
            self._client.search_for_studies(limit=1)

    def find(self, query: Query) -> list[dict[str, str]]:
        """QIDO-RS."""
        from pydicom.dataset import Dataset

        terms = dict(query.terms)
        study, series = terms.pop("StudyInstanceUID", None), terms.pop("SeriesInstanceUID", None)
        options: dict[str, Any] = {"limit": query.limit, "fields": list(COLUMNS[query.level])}
        with self._asking("searching"):
            if query.level == "STUDY":
                terms.update({"StudyInstanceUID": study} if study else {})
                answers = self._client.search_for_studies(search_filters=terms, **options)
            elif query.level == "SERIES":
                terms.update({"SeriesInstanceUID": series} if series else {})
                answers = self._client.search_for_series(study, search_filters=terms, **options)
            else:
                answers = self._client.search_for_instances(study, series, search_filters=terms, **options)
            matches = [query.match(Dataset.from_json(answer)) for answer in answers]
        # Below a study or series the archive need not repeat its UID in every answer.
        known = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        for match in matches:
            match.update({key: uid for key, uid in known.items() if uid and match.get(key) == ""})
        return [match for match in matches if query.fits(match)][: query.limit]

    def fetch(self, study_uid: str, series_uid: str, wanted: Sequence[InstanceReference], receive: Receive) -> None:
        """WADO-RS: the series in one stream, or a few objects one by one."""
        with self._asking("fetching"):
            if len(wanted) > _FEW:
                for data in self._client.iter_series(study_uid, series_uid, media_types=_AS_STORED):
                    receive(_encoded(data))
                return
            for reference in wanted:
                receive(
                    _encoded(
                        self._client.retrieve_instance(
                            study_uid, series_uid, reference.sop_instance_uid, media_types=_AS_STORED
                        )
                    )
                )

    def store(self, path: Path, facts: ObjectFacts) -> None:
        """STOW-RS of one file."""
        from pydicom import dcmread

        with self._asking("storing"):
            answer = self._client.store_instances([dcmread(path)], study_instance_uid=facts.study_uid)
            failed = answer.get("FailedSOPSequence")
        if failed:
            raise _store_failure(failed[0].get("FailureReason"))

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """Turns HTTP's and the network's failures into ours."""
        with quiet(doing):
            import requests

            try:
                yield
            except requests.HTTPError as error:
                raise _http_error(error, doing) from None
            except requests.exceptions.SSLError as error:
                raise tls_failed(_tls_reason(error)) from None
            except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout):
                raise connection_lost() from None
            except requests.exceptions.TooManyRedirects:
                raise PacsError(
                    "PACS_REDIRECTED",
                    "The archive sends us to another address, which is not followed.",
                    "Put the final address into the configuration.",
                ) from None
            except requests.exceptions.ChunkedEncodingError:
                raise connection_lost() from None
            except requests.exceptions.ConnectionError as error:
                raise _connection_error(error) from None


def _session() -> requests.Session:
    import requests

    class Session(requests.Session):
        def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
            """Wild cards as they are, blanks as %20: PS3.18 8.3.4 has neither ``%2A`` nor ``+``, and Orthanc's plugin
            takes both for what they look like."""
            prepared = super().prepare_request(request)
            address, mark, terms = str(prepared.url).partition("?")
            prepared.url = address + mark + terms.replace("%2A", "*").replace("%3F", "?").replace("+", "%20")
            return prepared

    return Session()


def _adapter(archive: WebArchive) -> Any:
    """HTTPS with our own trust, keys and key password, which requests itself has no word for."""
    from requests.adapters import HTTPAdapter

    assert archive.tls is not None
    context, server_name = tls_context(archive.tls), archive.tls.server_name or None

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(
                *arguments,
                ssl_context=context,
                server_hostname=server_name,
                assert_hostname=server_name,
                **options,
            )

        def cert_verify(self, connection: Any, url: str, verify: Any, certificate: Any) -> None:
            # requests would add its own bundle of authorities to the context.
            connection.cert_reqs = "CERT_REQUIRED"

    return Adapter()


def _check_end(response: requests.Response, *_: Any, **__: Any) -> None:
    """Watch that a multipart body is complete.

    Some archives say neither how long it is nor where it ends, so that one cut short looks whole, and pydicom takes
    what is left of an object for all of it.  The closing boundary is the only witness (RFC 2046 5.1.1).
    """
    from requests.exceptions import ChunkedEncodingError

    kind = response.headers.get("Content-Type", "")
    if response.status_code != 200 or not kind.lower().startswith("multipart/"):
        return
    named = re.search(r'boundary="?([^";]+)', kind, re.IGNORECASE)
    end = b"--" + named[1].strip().encode() + b"--" if named else b""
    parts = response.iter_content

    def watched(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        tail = b""
        for chunk in parts(chunk_size, decode_unicode):  # type: ignore[call-overload]
            tail = (tail + chunk)[-256:]
            yield chunk
        if not tail.rstrip().endswith(end):
            raise ChunkedEncodingError

    response.iter_content = watched  # type: ignore[method-assign, assignment]


def _header_text(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("PACS_SECRET", "The token holds characters a token cannot have.", "Copy it again.")
    return token


def _encoded(data: Any) -> bytes:
    """The file as it came: nothing in it was touched."""
    from pydicom import dcmwrite

    with io.BytesIO() as stream:
        dcmwrite(stream, data)
        return stream.getvalue()


def _http_error(error: requests.HTTPError, doing: str) -> PacsError:
    response = error.response
    if response is None:
        return connection_lost()
    if doing == "storing" and response.status_code not in (401, 403):
        reason = _failure_reason(response)
        if reason is not None:
            return _store_failure(reason)
    return http_failure(response.status_code, doing)


def _failure_reason(response: requests.Response) -> int | None:
    """The first failure reason of a STOW-RS answer (PS3.18 10.5.3), if it holds one."""
    from pydicom.dataset import Dataset

    try:
        failed = Dataset.from_json(response.json()).get("FailedSOPSequence")
        return int(failed[0].FailureReason) if failed else None
    except Exception:
        return None


def _store_failure(reason: Any) -> PacsError:
    """Failure reasons are the statuses of C-STORE and a few of their own (PS3.18 I.2)."""
    if reason is None:
        return PacsError(
            "PACS_REFUSED",
            "The archive did not store the object, and does not say why.",
            "Ask its administrator.",
            about_object=True,
        )
    return dimse_failure(int(reason), "storing")


def _tls_reason(error: Exception) -> str:
    import ssl

    cause: BaseException | None = error
    while cause is not None:
        for candidate in (cause, *getattr(cause, "args", ()), getattr(cause, "reason", None)):
            if isinstance(candidate, ssl.SSLError):
                return describe_tls(candidate)
        cause = cause.__cause__ or cause.__context__
    return "no agreement"


def _connection_error(error: Exception) -> PacsError:
    """Nobody there, or gone in the middle."""
    from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError

    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, NameResolutionError):
        return unreachable("its host name is not known")
    if isinstance(cause, NewConnectionError):
        return unreachable("nobody listens there")
    return connection_lost()
