"""The `doorbell doctor` command."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape

from services.cli import doctor as examination
from services.cli.exits import OK, REFUSED
from services.cli.output import AsJson, console, print_json


def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong on this machine, and how to mend it."""
    findings: list[examination.Finding] = []
    marks = {"ok": "[green]ok     [/green]", "skipped": "[dim]skipped[/dim]"}
    for finding in examination.examine():
        findings.append(finding)
        if not as_json:
            mark = marks.get(finding.verdict, "[red]wrong  [/red]")
            console().print(f"{mark} {finding.what}: {escape(finding.detail)}")
            if finding.mend:
                console().print(f"        [bold]-> {escape(finding.mend)}[/bold]")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(REFUSED if any(each.verdict == "wrong" for each in findings) else OK)
