"""How good are the masks? Cases with known truth, boxes drawn on them, scores by group, reports.

``evaluate(load_manifest(path), method)`` runs any callable ``method(volume, boxes) -> masks``; see ``harness``.
"""

from .harness import LoadedCase, Method, Observation, evaluate, load_cases
from .manifest import Case, LabelSource, Manifest, TruthObject, load_manifest
from .report import GroupSummary, ObjectScore, Report

__all__ = [
    "Case",
    "GroupSummary",
    "LabelSource",
    "LoadedCase",
    "Manifest",
    "Method",
    "ObjectScore",
    "Observation",
    "Report",
    "TruthObject",
    "evaluate",
    "load_cases",
    "load_manifest",
]
