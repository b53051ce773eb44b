"""Passwords and tokens: where they come from, and never where they go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError


@dataclass(frozen=True)
class Secret:
    """Something that opens an archive, by where it is to be found; looked up when it is needed.

    Attributes:
        environment: name of an environment variable.
        keyring: name of a service in the system's keyring; ``user`` is the entry's user.
        written: the secret itself, where the configuration holds it.
    """

    environment: str = ""
    keyring: str = ""
    user: str = ""
    written: str = field(default="", repr=False)

    @property
    def is_written(self) -> bool:
        """Whether the configuration holds the secret itself."""
        return bool(self.written)

    @classmethod
    def parse(cls, value: Any) -> Secret | None:
        """The secret a configuration names; None where it cannot be understood."""
        if isinstance(value, str) and value:
            return cls(written=value)
        if not isinstance(value, dict) or not all(isinstance(text, str) and text for text in value.values()):
            return None
        if set(value) == {"environment"}:
            return cls(environment=value["environment"])
        if set(value) == {"keyring", "user"}:
            return cls(keyring=value["keyring"], user=value["user"])
        return None

    def reveal(self) -> str:
        """The secret.

        Raises:
            UsageError: ``PACS_SECRET`` when the variable or the entry is not there, ``PACS_NOT_INSTALLED``.
        """
        if self.written:
            return self.written
        if self.environment:
            found = os.environ.get(self.environment)
            if not found:
                raise UsageError(
                    "PACS_SECRET", f"The environment variable {self.environment} is not set.", "Set it to the secret."
                )
            return found
        return self._from_keyring()

    def _from_keyring(self) -> str:
        try:
            import keyring
            import keyring.errors
        except ModuleNotFoundError:
            from .failures import missing_extra

            raise missing_extra("keyring") from None
        try:
            found = keyring.get_password(self.keyring, self.user)
        except keyring.errors.KeyringError:
            raise UsageError(
                "PACS_SECRET", "The system's keyring cannot be opened.", "Unlock it, or use an environment variable."
            ) from None
        if not found:
            raise UsageError(
                "PACS_SECRET",
                f"The keyring has no entry {self.user!r} for the service {self.keyring!r}.",
                f"Add it: keyring set {self.keyring} {self.user}",
            )
        return found
