"""A bundle's contract as a program that classifies images with one artifact. Runs nothing and opens no model."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.artifact_choice import best_first
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.snippets.literals import (
    comment,
    float_literals,
    list_literal,
    long_literal,
    string_literal,
)
from edge_tl.device.snippets.template import fill

WEB = "onnxruntime-web"
_TEMPLATES = Path(__file__).parent / "templates"
_POLICIES = ("shorter", "exact", "letterbox", "none")
_CONTRACT = {
    "resize", "resize_size", "interpolation", "crop", "mean", "std", "color", "exif_transpose", "layout", "pad",
    "five_crop",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """What a program of it is called, the runtimes that it can use, how an option of ONNX Runtime is set, and what of
    it was not run by us, None where all was."""

    file: str
    runtimes: tuple[str, ...]
    option: str
    not_run: str | None = None


LANGUAGES = {
    "python": Language(
        "classify.py",
        ("onnxruntime", "openvino"),
        "    options.add_session_config_entry({key}, {value})",
    ),
    "cpp": Language(
        "classify.cpp",
        ("onnxruntime", "openvino"),
        "        options.AddConfigEntry({key}, {value});",
    ),
    "javascript": Language("classify.mjs", ("onnxruntime", WEB), "{key}: {value}"),
    "java": Language(
        "Classify.java",
        ("onnxruntime",),
        "        options.addConfigEntry({key}, {value});",
        "its preprocessing was compiled and run against golden pixels, the rest was not run with ONNX Runtime's jar",
    ),
    "csharp": Language(
        "Classify.cs",
        ("onnxruntime",),
        "options.AddSessionConfigEntry({key}, {value});",
        "nothing of it was compiled",
    ),
    "rust": Language(
        "main.rs",
        ("onnxruntime",),
        "        .with_config_entry({key}, {value})?",
        "its preprocessing was compiled and run against golden pixels, the rest was not compiled with the ort crate",
    ),
}


@dataclass(frozen=True)
class Program:
    """A whole program as text, in ASCII; `file` is what it is usually called. `not_run` says what of its language was
    not compiled and run by us, None where all was."""

    lang: str
    runtime: str
    artifact: str
    file: str
    text: str
    not_run: str | None


def write_program(
    bundle: Bundle, *, lang: str, runtime: str | None = None, artifact: str | None = None
) -> Program:
    """The program of `bundle` in `lang` (one of `LANGUAGES`) for `artifact`: the one asked for, else of `runtime`, or
    of what the language can use, the recommended one, another of its precision, or the fastest that passed.

    Raises `BadInput` for a language, a runtime, an artifact or a contract of which no program can be written.
    """
    if lang not in LANGUAGES:
        raise BadInput(f"--lang {lang}: no such language. Choose one of {', '.join(LANGUAGES)}.")
    language = LANGUAGES[lang]
    if runtime is not None and runtime not in language.runtimes:
        raise BadInput(f"--runtime {runtime}: a program in {lang} uses {' or '.join(language.runtimes)}.")
    chosen = _choose(bundle, language, runtime, artifact)
    used = runtime or chosen.runtime
    _check_contract(bundle.preprocess)
    text = fill(
        (_TEMPLATES / f"{lang}.txt").read_text("utf-8"),
        _flags(bundle.preprocess, chosen, used),
        _values(bundle, chosen, lang, used),
    )
    file = "classify.html" if used == WEB else language.file
    return Program(lang, used, chosen.id, file, text, language.not_run)


def _choose(bundle: Bundle, language: Language, runtime: str | None, artifact: str | None) -> Artifact:
    family = "onnxruntime" if runtime == WEB else runtime
    wanted = (family,) if family else language.runtimes
    if artifact is not None:
        chosen = bundle.artifact(artifact)
        if chosen.runtime not in wanted:
            raise BadInput(
                f"--artifact {artifact} runs on {chosen.runtime}, this program on {' or '.join(wanted)}. "
                "Choose another artifact, --lang or --runtime."
            )
        return chosen
    order = [each for each in best_first(bundle, bundle.artifacts) if each.runtime in wanted]
    if not order:
        raise BadInput(_none_of(bundle, wanted))
    recommended = [each.precision for each in bundle.artifacts if each.id == bundle.record.recommended]
    return next((each for each in order if [each.precision] == recommended), order[0])


def _none_of(bundle: Bundle, wanted: tuple[str, ...]) -> str:
    """Why no artifact was chosen, and what to do."""
    runs = "onnxruntime" if WEB in wanted else " or ".join(wanted)
    if failed := [each.id for each in bundle.artifacts if each.runtime in wanted]:
        return (
            f"{', '.join(failed)} of {bundle.root} did not pass at export. Add --artifact {failed[0]} to use it all "
            "the same."
        )
    has = ", ".join(each.id for each in bundle.artifacts)
    others = sorted({each.runtime for each in bundle.artifacts})
    langs = [name for name, each in LANGUAGES.items() if set(each.runtimes) & set(others)]
    slimmed = bundle.record.provenance.slimmed is not None
    return (
        f"this program needs an artifact for {runs}; {bundle.root} has {has}. "
        f"Choose --lang {' or '.join(langs)} with --runtime {' or '.join(others)}, or take "
        + ("the whole bundle, of which this one is a part." if slimmed else "a bundle that has one.")
    )


def _check_contract(contract: Preprocess) -> None:
    """Raises `BadInput` for what the templates do not know: a contract half obeyed is another one."""
    unknown = sorted(set(contract.to_json()) - _CONTRACT)
    if unknown or contract.resize not in _POLICIES:
        raise BadInput(
            f"preprocess.{unknown[0] if unknown else 'resize'}: no program can be written with that. Use edge-tl "
            "predict, or preprocess.apply of the Python API."
        )


def _flags(contract: Preprocess, artifact: Artifact, runtime: str) -> set[str]:
    found = {artifact.runtime, contract.resize}
    found.add("image" if artifact.record.takes_pixels else "tensor")
    if contract.crop is not None:
        found.add("crop")
    if contract.crop is not None or contract.resize == "letterbox":
        found.add("centre")
    if contract.resize != "none":
        found |= {"resample", contract.interpolation}
    if runtime == WEB:
        found.add("web")
    return found


def _values(bundle: Bundle, artifact: Artifact, lang: str, runtime: str) -> dict[str, str]:
    contract, record = bundle.preprocess, artifact.record
    height, width = contract.input_size
    said = LANGUAGES[lang].option
    options = [
        said.format(key=string_literal(key, lang), value=string_literal(value, lang))
        for key, value in (record.session_options or {}).items()
    ]
    # Of a record that older versions write it has no such field.
    pad = getattr(contract, "pad", None) or (0, 0, 0)
    return {
        "title": _title(bundle, artifact, lang, runtime),
        "package": artifact.runtime,
        "provider": '"wasm"' if runtime == WEB else '"cpu"',
        "model": string_literal(record.main, lang),
        "bytes": str(next(file.bytes for file in record.files if file.path == record.main)),
        "labels": list_literal(bundle.record.labels, lang),
        "header": long_literal(_header(bundle), lang),
        "classes": str(len(bundle.labels)),
        "mean": float_literals(contract.mean, lang),
        "std": float_literals(contract.std, lang),
        "pad": ", ".join(map(str, pad)),
        "height": str(height),
        "width": str(width),
        "side": str(contract.resize_size[0]),
        "resize_height": str(contract.resize_size[0]),
        "resize_width": str(contract.resize_size[1]),
        "FILTER": contract.interpolation.upper(),
        "options": (", " if lang == "javascript" else "\n").join(options),
    }


def _header(bundle: Bundle) -> str:
    """The first line of the CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(["file", *bundle.labels])
    return buffer.getvalue()


def _title(bundle: Bundle, artifact: Artifact, lang: str, runtime: str) -> str:
    not_run = LANGUAGES[lang].not_run
    warning = f"NOT RUN BY US: {not_run}. " if not_run else ""
    needs = f" Its CPU must have {' or '.join(artifact.record.requires)}." if artifact.record.requires else ""
    return (
        f"{warning}Classifies images exactly as the bundle {comment(bundle.record.name)} does: {comment(artifact.id)} "
        f"on {runtime}.{needs}"
    )
