"""Thousands of damaged and lying bundles through `read_bundle`, `verify` and `predict`, each in a process of its own.

    .venv/bin/python benchmarks/mutate_bundles.py --count 10000 --out benchmarks/results/mutations.json

What is counted as a fault: a traceback, "unexpected" or another exit code than 0, 1 and 2; a process that dies; more
than 2 s of processor time or 1 GB beyond what the intact bundle takes; a file opened outside the bundle and Python's
own folders, or written, or a process started that is none of ours (by an audit hook); and a lie that passes: see
`mutations`. One mutant in ten goes through the command line, the others through the functions behind it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import mutations
from mutations import ANY, FAILS, MUTATIONS, REFUSED, SEALS, WEIGHTS, Mutant

ROOT = Path(__file__).parents[1]
SECONDS, MEGABYTES, HANGS = 2.0, 1000.0, 60
VERBS = ("read_bundle", "verify", "predict")
_READABLE = (
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/lib",
)


def telling_bundle(root: Path) -> None:
    """The tests' tiny bundle, whose models tell labels and contract in their metadata, as `export` writes them."""
    spec = importlib.util.spec_from_file_location("tiny", ROOT / "tests" / "device" / "conftest.py")
    assert spec
    assert spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.build(root)


def tried(source: Path, image: Path, kind: str, seal: str, seed: int, scratch: Path) -> dict[str, Any]:
    """One mutant through the verbs, in a forked process: `{must, verbs{name: {...}}, faults[]}`."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        try:
            _child(source, image, kind, seal, seed, folder, writer)
        except BaseException:  # the parent's own cleaning up is not for this process
            traceback.print_exc()
            os._exit(3)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        died = _ended(pid)
        said = stream.read()
    shutil.rmtree(folder, ignore_errors=True)
    result: dict[str, Any] = json.loads(said) if said else {"must": ANY, "verbs": {}, "faults": []}
    if died:
        result["faults"].append(died)
    return result


def _ended(pid: int) -> str | None:
    """Why the process ended otherwise than by itself."""
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return f"died with {os.waitstatus_to_exitcode(status)}" if status else None
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return f"hung for {HANGS} s"


def _child(source: Path, image: Path, kind: str, seal: str, seed: int, folder: Path, writer: int) -> None:
    """Make the mutant, watch, try, tell, and leave without what a forked interpreter should not clean up."""
    sys.set_int_max_str_digits(0)  # a number of 5,000 digits must be written before it can be refused
    root = folder / "tiny"
    shutil.copytree(source, root)
    shutil.copytree(source.parent / "secret", folder / "secret")
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    must = mutations.apply(
        kind, Mutant(root, random.Random(seed), json.loads((root / "bundle.json").read_text())), seal
    )
    sys.set_int_max_str_digits(4300)
    os.chdir(folder / "tmp")
    faults: list[str] = []
    watching = _watch(root, folder, faults)
    verbs = {}
    for verb in VERBS:
        start, before = time.process_time() + _children(), _memory("VmRSS")
        answer = (_typed if seed % 10 == 0 else _called)(verb, root, image)
        verbs[verb] = answer | {
            "seconds": time.process_time() + _children() - start,
            "mb": _memory("VmHWM") - before,
        }
    watching[0] = False
    faults += [
        f"imported {module.__name__} from the bundle"
        for module in list(sys.modules.values())
        if str(getattr(module, "__file__", None) or "").startswith(str(folder))
    ]
    os.write(writer, json.dumps({"must": must, "verbs": verbs, "faults": faults}).encode())
    os._exit(0)


def _typed(verb: str, root: Path, image: Path) -> dict[str, Any]:
    """`{code, said, unexpected}` of the command line: the exit code, and the end of what it complained of."""
    from edge_tl.cli import main

    if verb == "read_bundle":
        return _called(verb, root, image)
    err = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            main([verb, str(root), *([str(image)] if verb == "predict" else []), "--json"])
    except SystemExit as stop:
        said = err.getvalue()
        return {"code": stop.code or 0, "said": said[-300:], "unexpected": "unexpected " in said}
    except BaseException:
        return {"code": -1, "said": traceback.format_exc()[-600:], "unexpected": True}
    return {"code": -1, "said": "it did not end", "unexpected": True}


def _called(verb: str, root: Path, image: Path) -> dict[str, Any]:
    """The same of the functions behind the verbs."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.errors import EdgeTLError
    from edge_tl.device.gates import verify

    try:
        if verb == "read_bundle":
            read_bundle(root)
        elif verb == "verify":
            found = verify(read_bundle(root, contract_unproven=True))
            json.dumps(found.to_json(), allow_nan=False)
            return {"code": 0 if found.passed else 1, "said": ""}
        else:
            bundle = read_bundle(root)
            bundle.open().predict(image)
        return {"code": 0, "said": ""}
    except EdgeTLError as error:
        return {"code": 2, "said": str(error)[-300:], "unexpected": "\n" in str(error)}
    except BaseException:
        return {"code": -1, "said": traceback.format_exc()[-600:], "unexpected": True}


