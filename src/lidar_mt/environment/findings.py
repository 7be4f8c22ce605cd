"""What the report of an installation is made of."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: `missing` is optional and not there, `broken` is there and does not work, `failed` is required and does not work.
State = Literal["ok", "missing", "broken", "failed"]


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        section: heading it stands under.
        name: what was looked at.
        state: how it is.
        detail: version, count or reason.
        advice: the next command, where there is something to do.
    """

    section: str
    name: str
    state: State
    detail: str
    advice: str = ""


def render(findings: list[Finding]) -> str:
    """The report as plain text, and at its end what there is to do."""
    lines: list[str] = []
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            lines += ["", section]
        mark = "" if finding.state == "ok" else f"{finding.state.upper()}  "
        lines.append(f"  {finding.name:<22} {mark}{finding.detail}".rstrip())
        if finding.advice:
            lines.append(f"  {'':<22} -> {finding.advice}")
    failed = [finding.name for finding in findings if finding.state == "failed"]
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if failed:
        verdict = f"required and not working: {', '.join(failed)}"
    elif broken:
        verdict = f"broken: {', '.join(broken)}; what does not need them works"
    else:
        verdict = "ready"
    return "\n".join([*lines[1:], "", verdict])
