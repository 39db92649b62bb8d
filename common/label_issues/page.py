"""label_issues.html: the review list as one file that opens in a browser, without network or server.

The data are JSON in a script tag that no browser runs, and reach the page only through textContent. A content security
policy lets the page run only its own script.
"""

import base64
import hashlib
import json
from pathlib import Path

import pandas as pd

from common.files import write_text
from common.label_issues.review import ISSUES, Review
from common.reading.corrections import ACTIONS, COLUMNS
from common.reading.spreadsheets import FORMULA_STARTS

TEMPLATE = Path(__file__).with_name("page.html")
# `</script>` and `<!--` would end or change the script tag, U+2028 and U+2029 end a line of JavaScript: escape them
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write_review_page(
    path: Path,
    review: Review,
    title: str,
    command: str = "python train.py --corrections corrections.csv",
    earlier: pd.DataFrame | None = None,
) -> None:
    """Write the page for a Review. Its help shows the `command` that trains with the corrections.

    The page begins with the `earlier` decisions, a frame as of read_corrections. Its corrections.csv has all of them,
    also those of rows that are not in the list. Only the browser stores decisions, under the hash of the data.
    """
    issues = [
        {
            "id": row.id,
            "given": review.classes.index(row.given_label),
            "suggested": review.classes.index(row.suggested_label),
            "quality": round(row.label_quality, 4),
            "probabilities": [round(float(value), 4) for value in probabilities],
            "issue": row.issue.split(),
            "notes": notes,
            "duplicates": duplicates,
            "text": row.text,
        }
        for row, probabilities, notes, duplicates in zip(
            review.table.itertuples(),
            review.probabilities,
            review.notes,
            review.duplicates or [[] for _ in review.notes],
            strict=True,
        )
    ]
    decisions = [] if earlier is None else earlier[list(COLUMNS)].to_numpy().tolist()
    content = {"classes": review.classes, "kinds": ISSUES, "issues": issues, "earlier": decisions}
    page = {
        **content,
        "title": title,
        "command": command,
        "key": "label-issues:" + hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        "columns": COLUMNS,
        "actions": ACTIONS,
        "formulaStarts": FORMULA_STARTS,
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    style = TEMPLATE.with_suffix(".css").read_text(encoding="utf-8")
    script = TEMPLATE.with_suffix(".js").read_text(encoding="utf-8")
    parts = {
        "{{policy}}": f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}",
        "{{style}}": style,
        "{{script}}": script,
        "{{data}}": json.dumps(page, ensure_ascii=False, allow_nan=False).translate(ESCAPES),
    }
    write_text(path, _fill(template, parts))


def _fill(template, parts):
    """Insert each part in place of its name. The data come last, since they may contain the names of other parts."""
    for name, part in parts.items():
        before, after = template.split(name, 1)
        template = before + part + after
    return template


def _source(code):
    """The hash of the code, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