def _watch(root: Path, folder: Path, faults: list[str]) -> list[bool]:
    """Note what is opened outside, written, or started. An audit hook cannot be taken away again: the first item of the
    list that is returned switches it."""
    on = [True]
    cache = os.environ["EDGE_TL_CACHE"]  # where models that were once opened well are remembered by hash
    own = [sys.prefix, sys.base_prefix, str(ROOT), str(root), str(folder / "tmp"), cache]
    allowed = tuple(os.path.realpath(path) + os.sep for path in own)

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if not on[0]:
            return
        if event == "open" and isinstance(details[0], str | bytes):
            path, flags = os.path.realpath(os.fsdecode(details[0])), details[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if writes and not path.startswith((str(folder / "tmp"), cache, "/dev/null")):
                faults.append(f"wrote {path}")
            elif not path.startswith(allowed) and path != str(root) and not path.startswith(_READABLE):
                faults.append(f"read {path}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect"):
            faults.append(f"{event} {details}")
        elif event == "subprocess.Popen" and "edge_tl" not in str(details[1]):
            faults.append(f"started {details[1]}")

    sys.addaudithook(hook)
    return on


def _memory(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _warm() -> None:
    """Import here, once, what each fork would import again; open nothing, for a runtime's threads end with a fork."""
    from edge_tl.cli import main as verb
    from edge_tl.device.runtimes import onnxruntime_import, openvino_

    onnxruntime_import.import_onnxruntime()
    openvino_.import_openvino()
    mutations.bomb_image()
    mutations.bomb_archive()
    for words in (["verify", "/absent"], ["predict", "/absent", "/absent"]):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            verb(words)


def faults_of(result: dict[str, Any], intact: dict[str, Any]) -> list[str]:
    """What is wrong with what came of a mutant; empty where nothing is."""
    faults = list(result["faults"])
    for verb, answer in result["verbs"].items():
        own = intact["verbs"][verb]
        if answer["code"] not in (0, 1, 2) or answer.get("unexpected"):
            faults.append(f"{verb} ended with {answer['code']}: {answer['said']}")
        if (seconds := answer["seconds"] - own["seconds"]) > SECONDS:
            faults.append(f"{verb} took {seconds:.1f} s more")
        if (mb := answer["mb"] - own["mb"]) > MEGABYTES:
            faults.append(f"{verb} took {mb:.0f} MB more")
        passed = answer["code"] == 0
        lie = result["must"] == REFUSED or (result["must"] == FAILS and verb == "verify")
        if lie and passed and not (verb == "read_bundle" and result["must"] == FAILS):
            faults.append(f"{verb} passed a lie")
    return faults


def run(count: int, seed: int, minutes: float = 1e9, show: bool = False) -> dict[str, Any]:
    """Try `count` mutants, or as many as fit into `minutes`; the record that is kept."""
    _warm()
    rng = random.Random(seed)
    kinds = [kind for kind in MUTATIONS for _ in range(WEIGHTS.get(kind, 2))]
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    most: dict[str, float] = {"seconds": 0.0, "mb": 0.0}
    wrong: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EDGE_TL_CACHE"] = os.path.join(os.path.realpath(scratch), "cache")
        source = Path(scratch) / "intact" / "tiny"
        # In a process of its own: a runtime's threads do not survive the forks that follow.
        if not (builder := os.fork()):
            telling_bundle(source)
            os._exit(0)
        assert os.waitpid(builder, 0)[1] == 0
        secret = source.parent / "secret"
        secret.mkdir()
        (secret / "file").write_text("secret")
        image = Path(shutil.copy(source / "golden/images/00.jpg", ROOT / ".mutations.jpg"))
        shutil.copy(image, secret / "image.png")
        try:
            intact = tried(source, image, "padded", "none", 3, Path(scratch))
            assert not intact["faults"], intact
            assert all(answer["code"] == 0 for answer in intact["verbs"].values()), intact
            end = time.monotonic() + 60 * minutes
            for number in range(count):
                if time.monotonic() > end:
                    break
                kind, seal = rng.choice(kinds), rng.choice(SEALS)
                draw = rng.randrange(1 << 60)
                result = tried(source, image, kind, seal, draw, Path(scratch))
                faults = faults_of(result, intact)
                codes = {answer["code"] for answer in result["verbs"].values()}
                outcome = (
                    "faults"
                    if faults
                    else "passed"
                    if codes == {0}
                    else "refused"
                    if codes == {2}
                    else "partly"
                )
                rows[kind] += Counter({"mutants": 1, outcome: 1, f"sealed: {seal}": 1})
                for key in most:
                    most[key] = max(most[key], *(answer[key] for answer in result["verbs"].values()), 0.0)
                if faults:
                    wrong.append(
                        {"kind": kind, "seal": seal, "seed": draw, "must": result["must"], "faults": faults}
                    )
                    if show:
                        print(json.dumps(wrong[-1]), flush=True)
                if show and number % 500 == 499:
                    print(f"{number + 1} of {count}, {len(wrong)} with faults", flush=True)
        finally:
            image.unlink()
    return {
        "mutants": sum(row["mutants"] for row in rows.values()),
        "asked": count,
        "seed": seed,
        "with_faults": len(wrong),
        "limits": {
            "seconds": SECONDS,
            "mb": MEGABYTES,
            "beyond": "the intact bundle's",
            "seconds_are": "of the processor",
        },
        "intact": {verb: {key: round(a[key], 2) for key in most} for verb, a in intact["verbs"].items()},
        "most": {key: round(value, 2) for key, value in most.items()},
        "by_kind": {kind: dict(sorted(rows[kind].items())) for kind in sorted(rows)},
        "faults": wrong[:50],
    }


def main() -> None:
    """Run, print the faults, save the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.time()
    result = run(options.count, options.seed, options.minutes, show=True)
    from edge_tl.device.files import write_json
    from edge_tl.device.machine import identity

    if options.out:
        write_json(
            options.out,
            result | {"minutes": round((time.time() - start) / 60, 1), "machine": identity().to_json()},
        )
    print(json.dumps({key: result[key] for key in ("mutants", "with_faults", "most", "intact")}))
    raise SystemExit(bool(result["with_faults"]))


if __name__ == "__main__":
    main()
