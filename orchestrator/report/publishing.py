"""Makes the report of a sweep in each format, and publishes it when the sweep has ended."""

import json
from collections.abc import Callable
from pathlib import Path

from orchestrator.base.text import command
from orchestrator.report.answer import answer
from orchestrator.report.build import build
from orchestrator.report.findings import Findings, find
from orchestrator.report.formats import FORMATS, Format, render_document
from orchestrator.report.numbers import report_numbers
from orchestrator.report.reading import read_sweep
from orchestrator.tracking.events import REPORT_FILES, report_event
from orchestrator.tracking.outbox import EventSink
from prvr_model.files.folder import Folder


def publish(
    home: Path, sweep: str, storage: str, sink: EventSink, warn: Callable[[str], None]
) -> str | None:
    """Write the report beside the trials and send it to the tracker.

    An error is shown and changes no result.

    Args:
        home: Home of the sweep.
        sweep: Its name.
        storage: URI or path of the folder that holds the sweep's.
        sink: Takes the event for the tracker.
        warn: Takes a line for the user.

    Returns:
        Path or URI of the page; None if it could not be made.
    """
    try:
        findings = report(home, sweep)
        files = {name: render(findings, _format_of(name)) for name in REPORT_FILES}
        folder = Folder.open(storage).child(sweep)
        for name, text in files.items():
            folder.write_bytes(name, text.encode())
        ended_ms = findings.data.attributes.get("ended_ms") or 0
        sink.append(report_event(files, answer(findings), ended_ms))
        return folder.locate("report.html")
    except Exception as error:  # noqa: BLE001  (the trials are done and safe; a report can be made again)
        again = f"`{command('report', sweep, home=home)}` makes it"
        warn(f"the report was not written: {type(error).__name__}: {error}; {again}")
        return None


def report(home: Path, sweep: str, other: str | None = None) -> Findings:
    """What a sweep found, also while it runs, and how another sweep of the home differs.

    Raises:
        SweepNotFoundError: There is no such sweep.
    """
    return find(read_sweep(home, sweep), None if other is None else read_sweep(home, other))


def _format_of(file_name: str) -> Format:
    """Format of one of `REPORT_FILES`; LaTeX, which a tracker does not show, is not among them."""
    return next(each for each in FORMATS if file_name.endswith(f".{each}"))


def render(findings: Findings, wanted: Format) -> str:
    """The report as text in one of the formats."""
    if wanted == "json":
        return json.dumps(report_numbers(findings), allow_nan=False) + "\n"
    return render_document(build(findings, wanted), wanted)
