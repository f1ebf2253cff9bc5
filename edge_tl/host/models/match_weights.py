"""A file's tensors in the places of an architecture: by their names, or, where asked, by their order.

Guesses nothing silently: what does not fit is refused, with what would.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import Listener
from edge_tl.host.models import architecture, weights, zoo
from edge_tl.host.models.state_dict import State, refuse_foreign_numbers, strip_prefix

NAME, ORDER = "name", "order"


def load_whole_classifier(
    name: str, state: State, path: Path, match: str, listener: Listener
) -> tuple[nn.Module, bool, dict[str, str]]:
    """The architecture with every tensor of `state` in its place, whether it is `pooled`, as runs of ours are, and the
    model's name of each of the file's tensors where they were matched by their order."""
    if name.startswith("squeezenet"):
        raise BadInput(
            f"--model {name}: its torchvision head ends in a ReLU that this model leaves out, so the answers would "
            "differ. Give the original: --factory with a function that returns torchvision's."
        )
    classes, pooled, matched = 2, False, {}
    if not name.startswith(zoo.FACTORY):
        state = weights.bare_state(name, state)
        paths = architecture.head_path(name), architecture.head_path(name, pooled=True)
        if f"{paths[0]}.weight" not in state and (pairs := match_by_order(state, weights.meta_model(name))):
            if match != ORDER:
                raise BadInput(_only_the_order_fits(path, name, pairs))
            matched, state = pairs, {own: state[theirs] for theirs, own in pairs.items()}
        pooled = f"{paths[0]}.weight" not in state and paths[0] != paths[1]
        weight = state.get(f"{paths[pooled]}.weight")
        if weight is None or weight.ndim != 2:
            guess = weights.fitting_model(state, other_than=name)
            fits = f"It fits --model {guess}. " if guess else ""
            raise BadInput(
                f"{path}: no {paths[0]}.weight, the head of {name}. {fits}Give the whole classifier's state dict, "
                "and the architecture it was saved from: --model, or --factory."
            )
        classes = len(weight)
    model = architecture.build(name, classes, pooled=pooled)
    wanted = model.state_dict()
    state = strip_prefix(state, wanted)
    if not any(key in state for key in wanted) and (pairs := match_by_order(state, model)):
        if match != ORDER:
            raise BadInput(_only_the_order_fits(path, name, pairs))
        matched, state = pairs, {own: state[theirs] for theirs, own in pairs.items()}
    if match == ORDER and not matched:
        raise BadInput(
            f"--match {ORDER}: the tensors of {path} are not those of {name} in the same order, or have its names "
            "already. Leave it out, and see what differs."
        )
    _refuse_misfit(name, state, wanted, path)
    refuse_foreign_numbers(state, wanted, str(path))
    model.load_state_dict(
        {key: state[key].to(wanted[key].dtype) for key in wanted if key in state}, strict=False
    )
    if matched:
        listener.note(
            f"{len(matched)} tensors matched by their order: {_pairs(matched)}. Layers of one shape may differ in "
            "padding, strides or epsilon: compare the accuracy with the one you know"
        )
    return model.eval(), pooled, matched


def _refuse_misfit(name: str, state: State, wanted: State, path: Path) -> None:
    """Raises `BadInput` that names the first tensor of `wanted` that `state` has not, or has in another shape, or that
    only `state` has."""
    optional = [
        k for k in wanted if k.endswith("num_batches_tracked") or k.startswith(architecture.AUXILIARY)
    ]
    faults = [f"it lacks {key}" for key in wanted if key not in state and key not in optional]
    # Counters of averaging and the like, which no layer reads, are no fault of the file.
    faults += [
        f"it has {k}, which the architecture has not" for k in state if k not in wanted and state[k].ndim
    ]
    faults += [
        f"{key} is {tuple(state[key].shape)}, the architecture's {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        guess = weights.fitting_model(state, other_than=name)
        advice = f"It fits --model {guess}." if guess else "Give the architecture it was saved from."
        raise BadInput(f"{path}: not {name}: {faults[0]}{more}. {advice}")


def match_by_order(state: State, model: nn.Module) -> dict[str, str]:
    """The model's name for each tensor of `state`, where both have the same shapes in the same order; else nothing. The
    last two, the head's, may differ in the number of classes. Counters, which are single numbers, are left out."""
    theirs = [(key, tuple(tensor.shape)) for key, tensor in state.items() if tensor.ndim]
    own = [(key, tuple(tensor.shape)) for key, tensor in model.state_dict().items() if tensor.ndim]
    if len(theirs) != len(own) or len(own) < 2:
        return {}
    head = len(own) - 2
    alike = all(
        a == b or (place >= head and a[1:] == b[1:])
        for place, ((_, a), (_, b)) in enumerate(zip(theirs, own, strict=True))
    )
    return {key: name for (key, _), (name, _) in zip(theirs, own, strict=True)} if alike else {}


def _only_the_order_fits(path: Path, name: str, pairs: dict[str, str]) -> str:
    return (
        f"{path}: other names than those of {name}, but the same {len(pairs)} shapes in the same order: "
        f"{_pairs(pairs)}. If it is this architecture, add --match {ORDER}."
    )


def _pairs(pairs: dict[str, str]) -> str:
    """Some of them, from both ends."""
    shown = [f"{theirs} is {own}" for theirs, own in pairs.items()]
    return ", ".join(shown if len(shown) <= 7 else [*shown[:4], "…", *shown[-3:]])
