"""``qt`` as Slicer's Python has it (PythonQt), over PySide6.

PythonQt differs from PySide6 in these points, which are followed here: properties are attributes (``button.text``, not
``button.text()``), with their setters still callable; ``name`` is the object's name; signals are connected by
signature (``button.connect("clicked(bool)", f)``), a wrong one is an error; an attribute that Qt does not know cannot
be set on a Qt object; file dialogs return the name only; all classes are in one namespace.
"""

from __future__ import annotations

import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

for _module in (QtCore, QtGui, QtWidgets, QtUiTools):
    globals().update({_name: getattr(_module, _name) for _name in dir(_module) if _name.startswith("Q")})
Qt = QtCore.Qt

_VIRTUAL = {"sizeHint", "minimumSizeHint"}
"""Properties that Qt also calls as virtual functions: a Python property would be taken for an override."""

_QT_CLASSES = {kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, QtCore.QObject)} - {
    QtUiTools.QUiLoader
}


# ---- properties ----------------------------------------------------------------------------------------------------


class _Attribute(property):
    """A Qt property as an attribute of objects; on the class, the static function of the same name, if there is one."""

    static: Any = None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self.static if instance is None else super().__get__(instance, owner)


def _attribute(kind: type, meta: QtCore.QMetaProperty) -> _Attribute:
    name = meta.name()
    getter, setter = getattr(kind, name, None), getattr(kind, f"set{name[0].upper()}{name[1:]}", None)

    def read(self: Any) -> Any:
        try:
            return getter(self)  # type: ignore[misc]
        except TypeError:
            return QtCore.QObject.property(self, name)

    def write(self: Any, value: Any) -> None:
        if not meta.isWritable():
            raise AttributeError(f"Property '{name}' of {type(self).__name__} is read-only")
        if setter is not None:
            setter(self, value)
        elif not QtCore.QObject.setProperty(self, name, value):
            raise ValueError(f"Property '{name}' of {type(self).__name__} does not accept {value!r}")

    made = _Attribute(read, write)
    made.static = getter
    return made


def _make_attributes(kind: type) -> None:
    meta = kind.staticMetaObject  # type: ignore[attr-defined]
    made = {}
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in _VIRTUAL:
            made[name] = _attribute(kind, meta.property(index))
    for name, attribute in made.items():
        setattr(kind, name, attribute)


# ---- signals -------------------------------------------------------------------------------------------------------


def _signal(sender: Any, signature: str) -> Any:
    name = signature.partition("(")[0]
    signal, meta = getattr(sender, name, None), sender.metaObject()
    normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    own = getattr(type(sender), "stands_in", False)  # its signals have Python's types
    if not hasattr(signal, "connect") or (meta.indexOfSignal(normal) < 0 and not own):
        raise AttributeError(f"{meta.className()} has no signal {signature}")
    return signal


def _connect(self: Any, *arguments: Any) -> Any:
    if len(arguments) == 2 and isinstance(arguments[0], str):
        _signal(self, arguments[0]).connect(arguments[1])
        return True
    return QtCore.QObject.connect(*arguments)


def _disconnect(self: Any, *arguments: Any) -> Any:
    if len(arguments) == 2 and isinstance(arguments[0], str):
        return _signal(self, arguments[0]).disconnect(arguments[1])
    return QtCore.QObject.disconnect(*arguments)


_BY_SIGNATURE: dict[str, Callable[..., Any]] = {"connect": _connect, "disconnect": _disconnect}


def _looking_up(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """PySide6 finds ``connect`` in C++, so that it cannot be replaced in the class; it is caught here."""

    def look_up(self: Any, name: str) -> Any:
        ours = _BY_SIGNATURE.get(name)
        return original(self, name) if ours is None else types.MethodType(ours, self)

    return look_up


def _set(self: Any, name: str, value: Any) -> None:
    for kind in type(self).__mro__:
        if name in kind.__dict__:
            found = kind.__dict__[name]
            if isinstance(found, QtCore.Property):
                QtCore.QObject.setProperty(self, name, value)
            elif hasattr(type(found), "__set__"):
                found.__set__(self, value)
            else:
                self.__dict__[name] = value
            return
    if type(self) in _QT_CLASSES:
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}', and PythonQt adds none")
    self.__dict__[name] = value


for _kind in _QT_CLASSES:
    _make_attributes(_kind)
_lookups = {_kind: _looking_up(_kind.__getattribute__) for _kind in _QT_CLASSES}
for _kind, _lookup in _lookups.items():
    _kind.__getattribute__, _kind.__setattr__ = _lookup, _set  # type: ignore[method-assign]
QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
QtCore.QObject.className = lambda self: self.metaObject().className()


def _name_only(ask: Callable[..., tuple[str, str]]) -> staticmethod[..., str]:
    return staticmethod(lambda *arguments, **more: ask(*arguments, **more)[0])


for _ask in ("getOpenFileName", "getSaveFileName"):
    setattr(QtWidgets.QFileDialog, _ask, _name_only(getattr(QtWidgets.QFileDialog, _ask)))


# ---- .ui files -----------------------------------------------------------------------------------------------------


class QUiLoader(QtUiTools.QUiLoader):
    """Makes Slicer's widgets from their stand-ins, and the connections of a .ui file that name MRML types."""

    stand_ins: ClassVar[dict[str, type]] = {}

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name in self.stand_ins:
            widget = self.stand_ins[class_name](parent)
            widget.setObjectName(name)
            return widget
        if not class_name.startswith("Q") and class_name != "Line":
            raise RuntimeError(f"the bench has no {class_name}")
        return super().createWidget(class_name, parent, name)

    def load(self, file: Any, parent: Any = None) -> Any:
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        connections = [
            {part.tag: part.text or "" for part in connection} for connection in root.iterfind("connections/*")
        ]
        for listed in root.findall("connections"):
            root.remove(listed)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in connections:
            sender, receiver = (
                widget if connection[end] == widget.objectName else widget.findChild(QtCore.QObject, connection[end])
                for end in ("sender", "receiver")
            )
            slot = getattr(receiver, connection["slot"].partition("(")[0])
            getattr(sender, connection["signal"].partition("(")[0]).connect(slot)
        return widget


def stand_in(kind: type) -> type:
    """Register the stand-in of one of Slicer's widget classes under its name."""
    kind.stands_in = True  # type: ignore[attr-defined]
    QUiLoader.stand_ins[kind.__name__] = kind
    return kind
