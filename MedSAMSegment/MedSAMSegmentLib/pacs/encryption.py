"""TLS for both protocols, and finding out why a connection did not come about."""

from __future__ import annotations

import socket
import ssl

from .configuration import Tls
from .failures import PacsError, tls_failed, unreachable


def tls_context(tls: Tls, listening: bool = False) -> ssl.SSLContext:
    """Certificates are checked, those of hosts for their names too; TLS 1.2 or newer (PS3.15 B.12, BCP 195).

    Args:
        tls: whom to trust and what to show.
        listening: for connections made to us: they have to show a certificate, whatever its name.

    Raises:
        PacsError: ``PACS_TLS`` when a certificate or key file cannot be used.
        UsageError: ``PACS_SECRET``.
    """
    password = tls.key_password.reveal() if tls.key_password else None
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if listening else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=tls.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate_file:
            # Without a password OpenSSL would ask at the terminal for that of an encrypted key.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password or (lambda: ""))
    except (OSError, ValueError):
        raise tls_failed("a certificate or key file is missing, damaged, or not opened by its password") from None
    return context


def diagnose(host: str, port: int, timeout: float, tls: Tls | None) -> PacsError | None:
    """Connect once and say what is in the way; None where a connection comes about."""
    try:
        with socket.create_connection((host, port), timeout) as plain:
            if tls is not None:
                with tls_context(tls).wrap_socket(plain, server_hostname=tls.server_name or host):
                    pass
    except ssl.SSLError as error:
        return tls_failed(describe_tls(error))
    except OSError as error:
        return unreachable(describe(error))
    return None


def describe_tls(error: ssl.SSLError) -> str:
    """OpenSSL's reason, without anything the archive wrote."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or "its certificate is not trusted"
    return (error.reason or "no agreement").lower().replace("_", " ")


def describe(error: OSError) -> str:
    """Why there is no connection, in the system's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    return error.strerror.lower() if error.strerror else "no connection"
