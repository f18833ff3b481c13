"""The command `ferrum`, also `python -m ferrum`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

# Each command imports what it needs when it runs: `doctor` must work where the rest does not.


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run(words: list[str]) -> int:
    if words[:1] == ["conformance"]:
        from ferrum.testing import main as run_kit  # it has options of its own

        return int(run_kit(words[1:]))
    options = _parser().parse_args(words)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ferrum", description="FERRUM's command line.")
    version = getattr(sys.modules["ferrum"], "__version__", "of an unknown version")
    parser.add_argument("--version", action="version", version=f"ferrum {version}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor", help="say what is installed, what is wrong and how to mend it"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    _add_timeout(doctor)
    doctor.set_defaults(run=_doctor)

    devices = commands.add_parser("devices", help="list the devices and their state")
    _add_timeout(devices)
    devices.set_defaults(run=_devices)

    table = commands.add_parser("ops", help="print the op table")
    table.add_argument("--device", action="append", help="the devices to compare (default: all)")
    table.add_argument("--markdown", action="store_true", help="print a Markdown table")
    table.set_defaults(run=_ops)

    commands.add_parser("conformance", help="check a backend: see conformance --help")

    new = commands.add_parser("new-backend", help="write the project of a new backend")
    new.add_argument("name", help="the kind of device, such as mydevice")
    new.add_argument("--path", default=".", help="the folder to write the project into")
    new.set_defaults(run=_new_backend)
    return parser


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="how many seconds a plugin may take",
    )


def _doctor(options: argparse.Namespace) -> int:
    from ferrum import doctor

    return doctor.main(options.json, options.timeout)


def _devices(options: argparse.Namespace) -> int:
    from ferrum import doctor

    print(doctor.devices_text(doctor.examine(options.timeout)))
    return 0


def _ops(options: argparse.Namespace) -> int:
    from ferrum import optable

    return optable.main(options.device, options.markdown)


def _new_backend(options: argparse.Namespace) -> int:
    from ferrum.new_backend import main

    return main(options.name, options.path)
