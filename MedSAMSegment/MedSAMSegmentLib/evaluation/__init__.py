"""How good are the masks? Cases with known truth, boxes drawn on them, scores by group, reports.

``evaluate(load_manifest(path), method)`` runs any callable ``method(volume, boxes) -> masks``; ``evaluate_clicks`` also
clicks on what is wrong.  See ``harness``.
"""

from .harness import Conversation, Correctable, LoadedCase, Method, Observation, evaluate, evaluate_clicks, load_cases
from .manifest import Case, LabelSource, Manifest, TruthObject, load_manifest
from .report import GroupSummary, ObjectScore, Report

__all__ = [
    "Case",
    "Conversation",
    "Correctable",
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
    "evaluate_clicks",
    "load_cases",
    "load_manifest",
]
