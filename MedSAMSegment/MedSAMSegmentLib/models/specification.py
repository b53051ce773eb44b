"""What a model is, as data: architecture, sizes, how its input is prepared, where its weights come from, licence."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ..errors import CheckpointError

_RESIZE_RULES = ("stretch", "longest-side")
_FILTERS = ("pillow-bicubic", "pillow-bilinear", "spline-bicubic", "area", "antialiased-bilinear")
_INTENSITIES = ("eight-bit", "min-max")
_INTERPOLATED = ("logits", "probabilities")
_PROMPTS = ("box", "points", "mask")
_RARE_PROMPTS = ("scribble",)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input, and the network's output a mask of that image.

    ``(value - mean) / std`` a channel, of values 0 to 1; grey values are repeated over the channels.  ``mean``, ``std``
    and ``resize`` say what the network needs to see; the other fields describe what the official program of the model
    does besides, for results that shall be comparable with published ones (``inference.official_image``).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "stretch"
    """"stretch": both sides become the image size; "longest-side": the aspect ratio is kept and the rest padded."""
    filter: str = "pillow-bicubic"
    """How 8-bit pixels are resampled: "pillow-bicubic" or "pillow-bilinear" as Pillow does, "spline-bicubic" as
    scikit-image, "area" as OpenCV, "antialiased-bilinear" as torch."""
    intensities: str = "eight-bit"
    """What becomes 0 and 1: "eight-bit": 0 and 255; "min-max": the lowest and highest value of the resampled image."""
    interpolated: str = "logits"
    """What is resampled to the size of the image before the cut-off: "logits" or "probabilities"."""
    whole_pixel_boxes: bool = False
    """Box corners are cut to whole pixels of the network's input."""
    largest_component: bool = False
    """Of a volume's mask the largest component is kept."""
    next_box_margin: int | None = None
    """Through a volume, a slice's box is the box about the mask of the slice before, so many pixels of the network's
    input wider on each side; nothing where the official programs know single images or a memory only."""

    @property
    def channels(self) -> int:
        return len(self.mean)


@dataclass(frozen=True)
class CheckpointOrigin:
    """Where the weights come from and how they are recognised."""

    file_name: str
    url: str = ""
    """Where the publisher offers the file; empty if it comes with this package."""
    mirrors: tuple[str, ...] = ()
    """Further addresses of the same file, in the order in which they are tried."""
    bytes: int | None = None
    about_bytes: int | None = None
    """For telling the user what is about to be transferred where the exact size is not known."""
    sha256: str = ""
    md5: str = ""
    """Where only this sum is known; it recognises damage and mix-ups, but is no proof against forgery."""
    xxh128: str = ""
    """As ``md5``."""
    provenance: str = ""
    """Who says so: how size and hash are known."""
    browser_only: bool = False
    """The address is a page that a person downloads from, not the file itself."""

    @property
    def is_bundled(self) -> bool:
        return not self.url


@dataclass(frozen=True)
class OptionalPart:
    """A part of a network that weights may lack; the network is built without it, then."""

    prefix: str
    """Of the names of its tensors."""
    switch: str
    """The hyper-parameter that is true where there is such a part."""
    file_name: str
    """Where its own weights lie, beside the model's file."""


@dataclass(frozen=True)
class Licence:
    """Of the weights (the code of this project is Apache-2.0)."""

    identifier: str
    summary: str
    """In plain words: what one may do."""


@dataclass(frozen=True)
class ModelSpec:
    """One model that can be loaded by name; pure data, checked when it is made from the catalog."""

    name: str
    title: str
    architecture: str
    hyper_parameters: Mapping[str, Any] = field(hash=False)
    """Keyword arguments of the architecture's parts, read-only; see ``models.build``."""
    image_size: int
    """Side of the square the network was trained on, pixels."""
    preprocessing: Preprocessing
    checkpoint: CheckpointOrigin
    licence: Licence
    notes: str = ""
    prompts: tuple[str, ...] = _PROMPTS
    """What the weights were trained to understand: "box", "points" (clicks), "mask" (the logits of an earlier mask),
    "scribble" (strokes drawn into the mask)."""
    needs_box: bool = False
    """Clicks are understood as corrections of an object that has a box, and not without one."""
    estimates_overlap: bool = True
    """The network's estimate of a mask's overlap with the truth was trained, too."""
    optional_parts: tuple[OptionalPart, ...] = ()

    def for_tensors(self, names: Iterable[str]) -> ModelSpec:
        """The model as weights with these tensors have it: without the optional parts that they lack."""
        names = list(names)
        lacking = [part for part in self.optional_parts if not any(name.startswith(part.prefix) for name in names)]
        if not lacking:
            return self
        without = {part.switch: False for part in lacking}
        return replace(self, hyper_parameters=_frozen({**self.hyper_parameters, **without}))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Check and convert one entry of a catalog.

        Raises:
            CheckpointError: ``INVALID_MODEL_SPEC`` names the entry and the field.
        """
        reader = _Reader(str(data.get("name", "(nameless)")), data)
        spec = cls(
            name=reader.text("name"),
            title=reader.text("title"),
            architecture=reader.text("architecture"),
            hyper_parameters=_frozen(reader.mapping("hyper_parameters")),
            image_size=reader.positive_integer("image_size"),
            preprocessing=_preprocessing(reader.nested("preprocessing")),
            checkpoint=_origin(reader.nested("checkpoint")),
            licence=_licence(reader.nested("licence")),
            notes=reader.text("notes", default=""),
            prompts=reader.some_of("prompts", (*_PROMPTS, *_RARE_PROMPTS), default=_PROMPTS),
            needs_box=reader.yes_or_no("needs_box"),
            estimates_overlap=reader.yes_or_no("estimates_overlap", default=True),
            optional_parts=tuple(_optional_part(part) for part in reader.nested_list("optional_parts")),
        )
        reader.finish()
        return spec

    def to_dict(self) -> dict[str, Any]:
        """The entry again, as plain containers that JSON can hold; ``from_dict`` takes it back."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plain data: a worker process checks it again."""
        return ModelSpec.from_dict, (self.to_dict(),)


