"""The folder of a training run as a model: while the run goes on, the average of its newest whole training state."""

from __future__ import annotations

import json
from pathlib import Path

from superscale.errors import CheckpointError, ModelError
from superscale.weights.stored import StoredModel, described, finite

# What a run's folder holds: the model that it ends with, and the folder of its training states.
MODEL_FILE = "model.safetensors"
STATES = "checkpoints"
AVERAGE = "average/"
GENERATOR = "generator."


def read_run(folder: Path) -> StoredModel:
    """The weights that the run would end with now. Raises ModelError where no training state is whole, or there is none."""
    from superscale.weights.checkpoint import load_state, saved_states

    damaged = []
    for path in saved_states(folder / STATES):
        try:
            tensors, facts = load_state(path)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        settings = facts.get("settings") if isinstance(facts, dict) else None
        if not isinstance(settings, dict):
            raise ModelError(f"{path}: it does not say which network it is of")
        network = {key.removeprefix(GENERATOR): value for key, value in settings.items() if key.startswith(GENERATOR)}
        arrays = {
            key.removeprefix(AVERAGE): finite(tensor.float().numpy(), f"{path}: {key}")
            for key, tensor in tensors.items()
            if key.startswith(AVERAGE)
        }
        card = {
            "training": f"not ended: the average at image {facts.get('images')} of stage number {facts.get('stage_number')}, counted from 0"
        }
        return described(str(folder), json.dumps(network), json.dumps(card), arrays)
    if damaged:
        raise ModelError(f"{folder}: no training state of it is whole ({damaged[0]})")
    raise ModelError(f"{folder}: a folder, expected a model file, or a training run that has saved a state")
