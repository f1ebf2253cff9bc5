"""Pick what runs best on this machine: gates, timing, choice, the file beside the bundle. Prints nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from time import perf_counter

from edge_tl.device.bench import ratio
from edge_tl.device.bench.harness import Beginning
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.quiet import wait_for_quiet
from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import BundleError
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.records.timing import ConditionsRecord
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.tuning.choice import Decision, decide, images_per_s, memory_mb
from edge_tl.device.tuning.configurations import Qualified, qualify
from edge_tl.device.tuning.options import TuneOptions
from edge_tl.device.tuning.pick_file import check_place, machine_id, write_pick
from edge_tl.device.tuning.timing import TuneTiming

USUAL = TuneOptions()


def tune(
    bundle: Bundle, options: TuneOptions = USUAL, *, write: bool = True, listener: Listener = SILENT
) -> TunedRecord:
    """The best artifact, device and number of threads of this machine by `options.objective`, proven here by the gates;
    with `write`, as `tuned/MACHINE.json` beside the bundle, where opening it finds it.

    With `options.wait_quiet_s` the timing waits for a quiet machine after the gates; on a busy one the pick is all the
    same written, and `not_judged` says why its figures may not be this machine's.

    Nothing within the limits is a result: its `artifact` is None, and a pick from before stays. Raises `BadInput` for
    an artifact that the bundle lacks or a device that nothing here has, `MissingExtra` where no runtime is installed,
    `FellBack` where another device ran than asked for, `EdgeTLError` where nothing that passes can be timed, and,
    before anything is measured, `BundleError` where the pick cannot be written.
    """
    began = perf_counter()
    if bundle.contract_unproven:
        raise BundleError(f"{bundle.root}: read it with read_bundle; its contract is not proven.")
    if write:
        check_place(bundle.root, machine_id(identity()))
    qualified = qualify(bundle, options, listener)
    waited = wait_for_quiet(options.wait_quiet_s, listener=listener) if options.wait_quiet_s else None
    timing = TuneTiming(
        bundle, options, cores_allowed(), began + (waited.waited_s if waited else 0.0), listener
    )
    begun = Beginning()
    entries = timing.run(qualified) if qualified.by_device else []
    choice = decide(entries, options)
    own = choice.pick.timings if choice.pick else None
    steady = ratio.against_itself(own.blocks, own.rounds, seed=options.seed) if own else None
    conditions = replace(begun.conditions(), against_itself_ci=steady, wait=waited)
    record = _record(bundle, options, choice, qualified, conditions)
    record = replace(
        record, skipped=(*record.skipped, *timing.skipped), seconds=round(perf_counter() - began, 2)
    )
    if not write or choice.pick is None:
        return record
    return replace(record, path=str(write_pick(bundle.root, record)))


def _record(
    bundle: Bundle,
    options: TuneOptions,
    choice: Decision,
    qualified: Qualified,
    conditions: ConditionsRecord,
) -> TunedRecord:
    pick, machine = choice.pick, identity()
    busy = busy_reason(conditions, machine.cores_allowed)
    files = pick.configuration.artifact.record.files if pick else ()
    return TunedRecord(
        objective=options.objective,
        max_p95_ms=options.max_p95_ms,
        artifact=pick.configuration.artifact.id if pick else None,
        device=pick.configuration.device if pick else None,
        threads=pick.ran.threads if pick else None,
        latency_ms=pick.latency if pick else None,
        images_per_s=images_per_s(pick, options) if pick else None,
        memory_mb=memory_mb(pick, options) if pick else None,
        ran=pick.ran if pick else None,
        over=choice.over,
        nearest=choice.nearest.configuration.artifact.id if choice.nearest else None,
        skipped=tuple(qualified.skipped),
        warnings=tuple(qualified.warnings),
        not_judged=busy,
        conditions=conditions,
        machine_id=machine_id(machine),
        machine=machine,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        name=bundle.record.name,
        bundle_seal=bundle.record.seal or "0" * 64,
        files={file.path: file.sha256 for file in files},
    )
