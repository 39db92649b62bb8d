"""The GPU benchmark's record as Markdown, with the goals."""

from benchmarks.workload import markdown_table

# (section, what is measured, function that formats its figure, goal)
ROWS = (
    (
        "tests",
        "tests: passed, failed, skipped",
        lambda s: f"{s['passed']}, {s['failed']}, {s['skipped']}",
        "0 failed",
    ),
    ("base", "base, first seed, s", lambda s: f"{s['seconds']:.1f}", "at most 25"),
    ("base", "base, all seeds, s", lambda s: f"{s['seconds_of_all_seeds']:.1f}", "at most 110"),
    ("base", "base, share of the matrix-product rate", lambda s: f"{s['share_of_matmul_rate']:.2f}", "at least 0.40"),
    ("large", "large, share of the matrix-product rate", lambda s: f"{s['share_of_matmul_rate']:.2f}", "at least 0.50"),
    ("xlm_roberta", "xlm_roberta, share of the matrix-product rate", lambda s: f"{s['share_of_matmul_rate']:.2f}", ""),
    *(
        row
        for name in ("base", "large", "xlm_roberta")
        for row in (
            (name, f"{name}, steps per second", lambda s: f"{s['steps_per_second']:.2f}", ""),
            (name, f"{name}, s to the first step", lambda s: f"{s['first_step_seconds']:.1f}", ""),
            (name, f"{name}, s per epoch", lambda s: f"{s['seconds_per_epoch']:.1f}", ""),
            (name, f"{name}, peak memory, GB", lambda s: _gigabytes(s["peak_memory_bytes"]), ""),
            (
                name,
                f"{name}, estimated memory, GB",
                lambda s: _gigabytes(s["estimated_memory_bytes"]),
                "at least the peak",
            ),
        )
    ),
    ("rival", "times Trainer's defaults", lambda s: f"{s['speedup_over_trainer']:.1f}", ""),
    ("rival", "times a fair Trainer", lambda s: f"{s['speedup_over_fair_trainer']:.2f}", "at least 1.50"),
    ("resume", "interrupted, s to stop", lambda s: f"{s['seconds_to_stop']:.1f}", ""),
    ("resume", "resumed, largest difference", lambda s: f"{s['largest_difference']:.1g}", ""),
)


def table(record):
    """Markdown: a heading with the device's name, the figures with their goals, the ladder."""
    sections = record["sections"]
    rows = [[what, words(sections[name]), goal] for name, what, words, goal in ROWS if name in sections]
    parts = [f"# {record['device']}, {record['precision']}, {record['date']}"]
    if record["smallest"]:
        parts.append("Measured with --smallest: these figures say nothing about speed.")
    parts.append(markdown_table(["", "measured", "goal"], rows))
    if "ladder" in sections:
        rates = sections["ladder"]["tokens_per_second"].items()
        parts.append(markdown_table(["ladder", "tokens/s"], [[name, f"{rate:,}"] for name, rate in rates]))
    return "\n\n".join(parts) + "\n"


def _gigabytes(size):
    return "–" if size is None else f"{size / 1e9:.2f}"
