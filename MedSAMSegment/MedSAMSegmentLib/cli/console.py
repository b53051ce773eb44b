"""What the user sees: results on stdout, everything else on stderr; with ``--json`` only JSON on stdout."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import MedSAMSegmentError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


class Output:
    """The two streams of one run.

    Args:
        json: print one JSON object on stdout, and what is meant for people on stderr.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json

    def say(self, renderable: RenderableType = "") -> None:
        """A result for people: a table or a line of text."""
        console(error_stream=self.json).print(renderable, highlight=False, soft_wrap=isinstance(renderable, str))

    def note(self, text: str) -> None:
        """A remark, in plain text, on stderr."""
        from rich.text import Text

        console().print(Text(text, style="yellow"), soft_wrap=True)

    def emit(self, data: dict[str, Any]) -> None:
        """The machine-readable result; nothing without ``--json``."""
        if self.json:
            sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False, default=_plain) + "\n")
            sys.stdout.flush()

    def error(self, error: MedSAMSegmentError, **more: Any) -> None:
        """One sentence that says what is wrong and one that says what to do; with ``--json`` as JSON, too."""
        from rich.text import Text

        text = Text.assemble((error.code, "bold red"), " ", error.message)
        if error.hint:
            text.append(f"\n  {error.hint}", style="dim")
        console().print(text, soft_wrap=True)
        self.emit({"error": error.as_dict(), **more})

    def traceback(self) -> None:
        """The exception that is being handled, in full, for whoever mends the program."""
        console().print_exception(show_locals=False)

    @contextmanager
    def progress(self, description: str) -> Iterator[Callable[[int, int, str], None]]:
        """A progress bar on stderr; call the value as ``update(done, of all, what)``."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        stream = console()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=stream,
            transient=True,
            # A file or a pipe would only get the empty lines between the redrawn bars.
            disable=not stream.is_terminal,
        )
        with bar:
            task = bar.add_task(_escaped(description), total=None)

            def update(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total, description=_escaped(what or description))

            yield update


def new_table(title: str = "", headings: bool = True) -> Table:
    """An empty table in this program's plain style."""
    from rich import box
    from rich.table import Table

    style = box.SIMPLE_HEAD if headings else None
    return Table(title=title or None, title_justify="left", box=style, show_header=headings, pad_edge=False)


def console(error_stream: bool = True) -> Console:
    """A console on the present stdout or stderr (looked up each time, so that redirection works)."""
    from rich.console import Console

    return Console(stderr=error_stream)


@contextmanager
def cancel_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop after the present slice; a second one stops at once.

    Yields:
        A function that says whether to stop.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def ask(_signal: int, _frame: FrameType | None) -> None:
        requested.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def _escaped(text: str) -> str:
    """Plain text where Rich expects its markup."""
    from rich.markup import escape

    return escape(text)


def _plain(value: Any) -> Any:
    """Paths and NumPy values as JSON has them."""
    return value.item() if hasattr(value, "item") else str(value)
