"""The errors a user can meet: one sentence that says what is wrong, one that says what to do.

Every error has a machine-readable ``code`` (UPPER_CASE) and the exit status the command line ends with.
No message ever holds a DICOM value or a patient's name: paths and numbers of the geometry only.
"""

from __future__ import annotations

import errno
from pathlib import Path


class MedSAMSegmentError(Exception):
    """Base of all typed errors.

    Args:
        code: stable identifier, e.g. ``"EMPTY_BOX"``; scripts may compare it.
        message: what is wrong, one sentence.
        hint: what the user can do about it, one sentence; may be empty.
    """

    exit_status = 5

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """The error as the ``--json`` output shows it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(MedSAMSegmentError):
    """The request itself makes no sense (exit status 2)."""

    exit_status = 2


class InputError(MedSAMSegmentError):
    """A scan, a box or another input was refused (exit status 3)."""

    exit_status = 3


class OutputError(MedSAMSegmentError):
    """A result could not be written; nothing half-written is left behind (exit status 3)."""

    exit_status = 3


class CheckpointError(MedSAMSegmentError):
    """A model or its weights are missing, damaged or of another architecture (exit status 4)."""

    exit_status = 4


class InferenceError(MedSAMSegmentError):
    """The network failed while segmenting (exit status 5)."""

    exit_status = 5


class CancelledError(MedSAMSegmentError):
    """The user cancelled; what was done so far is kept (exit status 130)."""

    exit_status = 130

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__("CANCELLED", message, hint)


def write_failed(path: Path, error: OSError) -> OutputError:
    """What stopped a file from being written: ``DISK_FULL`` or ``WRITE_FAILED``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("DISK_FULL", f"There is no space left to write {path}.", "Free some space and try again.")
    reason = error.strerror or type(error).__name__
    return OutputError("WRITE_FAILED", f"{path} could not be written: {reason}.", "Choose another folder or name.")
