"""`superscale train --dry-run`: all that is wrong at once, or what a try of every stage took."""

from __future__ import annotations

from pathlib import Path

from superscale.cli.flags import flags_line
from superscale.cli.progress import say


def rehearsal(name: str, overrides: list[str], output: Path | None, device: str) -> int:
    """`--dry-run`: say all that is wrong at once, or what two steps of every stage took; the exit code."""
    from superscale.training.loop.first_generator import with_generator
    from superscale.training.loop.preflight import Findings, preflight
    from superscale.training.loop.rehearsal import rehearse
    from superscale.training.loop.teaching import teacher_seconds
    from superscale.training.recipe.features import with_features_at_hand
    from superscale.training.recipe.schema import survey_recipe
    from superscale.training.run.pace import hours

    recipe, wrong = survey_recipe(name, overrides)
    found = Findings()
    run_dir = output or Path("runs") / (recipe.name if recipe else "none")
    stand_ins: list[str] = []
    if recipe is not None:
        recipe, stand_ins = with_features_at_hand(recipe)
        found = preflight(recipe, run_dir, device)
    for note in (*stand_ins, *found.notes):
        say(f"note: {note}")
    problems = [*wrong, *found.problems]
    if problems or recipe is None:
        for problem in problems:
            say(f"problem: {problem}")
        if line := flags_line(found.ways_out):
            say(line)
        say(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was started")
        return 1
    stages = rehearse(with_generator(recipe), run_dir, device)
    if recipe.teacher and (seconds := teacher_seconds(recipe, device)):
        print(
            f"teacher: about {hours(seconds)} for {recipe.teacher.patches:,} patches before the first step, less what is kept of them"
        )
    for stage in stages:
        print(
            f"{stage.name}: {1000 * stage.seconds_a_step:.0f} ms a step of {recipe.data.batch}, {stage.images_per_second:.3g} "
            f"images/s, about {hours(stage.seconds)} for {stage.images:,} images; a training state has {_megabytes(stage.state_bytes)}"
        )
    kept = recipe.checkpoint.keep * max(stage.state_bytes for stage in stages)
    print(
        f"in all about {hours(sum(stage.seconds for stage in stages))}; {_megabytes(kept)} of training states are kept in {run_dir}"
    )
    say("two steps of every stage, saved and loaded again; nothing is left of them")
    return 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
