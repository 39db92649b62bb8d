"""Export the review list for annotation tools, with suggestions and scores.

Label Studio  label_studio_tasks.json (Import) and label_studio_config.xml (Settings, Labeling Interface, Code).
              https://labelstud.io/guide/predictions, https://labelstud.io/guide/tasks
Argilla 2     argilla_settings.json and argilla_records.json:
                  settings = rg.Settings.from_json("argilla_settings.json")
                  dataset = rg.Dataset("label-issues", settings=settings); dataset.create()
                  dataset.records.from_json("argilla_records.json")
              https://docs.argilla.io/latest/how_to_guides/import_export, .../how_to_guides/record
doccano       doccano.jsonl (Text Classification, JSONL, columns `text` and `label`). It has no suggestions: a label
              would come back as an answer, also of a row that nobody has seen. So the suggestion is metadata, too.
              https://doccano.github.io/doccano/tutorial, backend/data_import/pipeline/examples.py of doccano/doccano
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from common.files import write_json, write_text
from common.label_issues.review import Review

AGENT = "cleanlab"  # the tools show it as the source of a suggestion
KINDS = ("label-studio", "argilla", "doccano")


def write_export(kind: str, folder: Path, review: Review) -> list[str]:
    """Write the review list for one of `KINDS` into `folder`; returns the names of the files."""
    files = {"label-studio": _label_studio, "argilla": _argilla, "doccano": _doccano}[kind](review)
    for name, content in files.items():
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            write_json(folder / name, content)
    return list(files)


def _label_studio(review):
    tasks = [
        {
            "data": {"text": row.text, **_facts(row)},
            "predictions": [
                {
                    "model_version": AGENT,
                    "score": round(row.suggested_probability, 6),
                    "result": [
                        {
                            "from_name": "label",
                            "to_name": "text",
                            "type": "choices",
                            "value": {"choices": [row.suggested_label]},
                        }
                    ],
                }
            ],
        }
        for row in review.table.itertuples()
    ]
    view = ET.Element("View")
    ET.SubElement(view, "Text", name="text", value="$text")
    ET.SubElement(view, "Header", value="Given label", size="5")
    ET.SubElement(view, "Text", name="given", value="$given_label")
    choices = ET.SubElement(view, "Choices", name="label", toName="text", choice="single", required="true")
    for name in review.classes:
        ET.SubElement(choices, "Choice", value=name)
    ET.indent(view)
    return {
        "label_studio_tasks.json": tasks,
        "label_studio_config.xml": ET.tostring(view, encoding="unicode") + "\n",
    }


def _argilla(review):
    records = [
        {
            "id": row.id,
            "fields": {"text": row.text, "given_label": row.given_label},
            "metadata": {
                "rank": row.rank,
                "label_quality": round(row.label_quality, 6),
                "issue": row.issue.split(),
            },
            "suggestions": {
                "label": {
                    "value": row.suggested_label,
                    "score": round(row.suggested_probability, 6),
                    "agent": AGENT,
                }
            },
            "responses": {},
            "vectors": {},
        }
        for row in review.table.itertuples()
    ]
    text_field = {"type": "text", "use_markdown": False}
    options = [{"value": name, "text": name} for name in review.classes]
    settings = {
        "guidelines": "Which class fits the text best? The suggestion is a model's; the given label may be right.",
        "allow_extra_metadata": True,
        "fields": [
            {"name": "text", "title": "Text", "required": True, "settings": text_field},
            {"name": "given_label", "title": "Given label", "required": True, "settings": text_field},
        ],
        "questions": [
            {
                "name": "label",
                "title": "Label",
                "required": True,
                "settings": {"type": "label_selection", "options": options},
            }
        ],
        "metadata": [
            {"name": "label_quality", "title": "Label quality", "settings": {"type": "float", "min": 0, "max": 1}},
            {"name": "rank", "title": "Rank", "settings": {"type": "integer"}},
            {"name": "issue", "title": "Issue", "settings": {"type": "terms"}},
        ],
        "vectors": [],
    }
    # ASCII with \u escapes: Argilla opens both files in the encoding of the system, perhaps not UTF-8
    return {
        "argilla_records.json": json.dumps(records, indent=2) + "\n",
        "argilla_settings.json": json.dumps(settings, indent=2) + "\n",
    }


def _doccano(review):
    lines = [  # ASCII with \u escapes: doccano guesses the encoding, and no character can end the line
        json.dumps({"text": row.text, "label": [], "suggested_label": row.suggested_label, **_facts(row)}) + "\n"
        for row in review.table.itertuples()
    ]
    return {"doccano.jsonl": "".join(lines)}


def _facts(row):
    """The facts that the tools show or sort by. The tools have their own `id`, hence `row_id`."""
    return {
        "row_id": row.id,
        "rank": row.rank,
        "given_label": row.given_label,
        "label_quality": round(row.label_quality, 6),
        "suggested_probability": round(row.suggested_probability, 6),
        "issue": row.issue,
    }
