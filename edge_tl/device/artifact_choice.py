"""Which artifact of a bundle runs on this machine. Prints nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.instructions import able, lacks_instructions
from edge_tl.device.runtimes import sandbox
from edge_tl.device.runtimes.devices import runnable_artifacts
from edge_tl.device.runtimes.open import Runtime, open_runtime
from edge_tl.device.text import printable

_EXPORT = "Export again with --target-cpu any."


def open_best(
    bundle: Bundle, artifact: str | None = None, device: str = "CPU", *, allow_fallback: bool = False
) -> tuple[Artifact, Runtime]:
    """The artifact asked for, else the first of `best_first` whose runtime is installed and has `device`. For why it is
    not the recommended one see `stand_in_note`.

    Raises `FellBack` when another device ran, unless `allow_fallback`, and `BadInput` where all that could run here
    failed its gates at export, and for INT8 that requires instructions that this CPU has not.
    """
    if artifact:
        chosen = bundle.artifact(artifact)
        if why := lacks_instructions(chosen, device):
            raise BadInput(f"{chosen.id} cannot be used here: {why}. {_instead(bundle, device)}")
        sandbox.smoke_test(chosen.path, device, bundle.preprocess.input_size)
        return chosen, open_runtime(chosen.path, device=device, allow_fallback=allow_fallback)
    order = best_first(bundle, bundle.artifacts)
    if not order:
        raise BadInput(
            f"every artifact in {printable(bundle.root)} failed its gates at export. Name one with --artifact to "
            "use it all the same, or export again."
        )
    suited, lacking = able(order, device)
    if not suited:
        raise BadInput(
            f"no artifact in {printable(bundle.root)} can be used here: {_reasons(lacking)}. {_EXPORT}"
        )
    able_here, skipped = runnable_artifacts(suited, device)
    missing: MissingExtra | None = None
    for candidate in able_here:
        try:
            sandbox.smoke_test(candidate.path, device, bundle.preprocess.input_size)
            return candidate, open_runtime(candidate.path, device=device, allow_fallback=allow_fallback)
        except MissingExtra as error:
            missing = error
    reasons = _reasons([*skipped, *lacking])
    raise missing or BadInput(f"no artifact in {printable(bundle.root)} can run here: {reasons}.")


def _reasons(entries: Iterable[dict[str, str]]) -> str:
    return "; ".join(f"{one['artifact']}: {one['reason']}" for one in entries)


def _instead(bundle: Bundle, device: str) -> str:
    """What to do where an artifact that was asked for lacks its instructions."""
    others = able(best_first(bundle, bundle.artifacts), device)[0]
    return f"Use {others[0].id}, or export again with --target-cpu any." if others else _EXPORT


def best_first(bundle: Bundle, artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The recommended one, then those that passed, the fastest at export first and those of raw pixels last, whose
    time holds the preprocessing; then those that were not checked, in the same order. What failed is left out: whoever
    wants it names it."""

    def place(artifact: Artifact) -> tuple[bool, bool, bool, float]:
        median = artifact.record.median_ms
        return (
            artifact.id != bundle.record.recommended,
            artifact.record.passed is not True,
            artifact.takes_pixels,
            math.inf if median is None else median,
        )

    return sorted((a for a in artifacts if a.record.passed is not False), key=place)


def stand_in_note(bundle: Bundle, chosen: Artifact, device: str = "CPU") -> str | None:
    """A sentence for a person where `chosen` stands in for the recommended artifact on `device`; None where it is that,
    or where nothing is recommended."""
    recommended = bundle.record.recommended
    if recommended is None or chosen.id == recommended:
        return None
    passed = "which passed too" if chosen.record.passed else "which was not checked"
    why = next(
        (lacks_instructions(each, device) for each in bundle.artifacts if each.id == recommended), None
    )
    because = f": {why}" if why else ""
    return f"{recommended} is recommended and cannot run here{because}; {chosen.id} answers instead, {passed}"
