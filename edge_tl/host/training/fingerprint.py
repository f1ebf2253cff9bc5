"""A digest of everything that trained weights depend on, but the machine: what may go on with what."""

from __future__ import annotations

import hashlib
import json

from edge_tl.host.runs.provenance import OF_PIXELS, package_versions
from edge_tl.host.training import resume
from edge_tl.host.training.job import SplitSamples, TrainingSetup

# Of `train`: they change how weights are made, not what they become. A smaller micro-batch is what one resumes with
# after running out of memory.
_WITHOUT = ("workers", "checkpoint_seconds", "compare_resize", "tensorboard", "micro_batch")


def fingerprint(setup: TrainingSetup, split: SplitSamples) -> str:
    """16 hexadecimal digits."""
    sections = {"seed", "model", "head", "train", "augment"}
    settings = setup.recipe.model_dump(mode="json", include=sections)
    for name in _WITHOUT:
        del settings["train"][name]
    settings["model"]["weights"] = setup.source.origin
    facts = {
        "recipe": settings,
        "contract": setup.source.contract.to_json(),
        "images": [[(s.digest, s.label) for s in samples] for samples in split],
        "versions": package_versions("edge-tl", "torch", "torchvision", "timm", "numpy", *OF_PIXELS),
        "state": resume.FORMAT,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
