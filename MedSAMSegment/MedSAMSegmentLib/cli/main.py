"""Entry point of the command line: runs a command and turns every outcome into an exit status.

Exit status: 0 done, 2 wrong usage, 3 input refused or output not written, 4 checkpoint problem, 5 inference failed,
130 cancelled.  With ``--json`` an error is ``{"error": {"code", "message", "hint"}}`` on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from ..allocator import keep_freed_memory
from ..errors import CancelledError, MedSAMSegmentError, UsageError
from . import auto, challenge, deidentify, demo, evaluate, info, models, pacs, segment, terminology, train
from .console import Output

#: What Typer raises for unknown options and missing arguments; the class itself has no public name in Typer.
_ParseError: type[Exception] = typer.BadParameter.__mro__[1]

UNEXPECTED_STATUS = 5

app = typer.Typer(
    name="medsamsegment",
    help="Draw one box on a CT or MRI and get a 3-D mask, offline.",
    epilog="medsamsegment COMMAND --help explains a command.  Start with: medsamsegment demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("segment")(segment.segment)
app.command("auto")(auto.auto)
app.command("challenge")(challenge.challenge)
app.command("info")(info.info)
app.command("deidentify")(deidentify.deidentify)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.command("terminology")(terminology.terminology)
app.add_typer(models.app, name="models")
app.add_typer(pacs.app, name="pacs")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("medsamsegment"))
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_show_version, is_eager=True),
) -> None:
    """Options in front of the command; ``main`` looks at ``--debug`` itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; default those of the process.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    output = Output(json="--json" in arguments)
    keep_freed_memory()
    try:
        return app(args=arguments, prog_name="medsamsegment", standalone_mode=False) or 0
    except MedSAMSegmentError as error:
        if "--debug" in arguments:
            output.traceback()
        output.error(error)
        return error.exit_status
    except _ParseError as error:
        output.error(_usage_error(error))
        return UsageError.exit_status
    except (KeyboardInterrupt, typer.Abort):
        output.error(CancelledError())
        return CancelledError.exit_status
    except BrokenPipeError:
        # Whoever read our output has gone (``| head``): nothing is left to say, also not while Python shuts down.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except Exception as error:
        if "--debug" in arguments:
            output.traceback()
        output.error(_unexpected(error))
        return UNEXPECTED_STATUS


def _usage_error(error: Exception) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "medsamsegment"
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return UsageError("USAGE", text.rstrip(".") + ".", f"See {command} --help.")


def _unexpected(error: Exception) -> MedSAMSegmentError:
    # Only the kind of the error: its text could quote the content of a file.
    return MedSAMSegmentError(
        "UNEXPECTED",
        f"Something went wrong that this program did not foresee ({type(error).__name__}).",
        "Run it again with --debug in front of the command, and report what it shows.",
    )


if __name__ == "__main__":
    sys.exit(main())
