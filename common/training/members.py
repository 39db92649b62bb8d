"""Train the members of an ensemble, each in its own run folder."""

import traceback
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError
from common.interrupts import Interrupted
from common.runs import is_complete, open_run
from common.tfidf.run import fit_tfidf
from common.training.compute.devices import Device
from common.training.compute.processes import gather
from common.training.ensemble import Member
from common.training.inputs import AnyInputs, Inputs
from common.training.loop import Diverged
from common.training.progress import show_time_left
from common.training.run import fine_tune
from common.training.saved import predict_texts
from common.training.teacher import Lesson, Teacher, prepare_lesson
from common.training.tracking import Tracker


def _prefixed(device: Device, prefix: str) -> Callable[[str], None]:
    """A print_line that puts `prefix` before each line."""
    return lambda line: device.print_line(prefix + line)


@dataclass(frozen=True)
class Failures:
    """The members of all processes that failed, each with its reason."""

    defects: list[str]
    diverged: list[str]  # the loss was not finite


def train_members(
    folder: Path,
    members: list[Member],
    inputs: dict[str, AnyInputs],
    teachers: dict[str, list[Teacher]],
    arguments: Namespace,
    device: Device,
) -> Failures:
    """Train all members that are not complete; resume an interrupted one. A failing member does not stop the others.

    Under torchrun each process trains every n-th member alone on its device; --members selects a part.
    `inputs` are by model, `teachers` by member.
    """
    part, parts = arguments.members or (1, 1)
    own = list(enumerate(members, 1))[part - 1 :: parts][device.rank :: device.processes]
    alone = device.alone()
    lessons: dict[int | None, Lesson] = {}  # by fold
    defects: list[str] = []
    diverged: list[str] = []
    seconds: list[float] = []
    for position, (number, member) in enumerate(own, 1):
        place, each = folder / "members" / member.name, inputs[member.model]
        label = f"[{number}/{len(members)}]"
        prefix = "  " if device.processes == 1 else f"{label} "  # the lines of several processes are mixed
        if open_run(place, {"script": "train.py", "seed": member.seed, "fold": member.fold, **each.config}):
            alone.print_line(f"{label} {member.name}: already complete")
            continue
        where = alone.words if isinstance(each, Inputs) else "cpu"
        alone.print_line(f"{label} {member.name}: {len(member.train_rows):,} rows ({where})")
        try:
            if not isinstance(each, Inputs):
                results = fit_tfidf(
                    place,
                    each.dataset,
                    each.train_labels,
                    member.train_rows,
                    member.held_out_frame(each.dataset),
                    each.recipe.class_weights,
                    member.seed,
                    arguments.changed,
                )
                Tracker(arguments.track, place).finish(results)
                continue
            if member.fold not in lessons and teachers[member.name]:
                lessons[member.fold] = prepare_lesson(
                    teachers[member.name],
                    each.dataset,
                    lambda run, texts: predict_texts(run, texts, alone),
                )
            results = fine_tune(
                place,
                each,
                member.seed,
                member.train_rows,
                member.held_out(each),
                alone,
                arguments,
                print_line=_prefixed(alone, prefix),
                runs=sum(other.model == member.model for _, other in own),
                lesson=lessons.get(member.fold),
            )
        except Diverged as error:
            alone.print_line(f"{prefix}{error}")
            diverged.append(f"{member.name}: {error}")
        except (UserError, Interrupted, KeyboardInterrupt):
            raise
        except Exception as error:
            traceback.print_exc()
            defects.append(f"{member.name}: {type(error).__name__}")
        else:
            seconds.append(results["total_seconds"])
            if left := sum(not is_complete(folder / "members" / other.name) for _, other in own[position:]):
                alone.print_line(prefix + show_time_left(seconds, left))
    return Failures(*([line for lines in gather(device, each) for line in lines] for each in (defects, diverged)))
