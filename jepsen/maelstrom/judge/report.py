"""The table, and what was violated."""

import json

COLUMNS = [
    ("workload", "workload", "{}"),
    ("nodes", "nodes", "{}"),
    ("ops", "ops", "{}"),
    ("ok", "ok", "{}"),
    ("fail", "fail", "{}"),
    ("info", "info", "{}"),
    ("faults", "faults", "{}"),
    ("msgs/op", "msgs_per_op", "{:.1f}"),
    ("median ms", "median_ms", "{:.0f}"),
    ("p99 ms", "p99_ms", "{:.0f}"),
    ("max ms", "max_ms", "{:.0f}"),
    ("stable median ms", "stable_median_ms", "{:.0f}"),
    ("stable max ms", "stable_max_ms", "{:.0f}"),
    ("verdict", "verdict", "{}"),
]
SHOWN_MAX = 5


def figures(report) -> dict:
    plan = report.plan
    return {"workload": plan.workload, "nodes": plan.nodes, "seed": plan.seed, **report.figures, "verdict": report.word}


def table(reports) -> str:
    rows = [[title for title, _, _ in COLUMNS]]
    for report in reports:
        known = figures(report)
        rows.append([form.format(known[key]) if key in known else "-" for _, key, form in COLUMNS])
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)


def reasons(report) -> str:
    lines = []
    for what, items in (("violated", report.verdict.violations), ("in doubt", report.verdict.doubts)):
        for item in items[:SHOWN_MAX]:
            lines.append(f"{report.plan.workload} (seed {report.plan.seed}) {what}: {item}")
        if len(items) > SHOWN_MAX:
            lines.append(f"  and {len(items) - SHOWN_MAX} more of these")
    return "\n".join(lines)


def as_json(report) -> str:
    told = figures(report)
    told["violations"] = [{"rule": v.rule, "text": v.text} for v in report.verdict.violations]
    told["doubts"] = report.verdict.doubts
    return json.dumps(told)
