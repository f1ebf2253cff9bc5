"""Write the tables of README.md and docs/ from benchmarks/results/*.json: `python benchmarks/render.py`.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; a test fails when a page and the results differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.int8.nncf_ptq import MOST
from edge_tl.host.reports.bundle_tables import artifact_table
from edge_tl.host.reports.sentences import recommendation

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
PAGES = (
    DOCS / "results.md",
    HERE.parent / "README.md",
    DOCS / "how-to" / "predict.md",
    DOCS / "how-to" / "serve.md",
)


def main() -> None:
    """Rewrite the pages in place."""
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")


def missing() -> list[str]:
    """The tables that stand on no page."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    return [name for name in _tables() if f"<!-- {name} -->" not in text]


def rendered(text: str) -> str:
    """The page with every table that it has made anew."""
    for name, make in _tables().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            continue
        body = f"\n{make().strip()}\n\n".replace("\\", r"\\")
        text = pattern.sub(rf"\g<1>{body}\g<2>", text)
    return text


def _share(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f}"


def _tables() -> dict[str, Callable[[], str]]:
    return {
        "chain": chain,
        "lite0": lite0,
        "export_time": export_time,
        "changed_answers": changed_answers,
        "predict_throughput": predict_throughput,
        "serve_load": serve_load,
        "head": head,
        "device": device,
        "strategies": strategies,
        "compare": compare,
        "yardstick": yardstick,
        "int8_models": int8_models,
        "int8_speed": int8_speed,
        "int8_profile": int8_profile,
        "latency": latency,
        "image_input": image_input,
        "sigkill": sigkill,
        "memory": memory,
        "calibration": calibration,
        "portability": portability,
        "arm": arm,
    }


def portability() -> str:
    """The drop of every INT8 artifact on lesser CPUs; the first of the ways to have one stands for it."""
    result = _result("portability")
    isas = {
        "native": "this CPU, VNNI",
        "avx512": "AVX-512, no VNNI",
        "avx2": "AVX2",
        "sse42": "SSE4.2",
        "arm": "Arm",
    }
    lines = [
        f"| bundle | artifact | {' | '.join(isas.values())} |",
        f"|---|---|{'---:|' * len(isas)}",
    ]
    for model in result["models"]:
        for artifact in model["artifacts"]:
            for opened in ("edge-tl", "plain"):
                found = {c["isa"]: c for c in reversed(artifact["cells"]) if c["opened"] == opened}
                if found:
                    how = ", its defaults" if opened == "plain" else ""
                    cells = " | ".join(_drop_there(found.get(isa)) for isa in isas)
                    lines.append(f"| {model['name']} | `{artifact['id']}`{how} | {cells} |")
    references = "; ".join(
        f"{m['name']} {m['model']}, {m['input_size'][0]} px, {_share(m['reference']['accuracy'])} % of "
        f"{m['reference']['n']:,}"
        for m in result["models"]
    )
    every = [cell for m in result["models"] for a in m["artifacts"] for cell in a["cells"]]
    emulated = [cell for cell in every if cell["by"].startswith("qemu") and cell["isa"] != "arm"]
    same = sum(cell.get("off_first_way") == 0 for cell in emulated)
    by_model = [
        (m["name"], [c["passed"] for a in m["artifacts"] for c in a["cells"]]) for m in result["models"]
    ]
    kept = ", ".join(f"{name} {sum(passed)} of {len(passed)}" for name, passed in by_model)
    early = [m["name"] for m in result["models"] if not m["export_finished"]]
    unfinished = f"Measured before their export had ended: {', '.join(early)}. " if early else ""
    return "\n".join(
        [
            *lines,
            "",
            f"Drop in points from PyTorch, with its paired 95 % interval; PyTorch: {references}. "
            f"Cells that lose at most {result['conditions']['max_drop']} points: {kept}. {unfinished}"
            f"Lesser CPUs are this one with CPUID answered for it; `qemu-x86_64` gives the same logits bit for bit in "
            f"{same} of {len(emulated)} cells, on {min((c['n'] for c in emulated), default=0)} images or more. "
            f"{_machine(result['models'][0])}.",
            "",
        ]
    )


