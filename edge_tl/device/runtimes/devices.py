"""What the installed runtimes offer on this machine, and which artifacts a named device concerns.

One name space for all of them: the names that `edge-tl devices` lists. A name that only one runtime knows concerns
that runtime's artifacts; the others are left out, with the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from edge_tl.device.bundle import Artifact
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.machine import installed
from edge_tl.device.records.devices import RuntimeOffer
from edge_tl.device.runtimes.base import did_you_mean
from edge_tl.device.runtimes.families import BY_NAME, BY_SUFFIX, FAMILIES, Family
from edge_tl.device.runtimes.open import import_runtime
from edge_tl.device.runtimes.try_device import try_device


def check_device_name(device: object) -> None:
    """Raises `BadInput` for what is no name of a device."""
    if not isinstance(device, str) or not device.strip():
        raise BadInput(f'device={device!r}: give a name, e.g. "CPU"; `edge-tl devices` lists what is here.')


def runnable_artifacts(
    artifacts: Sequence[Artifact], device: str
) -> tuple[list[Artifact], list[dict[str, str]]]:
    """The artifacts whose runtime is installed and has `device`, and `{artifact, reason}` for the others.

    Raises `MissingExtra` when no runtime is installed, that of the first artifact; `BadInput` that lists what there is
    when no runtime has the device.
    """
    by_suffix = {
        suffix: _missing(suffix) or _refusal(suffix, device)
        for suffix in sorted({a.path.suffix for a in artifacts})
    }
    refusals = {a.id: by_suffix[a.path.suffix] or _unfit(a, device) for a in artifacts}
    kept = [a for a in artifacts if refusals[a.id] is None]
    if artifacts and not kept:
        first = refusals[artifacts[0].id]
        if isinstance(first, MissingExtra) and all(isinstance(r, MissingExtra) for r in refusals.values()):
            raise first
        if unfit := [str(refusals[a.id]) for a in artifacts if not by_suffix[a.path.suffix]]:
            raise BadInput(f"--device {device}: {unfit[0]}")
        reasons = "; ".join(dict.fromkeys(_short(reason) for reason in by_suffix.values() if reason))
        raise BadInput(f"--device {device}: {reasons}. {did_you_mean(device, _names())}Choose one of these.")
    on = "" if device.upper() == "CPU" else f"--device {device}: "
    return kept, [
        {"artifact": a.id, "reason": f"{on}{_short(reason) if on else reason}"}
        for a in artifacts
        if (reason := refusals[a.id]) is not None
    ]


def accelerators(*, trials: bool = True) -> dict[str, RuntimeOffer | None]:
    """What each runtime offers here, by its name; None where it is not installed. Imports them, and with
    `trials` runs a tiny model on every device, each in a process of its own."""
    found = {family.name: _probe(family) for family in FAMILIES}
    return {name: _tried(BY_NAME[name], offer) if trials else offer for name, offer in found.items()}


def _tried(family: Family, offer: RuntimeOffer | None) -> RuntimeOffer | None:
    """With a trial of each device, where the runtime can be used."""
    if offer is None or offer.fault is not None:
        return offer
    names = family.load().offered().names
    # Of a provider that was left to a process of its own to load.
    names += [each.name for plugin in offer.plugins for each in plugin.devices if each.name not in names]
    return replace(offer, sessions=tuple(try_device(family.name, device) for device in names))


def _missing(suffix: str) -> MissingExtra | None:
    try:
        import_runtime(suffix)
    except MissingExtra as error:
        return error
    return None


def _refusal(suffix: str, device: str) -> str | None:
    if device.upper() == "CPU":
        return None  # every runtime has it, and asking for the others starts their drivers
    try:
        BY_SUFFIX[suffix].load().resolve(device)
    except BadInput as error:
        return str(error).removeprefix(f"--device {device}: ").partition(". ")[0]
    return None


def _unfit(artifact: Artifact, device: str) -> str | None:
    """Why the device's compiler would refuse this file."""
    if device.upper() == "CPU":
        return None
    return BY_SUFFIX[artifact.path.suffix].load().unfit(artifact.path, device)


def _short(reason: str | MissingExtra) -> str:
    """For the middle of a sentence: what is missing, without how to install it."""
    return str(reason).partition(". Run: ")[0]


def _names() -> list[str]:
    names: list[str] = []
    for family in FAMILIES:
        with suppress(MissingExtra):
            names += family.load().offered().names
    return names


def _probe(family: Family) -> RuntimeOffer | None:
    """What the imported package lists, or nothing and the name of the exception."""
    kind, name = family.load(), family.name
    version = installed(name)
    try:
        library = importlib.import_module(name)
        # The imported module knows best: two distributions may share one folder. OpenVINO appends its build.
        version = getattr(library, "__version__", "").split("-")[0] or version
        return replace(kind.listing(library), version=version)
    except Exception as error:  # native libraries and drivers raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        # The message may hold paths; its type is enough to tell broken from missing.
        return replace(kind.listing(None), version=version, fault=type(error).__name__)