def _preprocessing(reader: _Reader) -> Preprocessing:
    mean, std = reader.numbers("mean"), reader.numbers("std")
    if len(mean) != len(std) or not mean or min(std) <= 0:
        raise reader.error("mean", "needs as many channels as 'std', whose values must be positive")
    preprocessing = Preprocessing(
        mean,
        std,
        resize=reader.choice("resize", _RESIZE_RULES),
        filter=reader.choice("filter", _FILTERS),
        intensities=reader.choice("intensities", _INTENSITIES),
        interpolated=reader.choice("interpolated", _INTERPOLATED),
        whole_pixel_boxes=reader.yes_or_no("whole_pixel_boxes"),
        largest_component=reader.yes_or_no("largest_component"),
        next_box_margin=reader.positive_integer("next_box_margin", optional=True),
    )
    reader.finish()
    return preprocessing


def _origin(reader: _Reader) -> CheckpointOrigin:
    size = reader.positive_integer("bytes", optional=True)
    sums = {}
    for kind, digits in (("sha256", 64), ("md5", 32), ("xxh128", 32)):
        sums[kind] = reader.text(kind, default="")
        if sums[kind] and (len(sums[kind]) != digits or set(sums[kind]) - set("0123456789abcdef")):
            raise reader.error(kind, f"must be {digits} lower-case hexadecimal digits")
    origin = CheckpointOrigin(
        file_name=_plain_file_name(reader),
        url=reader.text("url", default=""),
        mirrors=reader.texts("mirrors"),
        bytes=size,
        about_bytes=reader.positive_integer("about_bytes", optional=True),
        **sums,
        provenance=reader.text("provenance", default=""),
        browser_only=reader.yes_or_no("browser_only"),
    )
    if origin.url and not origin.url.startswith("https://"):
        raise reader.error("url", "must begin with https://")
    if not all(mirror.startswith("https://") for mirror in origin.mirrors):
        raise reader.error("mirrors", "must begin with https://")
    reader.finish()
    return origin


def _optional_part(reader: _Reader) -> OptionalPart:
    part = OptionalPart(reader.text("prefix"), reader.text("switch"), _plain_file_name(reader))
    reader.finish()
    return part


def _plain_file_name(reader: _Reader) -> str:
    name = reader.text("file_name")
    if "/" in name or "\\" in name or name.startswith("."):
        raise reader.error("file_name", "must be a plain file name")
    return name


def _licence(reader: _Reader) -> Licence:
    licence = Licence(identifier=reader.text("identifier"), summary=reader.text("summary"))
    reader.finish()
    return licence


class _Reader:
    """Takes fields out of a mapping, checks their types and complains about what is missing or left over."""

    def __init__(self, place: str, data: Mapping[str, Any]) -> None:
        self.place = place
        self.data = dict(data)

    def error(self, key: str, problem: str) -> CheckpointError:
        return CheckpointError(
            "INVALID_MODEL_SPEC",
            f"Model entry '{self.place}': '{key}' {problem}.",
            "Correct the catalog or reinstall the package.",
        )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.pop(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.error(key, "must be a non-empty text" if default is None else "must be a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where the entry says nothing."""
        values = self.data.pop(key, ())
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) and value for value in values):
            raise self.error(key, "must be a list of texts")
        return tuple(values)

    def choice(self, key: str, values: tuple[str, ...]) -> str:
        """One of ``values``; the first one where the entry says nothing."""
        value = self.text(key, default=values[0])
        if value not in values:
            raise self.error(key, f"must be one of {', '.join(values)}")
        return value

    def some_of(self, key: str, values: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        """At least one of ``values``."""
        chosen = self.data.pop(key, default)
        if not isinstance(chosen, list | tuple) or not chosen or not set(chosen) <= set(values):
            raise self.error(key, f"must list some of {', '.join(values)}")
        return tuple(chosen)

    def yes_or_no(self, key: str, default: bool = False) -> bool:
        value = self.data.pop(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def positive_integer(self, key: str, optional: bool = False) -> Any:
        value = self.data.pop(key, None)
        if value is None and optional:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(key, "must be a positive whole number")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        value = self.data.pop(key, None)
        if not isinstance(value, list | tuple) or not all(isinstance(v, int | float) for v in value):
            raise self.error(key, "must be a list of numbers")
        return tuple(float(v) for v in value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.data.pop(key, None)
        if not isinstance(value, Mapping):
            raise self.error(key, "must be an object")
        return value

    def nested(self, key: str) -> _Reader:
        return _Reader(f"{self.place}.{key}", self.mapping(key))

    def nested_list(self, key: str) -> list[_Reader]:
        """Of a list of mappings; empty where there is none."""
        given = self.data.pop(key, None)
        if given is None:
            return []
        if not isinstance(given, Sequence) or not all(isinstance(one, Mapping) for one in given):
            raise self.error(key, "must be a list of mappings")
        return [_Reader(f"{self.place}.{key}", one) for one in given]

    def finish(self) -> None:
        if self.data:
            raise self.error(next(iter(self.data)), "is not a known field")


def _frozen(value: Any) -> Any:
    """The same data without mutable containers."""
    if isinstance(value, Mapping):
        return types.MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value


def _plain(value: Any) -> Any:
    """Mappings, tuples and dataclasses as dictionaries and lists."""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