def _drop_there(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "not measured"
    if "fault" in cell:
        return "does not run"
    low, high = cell["drop_ci_pp"]
    text = f"{cell['drop_pp'] + 0.0:.2f} [{low:.2f}, {high:.2f}]"
    if "refusal" in cell:
        return f"refused, `{cell['refusal']['taken_instead']}` answers"
    return text if cell["passed"] else f"**{text}**"


def arm() -> str:
    """The gates of every artifact on emulated Arm."""
    result = _result("arm_qemu")
    found = result["verify"]
    gates = {(gate["gate"], gate["artifact"], gate["unit"]): gate for gate in found["gates"]}
    accuracy = {row["artifact"]: row for row in found["data"]["accuracy"]}
    lines = [
        "| artifact | logits off x86's by | limit | agreement with PyTorch | drop pp [interval] | precision that ran |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, ran in found["ran"].items():
        device, loss = gates["device", name, "logit"], gates["loss", name, "agreement"]
        row = accuracy[name]
        low, high = row.get("drop_ci_pp", (None, None))
        drop = "—" if low is None else f"{row['drop_pp'] + 0.0:.2f} [{low:.2f}, {high:.2f}]"
        lines.append(
            f"| {name} | {device['measured']:.2g} | {device['limit']:.2g} | {loss['measured']:.2f} | {drop} "
            f"| {ran['precision']} |"
        )
    size = "x".join(str(side) for side in result["bundle"]["input_size"])
    passed = "All gates pass" if found["passed"] else "Gates fail"
    images = next(iter(accuracy.values()))["n"]
    layers, kernels = (found["ran"]["openvino-int8"][key] for key in ("layers", "kernels"))
    kinds = ", ".join(f"{count} in {kind}" for kind, count in sorted(layers.items()))
    host = result["bundle"]["exported_on"]
    origin = f"{host['arch']} {'with' if host['vnni'] else 'without'} VNNI"
    return "\n".join(
        [
            *lines,
            "",
            f"{passed}. {result['bundle']['model']} at {size} px from `edge-tl demo`, exported on {origin}; the drop "
            f"is from onnx-fp32 there, on {images} of the demo's images, some of which trained. Of openvino-int8's "
            f"matrix layers {kinds} run there, {kernels.get('ref_any', 0)} by a reference kernel: look at `ran` before "
            f"you expect INT8's speed. {result['emulator']}; emulated, so no time was kept.",
            "",
        ]
    )


def chain() -> str:
    """The artifacts of the flowers bundle beside PyTorch."""
    return _bundle(_result("chain_flowers"), "MobileNetV2, its head fine-tuned")


def lite0() -> str:
    """The same of EfficientNet-Lite0, all of it fine-tuned, on photographs that chose nothing."""
    return _bundle(_result("lite0_flowers"), "EfficientNet-Lite0, all of it fine-tuned")


def _bundle(result: dict[str, Any], what: str) -> str:
    record = BundleRecord.from_json(result["record"])
    table = artifact_table(record)
    lines = ["| " + " | ".join(table.headings) + " |"]
    lines.append("|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in table.cells]
    seconds = result["seconds"]
    lines += ["", f"*{recommendation(record)}*", ""]
    height, _ = record.preprocess.crop or record.preprocess.resize_size
    lines.append(
        f"{what}, {height} px, {record.reference.n} held-out photographs; fine-tuned in "
        f"{seconds['finetune']:.0f} s and exported in {seconds['export']:.0f} s on {_machine(result)}."
    )
    return "\n".join(lines) + "\n"


def export_time() -> str:
    """How long an export takes, beside what it took before."""
    result = _result("export_time")
    before, after = result["before"], result["after"]
    return (
        f"`edge-tl export --int8` of MobileNetV2 on those photographs took {after['seconds']:.0f} s "
        f"({after['cpu']:.0f} s of the processor), and {before['seconds']:.0f} s ({before['cpu']:.0f} s) with the "
        f"program of {before['commit']}, one after the other on {_machine(result)}: {_both_found(result['same'])} "
        "(`python benchmarks/export_time.py`).\n"
    )


def changed_answers() -> str:
    """What the answers that INT8 changes count, and what FP32's probabilities say they cost."""
    result = _result("changed_answers")
    rows = [
        f"`{each['id']}` changes {each['changed']} of {result['n']} answers, loses {each['lost']} and wins "
        f"{each['won']}, which counts as {each['drop_pp']:.2f} points; by FP32's probabilities they cost "
        f"{each['expected_drop_pp']:.2f}"
        for each in result["artifacts"]
    ]
    first = result["artifacts"][0]
    return (
        f"Another training of it, {100 * result['fp32_accuracy']:.2f} % in FP32: {'; '.join(rows)}. "
        "FP32's two largest logits differ on these images by at most "
        f"{max(each['largest_margin_changed'] for each in result['artifacts']):.2f}, and INT8 moves that difference by "
        f"{first['noise']:.2f} (standard deviation). Of the {first['near_ties']} images with less between them FP32 "
        f"has {first['near_ties_right']} right, where its probabilities say {first['near_ties_right_expected']:.1f} "
        "(`python benchmarks/changed_answers.py`).\n"
    )


def predict_throughput() -> str:
    """Photographs a second of `predict`, beside what its two parts allow together."""
    result = _result("predict_throughput")
    lines = [
        "| artifact | decoding alone | model alone | both allow | `predict` | of that, by round "
        f"| {result['images']:,} in | memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rounds = {len(found["rounds"]) for found in result["artifacts"].values()}
    for name, found in result["artifacts"].items():
        rate, whole = found["images_per_s"], found["whole_folder"]
        shares = sorted(each["of_combined"] for each in found["rounds"])
        memory = whole["memory_mb"]
        lines.append(
            f"| `{name}` | {rate['decode']:.0f} | {rate['model']:.0f} | {rate['combined_bound']:.0f} "
            f"| {rate['predict']:.0f} | {rate['of_combined']:.2f} [{shares[0]:.2f}, {shares[-1]:.2f}] "
            f"| {whole['seconds']:.1f} s | {memory['second_quarter_median']:.0f} to {memory['max']:.0f} MB |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"Photographs a second, medians of {max(rounds)} rounds of {result['images_a_round']:,}, with the "
            f"least and the most; MobileNetV2 on flowers, {_machine(result)}, other processes "
            f"{result['others_cores']['others']:.1f} cores. The whole folder is the command's own process, memory from "
            "its second quarter on; `python benchmarks/predict_throughput.py`. "
            f"The aim is {result['bound']} of what both allow.",
            "",
        ]
    )


def serve_load() -> str:
    """What a minute of many clients showed."""
    result = _result("serve_load")
    counts = result["statuses"]
    busy = sum(n for name, n in counts.items() if name.endswith("503"))
    asked, memory = sum(counts.values()), result["memory_mb"]
    photograph = result["latency"]["photograph, answered"]
    inside = result["server_seconds_at_most"]
    return (
        f"{result['clients']} clients for {result['seconds']} s on loopback, on the same {_machine(result)}: {asked:,} "
        f"requests, {result['answered_per_s']:.0f} a second answered, {busy} refused with 503, no other 5xx; "
        f"{photograph['n']:,} photographs in p50 {photograph['p50_ms'] / 1000:.1f} s, p90 "
        f"{photograph['p90_ms'] / 1000:.1f} s, p99 {photograph['p99_ms'] / 1000:.1f} s as a client "
        "waits; the service itself took at most 0.5 s for "
        f"{100 * inside['0.5'] / inside['+Inf']:.1f} % of its answers. "
        f"Memory: {memory['middle_third_median']:.0f} MB in the middle third, {memory['last_third_median']:.0f} MB in "
        "the last (`python benchmarks/serve_load.py`).\n"
    )


def _both_found(same: dict[str, Any]) -> str:
    """What two programs found of one run: equal, or both drops of each INT8 artifact."""
    figures = {name: each["drop_pp"] for name, each in same["artifacts"].items()}
    agreements = [each["agreement"] for each in same["artifacts"].values()]
    if all(old == new for old, new in [*figures.values(), *agreements]):
        return "the same accuracies, drops and agreements"
    drops = ", ".join(
        f"{name} drops by {new:.2f} pp, {old:.2f} before"
        for name, (old, new) in figures.items()
        if "int8" in name
    )
    return f"both of a PyTorch model of {100 * same['reference']['accuracy'][1]:.1f} %; {drops}"


def head() -> str:
    """Fine-tuning a head, against the tutorial's loop."""
    result = _result("head_vs_tutorial")
    epochs, ours, warm = result["epochs"], result["ours_cold"], result["ours_warm"]
    lines = [
        "| | wall time | validation accuracy |",
        "|---|---:|---:|",
        f"| the tutorial's loop, ten epochs ({len(epochs)} timed) | {result['tutorial_seconds']:.0f} s "
        f"| {100 * epochs[-1]['accuracy']:.1f} % after {len(epochs)} |",
        f"| `edge-tl finetune`, whole process, cold | {result['ours_cold_seconds']:.1f} s "
        f"| {100 * ours[-1]['accuracy']:.1f} % |",
        f"| a second head, features cached | {warm['seconds']:.1f} s | {100 * warm['accuracy']:.1f} % |",
        "",
        f"{result['ratio']:.1f} times less wall time, interleaved in one run on {_machine(result)}.",
    ]
    return "\n".join(lines) + "\n"


def device() -> str:
    """What the device pays."""
    result = _result("device")
    seconds = result["predict_seconds"]
    return (
        f"The environment of `.[ort]` takes {result['environment_mb']:.0f} MB; one image is classified "
        f"{seconds['median']:.2f} s after the process starts (median of {seconds['n']}, {_machine(result)}).\n"
    )


def strategies() -> str:
    """Every strategy on the same photographs."""
    result = _result("strategies")["strategies"]
    lines = [
        "| strategy | validation accuracy % | epochs | whole process | cores |",
        "|---|---:|---:|---:|---:|",
    ]
    trained = [name for name in ("head", "partial", "lp-ft", "gradual", "full") if name in result]
    for name in trained:
        entry = result[name]
        lines.append(
            f"| {name} | {100 * entry['accuracy']:.1f} | {len(entry['epochs']) or '—'} | {entry['seconds']:.0f} s "
            f"| {entry['machine']['cores_allowed']} |"
        )
    first = result[trained[0]]
    lines += [
        "",
        f"MobileNetV2 at {first['image_size']} px on {first['n']['train']:,} photographs of flowers in five classes, "
        f"evaluated on {first['n']['val']}, {_machine(first)}, those on one core beside other load. "
        f"`auto` chooses `{result['auto']['chosen']}`: "
        f"{result['auto']['reason']}. These photographs have no test split: the evaluation images also chose the epoch "
        "(and the head's regularization), so the accuracies are slightly optimistic.",
    ]
    return "\n".join(lines) + "\n"


def compare() -> str:
    """Two models, two strategies, three rates, as `compare` prints them."""
    result = _result("compare_cifar10")
    lines = ["| model | strategy | rate | validation % | test % | p50 ms |", "|---|---|---:|---:|---:|---:|"]
    for trial in sorted(result["trials"], key=lambda trial: -trial["val_accuracy"]):
        mark = " (the pick)" if trial["name"] == result["pick"] else ""
        lines.append(
            f"| {trial['model']}{mark} | {trial['strategy']} | {trial['lr'] or '—'} "
            f"| {100 * trial['val_accuracy']:.1f} | {100 * trial['accuracy']:.1f} | {trial['latency_ms']['p50']:.2f} |"
        )
    lines += [
        "",
        f"{result['images_per_class']} training images a class of CIFAR-10, {result['epochs']} epochs at 32 px, "
        f"ResNet18 from random weights, MobileNetV3-Small from the embedded backbone, {_machine(result)}, beside "
        "other load: the accuracies count, not the times.",
    ]
    return "\n".join(lines) + "\n"


def yardstick() -> str:
    """The ladder on the hard one, beside what most people do first."""
    result = _result("yardstick")
    lines = ["| | drop pp [interval] | agreement % | work in float % | rung |", "|---|---:|---:|---:|---:|"]

    def line(name: str, row: dict[str, Any], work: str, rung: str) -> str:
        low, high = row["drop_ci_pp"]
        drop = f"{row['drop_pp']:.2f} [{low:.2f}, {high:.2f}]"
        return f"| {name} | {drop} | {100 * row['agreement']:.1f} | {work} | {rung} |"

    lines.append(line("naive: per tensor, min-max", result["naive"], "0.0", "—"))
    for kind, label in (("ptq", "without training"), ("qat", "with training")):
        for row in result[kind]:
            name = f"`{row['id']}`, {label}"
            lines.append(line(name, row, _share(row["float_macs"]), str(row["rungs"][-1]["rung"])))
    reference = result["reference"]
    lines += [
        "",
        f"MobileNetV3-Small at 64 px, 200 classes, {reference['n']:,} test images that calibrated and selected "
        f"nothing; PyTorch {100 * reference['accuracy']:.2f} %. {_machine(result)}, `python benchmarks/yardstick.py`.",
    ]
    return "\n".join(lines) + "\n"


def int8_models() -> str:
    """The ladder beside naive INT8 on models fine-tuned here."""
    result = _result("int8_models")
    lines = [
        "| model, data | artifact | drop pp [interval] | agreement % | work in float % | rung |",
        "|---|---|---:|---:|---:|---:|",
    ]
    notes = []
    for model in result["models"]:
        size = "x".join(map(str, model["input_size"][:1]))
        name = f"{model['model']}, {model['data']}, {size} px"
        rows = [("naive: per tensor, min-max", model["naive"] | {"float_macs": 0.0})]
        rows += [(f"`{row['id']}`", row) for row in model["artifacts"]]
        for label, row in rows:
            low, high = row["drop_ci_pp"]
            work = _share(row["float_macs"])
            rung = str(row["rungs"][-1]["rung"]) if "rungs" in row else "—"
            lines.append(
                f"| {name} | {label} | {row['drop_pp']:.2f} [{low:.2f}, {high:.2f}] "
                f"| {100 * row['agreement']:.1f} | {work} | {rung} |"
            )
            name = ""
        reference = model["reference"]
        notes.append(f"{model['model']} {100 * reference['accuracy']:.2f} % of {reference['n']:,}")
    lines += ["", f"PyTorch: {'; '.join(notes)}. {_machine(result)}, `python benchmarks/int8_models.py`."]
    return "\n".join(lines) + "\n"


def int8_speed() -> str:
    """INT8 by the fastest FP32 artifact, on CPUs with and without VNNI."""
    asked = _result("x64quantprecision")
    slower = ", ".join(
        f"{row['slowdown']:.2f} [{row['slowdown_ci'][0]:.2f}, {row['slowdown_ci'][1]:.2f}] ({row['model']})"
        for row in asked["models"]
    )
    images = sum(row["golden_images"] for row in asked["models"])
    worst = max(row["largest_difference_of_logits"] for row in asked["models"])
    tables = [_int8_speed(_result(name)) for name in ("int8_speed_vnni", "int8_speed_avx_vnni", "int8_speed")]
    return "\n".join(tables) + (
        f"\nWith `session.x64quantprecision` ONNX Runtime's INT8 takes {slower} times as long, {_machine(asked)}; "
        f"the logits of {images} images {f'move by {worst:g} at most' if worst else 'stay the same'} (`python "
        "benchmarks/x64quantprecision.py`). edge-tl asks for it only where there is no VNNI.\n"
    )


def _int8_speed(result: dict[str, Any]) -> str:
    lines = [
        "| model | fastest FP32 | p50 ms | INT8 | p50 ms | times as fast [interval] |",
        "|---|---|---:|---|---:|---:|",
    ]
    for model in result["models"]:
        rows = {row["id"]: row for row in model["artifacts"]}
        size = "x".join(map(str, model["input_size"][:1]))
        name, base = f"{model['model']}, {size} px", rows[model["baseline"]]
        for row in (rows["onnx-int8"], rows["openvino-int8"]):
            shown = "not judged"
            if row["speedup_ci"]:
                low, high = row["speedup_ci"]
                shown = f"{row['speedup']:.2f} [{low:.2f}, {high:.2f}]"
            lines.append(
                f"| {name} | `{base['id']}` | {base['p50_ms']:.2f} | `{row['id']}` | {row['p50_ms']:.2f} | {shown} |"
            )
    lines += ["", f"One image a call, {_machine(result)}, `python benchmarks/int8_speed.py`."]
    return "\n".join(lines) + "\n"


def int8_profile() -> str:
    """Where a call's time goes, by kinds of operators."""
    result = _result("int8_profile")
    lines = [
        "| model | artifact | operators ms | matrices | activations, gates | sums, pools | layout, rounding |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for model in result["models"]:
        for row in model["artifacts"]:
            parts = dict.fromkeys(_KINDS, 0.0) | {"": 0.0}
            for each in row["operators"]:
                parts[_kind(each["operator"])] += each["ms"]
            assert not parts[""], row
            cells = " | ".join(f"{parts[kind]:.2f}" for kind in _KINDS)
            lines.append(f"| {model['model']}, 224 px | `{row['id']}` | {row['sum_ms']:.2f} | {cells} |")
    how = f"one thread, the fastest {100 * result['quantile']:.0f} % of {result['calls']} calls of each operator"
    return "\n".join(
        [*lines, "", f"{how[0].upper()}{how[1:]}, {_machine(result)}, `python benchmarks/int8_profile.py`.\n"]
    )


_KINDS = {
    "matrices": ("Convolution", "GroupConvolution", "FullyConnected", "Conv", "QLinearConv", "Gemm", "QGemm"),
    "activations": ("QuickGelu", "Mul", "QLinearMul", "QLinearSigmoid", "HardSigmoid", "Clip", "Sigmoid"),
    "sums": ("QLinearAdd", "Add", "GlobalAveragePool", "QLinearGlobalAveragePool", "ReduceMean", "Subgraph"),
    "layout": ("Transpose", "Pad", "Reshape", "Reorder", "ReorderInput", "ReorderOutput", "QuantizeLinear"),
}


def _kind(operator: str) -> str:
    """The kind of an operator; OpenVINO's names have their kernel after a space."""
    name = operator.partition(" ")[0].removesuffix("QuantizedLegacy")
    return next((kind for kind, names in _KINDS.items() if name in names), "")


def latency() -> str:
    """What the timer is worth: against itself, the runtimes' own tools, what was planted, a loop at a pace."""
    noise, planted, paced = (_result(f"latency_{name}") for name in ("aa", "planted", "paced"))
    slow, plain = planted["slow_down"], planted["tails"][0]["latency_ms"]
    tail = planted["tails"][-1]["latency_ms"]
    widths = sorted(100 * run["width"] for run in noise["runs"])
    lines = [
        "| question | answer |",
        "|---|---|",
        f"| the same artifact against itself | {noise['contain_one']} of {noise['n']} intervals contain 1; "
        f"{widths[0]:.1f} to {widths[-1]:.1f} % wide, {noise['good']} at most 2 % |",
        f"| a call that does nothing | {noise['harness_floor_us']:.1f} µs |",
    ]
    for tools in map(_result, ("latency_tools", "latency_tools_one_core", "latency_tools_avx2")):
        for pair in tools["pairs"]:
            low, high = pair["ci"]
            threads = f"{tools['threads']} thread{'s' * (tools['threads'] > 1)}"
            name = f"{pair['ours']} by {pair['theirs']}, {tools['input_size'][0]} px, {threads}"
            name += "" if _vnni(tools) else ", CPU without VNNI"
            lines.append(f"| {name} | {pair['ratio']:.3f} [{low:.3f}, {high:.3f}] |")
    lines += [
        f"| every call 5 % longer | found {slow['found']:.3f} [{slow['ci'][0]:.3f}, {slow['ci'][1]:.3f}] |",
        f"| 1 call in 80 ten times as long | p50 {plain['p50']:.2f} → {tail['p50']:.2f} ms, "
        f"p99 {plain['p99']:.2f} → {tail['p99']:.2f} ms |",
        f"| p50 at {paced['fps']:g} images a second, by an independent loop's | {paced['ratio']:.3f} |",
        "",
        f"MobileNetV2 at 160 px, one image a call, {_machine(noise)}; "
        "`python benchmarks/latency_aa.py` and the scripts beside it. benchmark_app counts what OpenVINO "
        "says a request took; a call from Python takes 0.1 ms more, which the application pays, so edge-tl counts it.",
    ]
    return "\n".join(lines) + "\n"


def image_input() -> str:
    """Preprocessing inside the model against outside of it, and what Intel's Model API answers."""
    result = _result("image_input")
    lines = [
        "| artifact | changed answers | probabilities off by | inside ms | outside ms | cost ms [interval] |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    n = result["images"]
    for row in result["artifacts"]:
        low, high = row["cost_ci_ms"]
        cost = f"{row['cost_ms']:.2f} [{low:.2f}, {high:.2f}]"
        busy = row["not_judged"]
        times = f"{row['inside_ms']:.2f} | {row['outside_ms']:.2f} | {cost}"
        lines.append(
            f"| `{row['artifact']}` | {row['flips']} of {n:,} | {row['probability_diff_max']:.1e} "
            f"| {f'— | — | not judged: {busy}' if busy else times} |"
        )
    width, height = reversed(result["artifacts"][0]["size"])
    off = ", ".join(
        f"{name} {100 * found['values_that_differ']:.2g} % of the values, by at most {found['levels_max']} of 255"
        for name, found in zip(("ONNX", "OpenVINO"), result["pixels"].values(), strict=True)
    )
    side = result["preprocess"]["resize_size"]
    lines += [
        "",
        f"{result['model']}, all {n:,} images of a folder, {'x'.join(map(str, side))} px after the resize. Pixels that "
        f"differ from Pillow's: {off}. Timed on an image of {width}x{height}, beside Pillow's resize and the same "
        f"weights, {_machine(result)} (`python benchmarks/image_input.py`).",
        "",
        *_model_api(result["model_api"]),
    ]
    return "\n".join(lines) + "\n"


def _model_api(result: dict[str, Any]) -> list[str]:
    if "not_run" in result:
        return [f"Intel's Model API was not run: {result['not_run']}"]
    lines = [
        f"| Intel's Model API {result['version']} with | computing in | other labels than `predict`'s | score off by |",
        "|---|---|---:|---:|",
    ]
    for row in result["artifacts"]:
        how = "its default" if row["precision"] == "default" else row["precision"]
        lines.append(
            f"| `{row['artifact']}` | {how} | {len(row['differ'])} of {row['n']:,} | {row['score_diff_max']:.1e} |"
        )
    return lines


def sigkill() -> str:
    """Runs that were killed and resumed."""
    result = _result("sigkill")
    return (
        f"{result['identical']} of {result['kills']} runs killed at random moments ended in the same bytes "
        f"(`python benchmarks/sigkill.py`, {_machine(result)}).\n"
    )


def calibration() -> str:
    """What calibration images cost in memory."""
    result = _result("calibration_memory")
    added = ", ".join(f"{row['calibrator']} {row['added'] / 1e6:.0f} MB" for row in result["calibrators"])
    return (
        f"Calibrating on {result['images']:,} images of {result['input_size'][0]} px takes more memory than on ten by: "
        f"{added} ({result['model']}; {MOST} images at most go to NNCF; {_machine(result)}).\n"
    )


def memory() -> str:
    """Peak memory on a large set."""
    result = _result("memory")
    return (
        f"Fine-tuning on {sum(result['n'].values()):,} images took at most {result['peak_bytes'] / 1e9:.1f} GB "
        f"of memory, workers included ({result['model']}, {result['image_size']} px, {result['strategy']}, "
        f"{_machine(result)}).\n"
    )


def _result(name: str) -> Any:
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def _vnni(result: dict[str, Any]) -> bool:
    return any("vnni" in flag for flag in result["machine"]["isa"])


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    cores = "1 core" if machine["cores_allowed"] == 1 else f"{machine['cores_allowed']} cores"
    kind = (
        "with AVX-VNNI" if "avx_vnni" in machine["isa"] else "with VNNI" if _vnni(result) else "without VNNI"
    )
    return f"{cores} of an {machine['cpu']} ({kind})"


if __name__ == "__main__":
    main()
