"""The networks: pure torch, one part a file, official parameter names.

``build_model(spec)`` makes any of them from data; ``sam2.SAM2`` is where to start reading.
"""

from __future__ import annotations
