"""What can go wrong between us and an archive, in words; and the libraries kept quiet meanwhile."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MedSAMSegmentError, OutputError, UsageError

#: Libraries whose log lines hold identifiers: pynetdicom writes queries and answers, the HTTP libraries write URLs with
#: search terms in them, pydicom quotes values it cannot read.
_TALKATIVE = ("pynetdicom", "dicomweb_client", "urllib3", "requests", "pydicom", "keyring")


class PacsError(OutputError):
    """The archive, or the way to it, refused (exit status 3).

    Args:
        code: stable identifier.
        message: what is wrong, one sentence.
        hint: what to do, one sentence.
        passing: whether the same request may succeed later, so that trying again makes sense.
        about_object: whether it is this object that was refused; otherwise every object would be.
    """

    def __init__(
        self, code: str, message: str, hint: str = "", *, passing: bool = False, about_object: bool = False
    ) -> None:
        super().__init__(code, message, hint)
        self.passing = passing
        self.about_object = about_object


def unreachable(reason: str) -> PacsError:
    """No connection: nobody listens, the name is unknown, or the network is down."""
    return PacsError(
        "PACS_UNREACHABLE",
        f"The archive does not answer ({reason}).",
        "Check host, port and network; it may also be restarting.",
        passing=True,
    )


def connection_lost() -> PacsError:
    """The connection ended, or the answer did not come in time, in the middle of a request."""
    return PacsError(
        "PACS_CONNECTION_LOST",
        "The connection to the archive broke, or its answer did not come in time.",
        "Try again; a larger timeout in the configuration helps where the archive is slow.",
        passing=True,
    )


def tls_failed(reason: str) -> PacsError:
    """The encrypted connection could not be agreed upon."""
    return PacsError(
        "PACS_TLS",
        f"The encrypted connection could not be agreed upon ({reason}).",
        "Check ca_file, certificate_file and key_file, and that the archive offers TLS on this port.",
    )


def login_refused() -> PacsError:
    """HTTP 401 or 403."""
    return PacsError(
        "PACS_LOGIN",
        "The archive refused the user name, password or token.",
        "Check them in the configuration, and whether this user may do what was asked.",
    )


def dimse_failure(status: int, doing: str) -> PacsError:
    """A failure status of a DIMSE response (PS3.7 annex C, PS3.4 B.2.3, C.4).

    Args:
        status: the 16-bit status.
        doing: what was asked for, e.g. ``"storing"``.
    """
    code = f"0x{status:04X}"
    if 0xA700 <= status <= 0xA7FF and doing == "storing":
        return out_of_space(code)
    if status == 0x0122:
        return unsupported_class(code)
    if status == 0x0124:
        return PacsError(
            "PACS_NOT_AUTHORISED",
            f"The archive does not allow {doing} ({code}).",
            "Ask its administrator to allow it for our AE title.",
        )
    return PacsError(
        "PACS_REFUSED",
        f"{doing.capitalize()} failed: the archive answered with status {code}.",
        "Its administrator can look the status up in its log.",
        # A7xx outside storing: out of resources while matching or sub-operations.
        passing=0xA700 <= status <= 0xA7FF,
        about_object=doing == "storing",
    )


def http_failure(status: int, doing: str) -> PacsError:
    """An HTTP status that is no success (PS3.18, 8.5).

    Args:
        status: the HTTP status.
        doing: what was asked for, e.g. ``"storing"``.
    """
    if status in (401, 403):
        return login_refused()
    if status in (413, 507):
        return out_of_space(f"HTTP {status}")
    if status == 415:
        return unsupported_class("HTTP 415")
    passing = status in (408, 429) or status >= 500
    return PacsError(
        "PACS_REFUSED" if not passing else "PACS_BUSY",
        f"{doing.capitalize()} failed: the archive answered with HTTP status {status}.",
        "Try again later." if passing else "Check the address of the archive; its administrator can look into its log.",
        passing=passing,
        about_object=doing == "storing" and status in (400, 409, 422),
    )


def out_of_space(code: str) -> PacsError:
    """The archive has no room left, or says so."""
    return PacsError(
        "PACS_OUT_OF_SPACE",
        f"The archive is out of resources ({code}); its disk may be full.",
        "Tell its administrator. What was to be sent is kept, and sent by the next `medsamsegment pacs send`.",
        passing=True,
    )


def unsupported_class(code: str) -> PacsError:
    """The archive does not take this kind of object, or not in this encoding."""
    return PacsError(
        "PACS_UNSUPPORTED",
        f"The archive does not take this kind of object ({code}).",
        "Ask its administrator to allow the SOP class.",
        about_object=True,
    )


def missing_extra(library: str) -> UsageError:
    """The extra ``pacs`` is not installed."""
    return UsageError(
        "PACS_NOT_INSTALLED",
        f"The library {library} is not installed.",
        "Install it: pip install 'medsamsegment[pacs]'.",
    )


@contextmanager
def quiet(doing: str) -> Iterator[None]:
    """Keeps the libraries from logging values, and turns whatever they raise into a typed error without values.

    Loggers are taken off the root logger for the whole process while the block runs.

    Args:
        doing: what is being done, e.g. ``"searching"``.

    Raises:
        PacsError: ``PACS_CONFUSED`` for anything unforeseen; typed errors pass through unchanged.
        UsageError: ``PACS_NOT_INSTALLED``.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [(logger.propagate, logger.handlers) for logger in loggers]
    try:
        for logger in loggers:
            logger.propagate, logger.handlers = False, [logging.NullHandler()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (MedSAMSegmentError, KeyboardInterrupt, GeneratorExit):
        raise
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name)) from None
    except Exception as error:
        # The library's own text is not shown: it may quote what the archive sent.
        raise PacsError(
            "PACS_CONFUSED",
            f"{doing.capitalize()} failed: the archive's answer cannot be understood ({type(error).__name__}).",
            "Check that the address is that of a DICOM archive.",
        ) from None
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
