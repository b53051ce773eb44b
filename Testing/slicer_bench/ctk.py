"""Stand-ins for the CTK widgets that the extension uses: properties and signals as in CTK, looks much like it."""

from __future__ import annotations

from typing import Any

import qt
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QPushButton, QSlider, QWidget

_HEADER = 24
_UNLIMITED = 16777215


@qt.stand_in
class ctkCollapsibleButton(QWidget):
    """A header that folds what is below it; children are laid out by the .ui file's layout."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._header = QPushButton(self)
        self._header.setStyleSheet("text-align: left; padding-left: 6px;")
        self._header.clicked.connect(lambda: self.setCollapsed(not self._collapsed))
        self.setContentsMargins(0, _HEADER + 2, 0, 0)
        self._title = ""

    def resizeEvent(self, event: Any) -> None:
        self._header.setGeometry(0, 0, event.size().width(), _HEADER)

    def setText(self, text: str) -> None:
        self._title = text
        self._header.setText(f"{'▸' if self._collapsed else '▾'} {text}")

    text = Property(str, lambda self: self._title, setText)

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        self._fold()
        self.contentsCollapsed.emit(self._collapsed)

    def showEvent(self, event: Any) -> None:
        """The .ui file sets ``collapsed`` before it makes the children."""
        self._fold()

    def _fold(self) -> None:
        self.setText(self._title)
        for child in self.children():
            if isinstance(child, QWidget) and child is not self._header and self._is_folded(child) != self._collapsed:
                child.setProperty("folded", self._collapsed)
                child.setVisible(not self._collapsed)
        self.setMaximumHeight(_HEADER + 2 if self._collapsed else _UNLIMITED)

    @staticmethod
    def _is_folded(child: QWidget) -> bool:
        return bool(child.property("folded"))

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)


@qt.stand_in
class ctkSliderWidget(QWidget):
    """A slider and a number side by side."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider, self._number = QSlider(qt.Qt.Orientation.Horizontal), QDoubleSpinBox()
        row.addWidget(self._slider)
        row.addWidget(self._number)
        self._number.setMaximum(99.0)
        self._slider.valueChanged.connect(lambda step: self.setValue(self.minimum + step * self.singleStep))
        self._number.valueChanged.connect(self._changed)
        self._place()

    def _changed(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        """Bring the slider to where the number is."""
        self._slider.blockSignals(True)
        self._slider.setRange(0, round((self.maximum - self.minimum) / self.singleStep))
        self._slider.setValue(round((self.value - self.minimum) / self.singleStep))
        self._slider.blockSignals(False)

    def setValue(self, value: float) -> None:
        self._number.setValue(value)

    def setMinimum(self, value: float) -> None:
        self._number.setMinimum(value)
        self._place()

    def setMaximum(self, value: float) -> None:
        self._number.setMaximum(value)
        self._place()

    def setSingleStep(self, value: float) -> None:
        self._number.setSingleStep(value)
        self._place()

    value = Property(float, lambda self: self._number.value, setValue)
    minimum = Property(float, lambda self: self._number.minimum, setMinimum)
    maximum = Property(float, lambda self: self._number.maximum, setMaximum)
    singleStep = Property(float, lambda self: self._number.singleStep, setSingleStep)
    decimals = Property(int, lambda self: self._number.decimals, lambda self, n: self._number.setDecimals(n))
    suffix = Property(str, lambda self: self._number.suffix, lambda self, text: self._number.setSuffix(text))
