"""What the computer's processor is and can do."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_INFORMATION = Path("/proc/cpuinfo")


@cache
def processor_flags() -> frozenset[str]:
    """Instruction sets as Linux names them (``avx512_bf16``, ``bf16`` on ARM ...); empty on other systems."""
    return frozenset(word for key, value in _lines() if key in ("flags", "Features") for word in value.split())


def computes_bfloat16() -> bool:
    """Whether products of bfloat16 are computed in hardware; without that they are slower than single precision."""
    if processor_flags():
        return bool(processor_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    import torch

    # Other systems do not tell; torch has looked for itself, in versions that have this function.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask()) if callable(ask) else False


@cache
def processor_name() -> str:
    """Model name of the processor, as far as the system tells."""
    names = [value for key, value in _lines() if key == "model name"]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def _lines() -> tuple[tuple[str, str], ...]:
    try:
        text = _INFORMATION.read_text()
    except OSError:
        return ()
    pairs = (line.partition(":") for line in text.splitlines())
    return tuple(dict.fromkeys((key.strip(), value.strip()) for key, _, value in pairs if value))
