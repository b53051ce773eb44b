"""``slicer.i18n`` without translations."""

from __future__ import annotations


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text
