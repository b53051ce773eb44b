"""``slicer.parameterNodeWrapper``, as far as the extension relies on it.

Parameters may be nodes, ``str``, ``bool``, ``int`` and ``float`` within a range; they live in a script node, so that
they are saved with the scene, and widgets are bound to them by their property ``SlicerParameterName``.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk


@dataclass(frozen=True)
class WithinRange:
    """Numbers from ``minimum`` to ``maximum``."""

    minimum: float
    maximum: float


class _Parameter:
    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name = name
        self.range: WithinRange | None = None
        if typing.get_origin(hint) is typing.Annotated:
            hint, self.range = typing.get_args(hint)
        self.type = hint
        self.is_node = issubclass(hint, slicer.vtkMRMLNode)
        self.default = default

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.type):
                raise ValueError(f"{self.name} must be a {self.type.__name__}")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
            return
        if not isinstance(value, (int, float) if self.type is float else self.type):
            raise ValueError(f"{self.name} must be of type {self.type.__name__}, not {value!r}")
        if self.range is not None and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} must be within {self.range}, not {value}")
        node.SetParameter(self.name, str(value))


class _Binding:
    """A widget and its parameter."""

    def __init__(self, widget: Any, parameter: _Parameter, changed: Callable[[], None]) -> None:
        self._widget, self._parameter = widget, parameter
        if parameter.is_node:
            widget.setNodeTypes([parameter.type.__name__])
            self._signal = widget.currentNodeChanged
        elif parameter.type is bool:
            self._signal = widget.toggled
        else:
            if parameter.range is not None:
                widget.setMinimum(parameter.type(parameter.range.minimum))
                widget.setMaximum(parameter.type(parameter.range.maximum))
            self._signal = widget.valueChanged
        self._slot = lambda *ignored: changed()
        self._signal.connect(self._slot)

    def show(self, node: Any) -> None:
        value = self._parameter.read(node)
        if self._parameter.is_node:
            self._widget.setCurrentNode(value)
        elif self._parameter.type is bool:
            self._widget.setChecked(value)
        else:
            self._widget.setValue(value)

    def take(self, node: Any) -> None:
        if self._parameter.is_node:
            value = self._widget.currentNode()
        elif self._parameter.type is bool:
            value = self._widget.checked
        else:
            value = self._parameter.type(self._widget.value)
        self._parameter.write(node, value)

    def end(self) -> None:
        self._signal.disconnect(self._slot)


def parameterNodeWrapper(kind: type) -> type:
    """Turn the annotations of a class into parameters of the node it is made with."""
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(kind, name, None)) for name, hint in hints.items()}

    def begin(self: Any, node: Any) -> None:
        self.parameterNode = node
        self._bound: dict[int, tuple[dict[str, _Binding], int]] = {}
        self._showing = False
        for parameter in parameters.values():
            if not parameter.is_node and not node.HasParameter(parameter.name):
                parameter.write(node, parameter.default)

    def connect_gui(self: Any, ui: Any) -> int:
        bindings: dict[str, _Binding] = {}

        def taken(name: str) -> None:
            if not self._showing:
                bindings[name].take(self.parameterNode)

        def show(caller: Any = None, event: Any = None) -> None:
            if self._showing:
                return
            self._showing = True
            try:
                for binding in bindings.values():
                    binding.show(self.parameterNode)
            finally:
                self._showing = False

        self._showing = True
        for widget in vars(ui).values():
            name = widget.property("SlicerParameterName")
            if name:
                bindings[name] = _Binding(widget, parameters[name], lambda name=name: taken(name))
        self._showing = False
        show()
        tag = len(self._bound)
        self._bound[tag] = bindings, self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, show)
        return tag

    def disconnect_gui(self: Any, tag: int) -> None:
        bindings, observer = self._bound.pop(tag)
        self.parameterNode.RemoveObserver(observer)
        for binding in bindings.values():
            binding.end()

    for name, parameter in parameters.items():
        setattr(kind, name, _accessors(parameter))
    kind.__init__ = begin  # type: ignore[misc]
    kind.connectGui, kind.disconnectGui = connect_gui, disconnect_gui  # type: ignore[attr-defined]
    return kind


def _accessors(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode), lambda self, value: parameter.write(self.parameterNode, value)
    )
