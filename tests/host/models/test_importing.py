"""Classifiers trained elsewhere become runs: the same answers, or a refusal that leaves nothing behind."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import sklearn.metrics
import torch
import torchvision
from listening import Listening
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.dataset import Listing, Sample
from edge_tl.host.models import architecture, contracts, importing, weights, zoo
from edge_tl.host.models import match_labels as match_labels_module
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.importing import ImportOptions, import_classifier
from edge_tl.host.models.match_labels import match_labels
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.record import WEIGHTS

SMALL = "mobilenet_v3_small"
SHARED = Path(__file__).parents[4] / "shared"
RunCli = Callable[..., Any]
Write = Callable[[str], str]

POOLED = f"""
from edge_tl.host.models import architecture

def model():
    return architecture.build("{SMALL}", 3, pooled=True)
"""
SQUEEZED = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3)
    def forward(self, x):
        return self.fc(self.pool(x).squeeze())

def model():
    return Net()
"""
LINEAR = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
"""


def asked(data: Path, name: str = SMALL, judged: dict[str, Any] | None = None, **model: Any) -> Recipe:
    """The recipe of `import`; without changes, that of the embedded backbone's pixels."""
    pixels = {"image_size": 64, "interpolation": "bicubic"}
    settings = {"data": {"path": str(data)} | (judged or {}), "model": {"name": name} | pixels | model}
    return Recipe.model_validate(settings)


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    safetensors.torch.save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def lines(path: Path, labels: list[str]) -> Path:
    path.write_text("\n".join(labels) + "\n", encoding="utf-8")
    return path


def refused(path: Path, recipe: Recipe, match: str, **options: Any) -> str:
    """The sentence, of one line; nothing is left where the run would have been."""
    out = path.parent / "refused"
    with pytest.raises(BadInput, match=match) as caught:
        imported(path, recipe, out, **options)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def logits(run: Path, seed: int = 0) -> torch.Tensor:
    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        answers: torch.Tensor = checkpoint.load_run(run)[0](pixels)
    return answers


def imported(*arguments: Any, **options: Any) -> dict[str, Any]:
    """What `import --json` would print."""
    how = {key: options.pop(key) for key in ("labels", "reorder", "match") if key in options}
    return import_classifier(*arguments, options=ImportOptions(**how), **options).to_json()


@pytest.fixture(scope="module")
def state(run: Path) -> dict[str, torch.Tensor]:
    """A whole torchvision classifier with the answers of the shared run, which has no hidden layer:
    hard-swish is the identity on features moved up by 4."""
    own = safetensors.torch.load_file(run / WEIGHTS)
    whole = architecture.build(SMALL, 3).state_dict()
    head, bias = own["classifier.0.weight"], own["classifier.0.bias"]
    width = head.shape[1]
    whole |= {key: value for key, value in own.items() if key.startswith("features.")}
    whole |= {key: torch.zeros_like(value) for key, value in whole.items() if key.startswith("classifier.")}
    whole["classifier.0.weight"][:width] = torch.eye(width)
    whole["classifier.0.bias"][:width] = 4
    whole["classifier.3.weight"][:, :width] = head
    whole["classifier.3.bias"] = bias - 4 * head.sum(dim=1)
    return whole


@pytest.fixture
def whole(state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    return saved(state, tmp_path / "whole.safetensors")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`module(text)` writes a Python module that can be imported, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"of_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.fixture
def linear(module: Write, tmp_path: Path) -> tuple[str, Path]:
    """A small factory and weights that fit it."""
    name = f"factory:{module(LINEAR)}:model"
    return name, saved(architecture.build(name, 3).state_dict(), tmp_path / "linear.pth")


def test_weights_of_a_run_imported_again_give_the_same_run(
    finetuned: dict[str, Any], run: Path, images: Path, module: Write, tmp_path: Path
):
    recipe = asked(images, f"factory:{module(POOLED)}:model")
    result = imported(run / WEIGHTS, recipe, tmp_path / "again")
    assert (result["strategy"], result["classes"]) == ("import", 3)
    for key in ("labels", "n", "skipped", "duplicates"):
        assert result[key] == finetuned[key]
    for key in ("split", "n", "accuracy", "confusion"):
        assert result["metrics"][key] == finetuned["metrics"][key]
    before, after = checkpoint.read_run(run), checkpoint.read_run(tmp_path / "again")
    assert after.preprocess == before.preprocess
    assert after.data.samples == before.data.samples
    assert torch.equal(logits(tmp_path / "again"), logits(run))


def test_weights_of_a_run_whose_images_went_through_something_else_are_named(
    run: Path, images: Path, tmp_path: Path
):
    said: list[str] = []
    recipe = asked(images, interpolation="nearest")
    imported(run / WEIGHTS, recipe, tmp_path / "other", listener=Listening(note=said.append))
    (warning,) = [line for line in said if line.startswith("warning")]
    trained = checkpoint.read_run(run).preprocess
    assert f"trained with: {trained.resize} side" in warning
    assert trained.interpolation in warning

    said.clear()
    shutil.copy(run / WEIGHTS, tmp_path / "alone.safetensors")
    imported(
        tmp_path / "alone.safetensors",
        recipe,
        tmp_path / "other",
        overwrite=True,
        listener=Listening(note=said.append),
    )
    assert not [line for line in said if line.startswith("warning")]


def test_weights_of_a_run_are_taken_under_the_name_of_its_model(run: Path, images: Path, tmp_path: Path):
    result = imported(run / WEIGHTS, asked(images), tmp_path / "again")
    assert torch.equal(logits(tmp_path / "again"), logits(run))
    assert result["labels"] == list(checkpoint.read_run(run).labels)


def test_a_whole_classifier_answers_as_before(
    finetuned: dict[str, Any], run: Path, whole: Path, images: Path, tmp_path: Path
):
    result = imported(whole, asked(images), tmp_path / "run")
    assert result["labels"] == finetuned["labels"]
    assert result["metrics"]["confusion"] == finetuned["metrics"]["confusion"]
    torch.testing.assert_close(logits(tmp_path / "run"), logits(run), rtol=1e-3, atol=1e-3)
    model = torchvision.models.mobilenet_v3_small(num_classes=3).eval()
    model.load_state_dict(safetensors.torch.load_file(whole))
    with torch.inference_mode():
        want = model(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(logits(tmp_path / "run"), want)


def test_the_figures_are_those_of_scikit_learn(state: dict[str, torch.Tensor], images: Path, tmp_path: Path):
    """A worse classifier, so that no figure is 0 or 1, on torchvision's own model and transforms."""
    worse = state | {"classifier.3.bias": state["classifier.3.bias"] + torch.tensor([0.0, 8.0, 0.0])}
    path = saved(worse, tmp_path / "worse.pth")
    result = imported(path, asked(images, judged={"val": 0.2, "test": 0.5}), tmp_path / "run")
    figures = result["metrics"]
    model = torchvision.models.mobilenet_v3_small(num_classes=3).eval()
    model.load_state_dict(worse)
    transform = ImageClassification(crop_size=64, resize_size=64, interpolation=InterpolationMode.BICUBIC)
    record = checkpoint.read_run(tmp_path / "run")
    samples = [entry for entry in record.data.samples.rows if entry[0] == "test"]
    answers = [sorted(result["labels"]).index(Path(entry[3]).parent.name) for entry in samples]
    batch = torch.stack([transform(Image.open(images / entry[3]).convert("RGB")) for entry in samples])
    with torch.inference_mode():
        probabilities = model(batch).softmax(dim=1).double().numpy()
    given = probabilities.argmax(axis=1)
    assert (figures["split"], figures["n"]) == ("test", len(samples))
    assert figures["accuracy"] == sklearn.metrics.accuracy_score(answers, given)
    assert 0.3 < figures["accuracy"] < 1
    assert figures["confusion"] == sklearn.metrics.confusion_matrix(answers, given).tolist()
    f1 = sklearn.metrics.f1_score(answers, given, average="macro")
    assert figures["macro_f1"] == pytest.approx(f1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert figures["log_loss"] == pytest.approx(sklearn.metrics.log_loss(answers, probabilities), rel=1e-3)


@pytest.mark.parametrize("kind", ["module.", "module._orig_mod.", "state_dict", "half"])
def test_files_as_they_were_saved_are_read(
    kind: str, state: dict[str, torch.Tensor], run: Path, images: Path, tmp_path: Path
):
    given: Any = {f"{kind if kind.endswith('.') else ''}{key}": value for key, value in state.items()}
    if kind == "half":
        given = {key: value.half() if value.is_floating_point() else value for key, value in given.items()}
    content: Any = {"state_dict": given, "epoch": 3} if kind == "state_dict" else given
    path = saved(content, tmp_path / "w.pth")
    assert imported(path, asked(images), tmp_path / "run")["metrics"]["accuracy"] > 0.9
    close = 0.2 if kind == "half" else 1e-3
    torch.testing.assert_close(logits(tmp_path / "run"), logits(run), rtol=close, atol=close)
    assert all(v.dtype != torch.half for v in weights.read_state(tmp_path / "run/model.safetensors").values())


def test_without_a_folder_the_run_is_called_after_the_file(
    whole: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert imported(whole, asked(images))["run"] == str(Path("runs", "whole"))
    assert checkpoint.read_run(tmp_path / "runs" / "whole").weights == "whole.safetensors"


def test_an_unfinished_training_is_replaced_only_for_who_asks(
    whole: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    recipe, run = asked(images), Path("runs", "whole")
    run.mkdir(parents=True)
    checkpoint.write_recipe(run, recipe)
    (run / checkpoint.STATE).write_bytes(b"hours of work")
    for out in (run, None):  # what it would be called, too
        with pytest.raises(BadInput, match=r"whole holds an unfinished training.* --resume.*--overwrite"):
            imported(whole, recipe, out)
    assert (run / checkpoint.STATE).read_bytes() == b"hours of work"
    assert sorted(path.name for path in run.iterdir()) == [checkpoint.RECIPE, checkpoint.STATE]
    imported(whole, recipe, run, overwrite=True)
    assert sorted(path.name for path in run.iterdir()) == [WEIGHTS, checkpoint.RECORD]


def test_what_another_finished_meanwhile_is_not_replaced(
    whole: Path, run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluate = importing.image_sets.evaluate

    def slowly(*arguments: Any) -> Any:
        shutil.copytree(run, tmp_path / "run")
        return evaluate(*arguments)

    monkeypatch.setattr(importing.image_sets, "evaluate", slowly)
    with pytest.raises(BadInput, match="another finished run"):
        imported(whole, asked(images), tmp_path / "run")
    assert checkpoint.read_run(tmp_path / "run") == checkpoint.read_run(run)


def test_a_full_disk_leaves_the_run_that_was_to_be_replaced(
    whole: Path, run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(run, tmp_path / "run")
    names = sorted(path.name for path in run.iterdir())

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EdgeTLError, match="No space left"):
            imported(whole, asked(images), tmp_path / "run", overwrite=True)
    assert checkpoint.load_run(tmp_path / "run")[1] == checkpoint.read_run(run)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == names


def test_labels_in_the_order_of_the_folder_change_nothing(
    finetuned: dict[str, Any], whole: Path, images: Path, tmp_path: Path
):
    given = lines(tmp_path / "labels.txt", finetuned["labels"])
    for options in ({}, {"reorder": True}):
        result = imported(whole, asked(images), tmp_path / "run", labels=given, overwrite=True, **options)
        assert result["labels"] == finetuned["labels"]
        assert result["metrics"]["confusion"] == finetuned["metrics"]["confusion"]


def test_a_label_and_its_folder_may_be_of_two_unicode_forms(tmp_path: Path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    found = Listing(tmp_path, [decomposed, "thé"], [Sample("a.png", 0, "x"), Sample("b.png", 1, "y")])
    given = lines(tmp_path / "labels.txt", [composed, "thé"])
    assert match_labels(found, 2, given, reorder=False).labels == [composed, "thé"]
    given = lines(tmp_path / "labels.txt", ["thé", composed])
    assert [s.label for s in match_labels(found, 2, given, reorder=True).samples] == [1, 0]


def test_labels_that_do_not_fit_are_refused(
    finetuned: dict[str, Any], whole: Path, images: Path, tmp_path: Path
):
    first, second, third = finetuned["labels"]
    for given, match in (
        ([first, second], r"the model has 3 outputs, --labels .* has 2 labels"),
        ([first, second, third, "neun"], r"the model has 3 outputs, --labels .* has 4 labels"),
        ([first, second, first], f"'{first}' comes twice"),
        ([], "has 0 labels"),
    ):
        sentence = refused(whole, asked(images), match, labels=lines(tmp_path / "labels.txt", given))
        if "outputs" in match:  # both lists
            assert f"Classes of the folder: {first}, {second}, {third}." in sentence
    for reorder in (False, True):
        path = lines(tmp_path / "labels.txt", [first, "neun", third])
        sentence = refused(whole, asked(images), "is not among the labels", labels=path, reorder=reorder)
        assert f"{first}, neun, {third}" in sentence
        assert ", ".join(finetuned["labels"]) in sentence


def test_a_label_without_images_is_refused(
    finetuned: dict[str, Any], state: dict[str, torch.Tensor], images: Path, tmp_path: Path
):
    more = {
        key: torch.cat([state[key], state[key][:1]]) for key in ("classifier.3.weight", "classifier.3.bias")
    }
    path = saved(state | more, tmp_path / "four.pth")
    given = lines(tmp_path / "labels.txt", [*finetuned["labels"], "neun"])
    refused(path, asked(images), "'neun' has no images", labels=given, reorder=True)
    refused(path, asked(images), "the model has 4 outputs, .* has 3 labels.*--labels FILE")


def test_of_many_classes_those_are_shown_that_differ():
    """Both lists showed their first dozen, which were the same."""
    names = [f"c{i:03d}" for i in range(200)]
    assert match_labels_module._list(names, 100).startswith("…, c100, c101, ")
    assert match_labels_module._list(names, 100).endswith(", … (200)")
    assert match_labels_module._list(names, 195) == "…, c195, c196, c197, c198, c199"
    assert match_labels_module._list(names).startswith("c000, ")
    assert match_labels_module._list(names[:3], 2) == "c000, c001, c002"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfa\n"])
def test_labels_that_cannot_be_read_are_refused(
    content: bytes | None, whole: Path, images: Path, tmp_path: Path
):
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    refused(whole, asked(images), "cannot be read .*one label a line", labels=tmp_path / "labels.txt")


def test_labels_with_a_byte_order_mark_are_read(
    finetuned: dict[str, Any], whole: Path, images: Path, tmp_path: Path
):
    given = tmp_path / "labels.txt"
    given.write_text("\r\n".join(finetuned["labels"]), encoding="utf-8-sig")
    result = imported(whole, asked(images), tmp_path / "run", labels=given)
    assert result["labels"] == finetuned["labels"]


def test_labels_in_another_order_are_matched_by_name_when_asked(
    finetuned: dict[str, Any], state: dict[str, torch.Tensor], images: Path, tmp_path: Path
):
    order = [2, 0, 1]
    moved = {key: state[key][order] for key in ("classifier.3.weight", "classifier.3.bias")}
    path = saved(state | moved, tmp_path / "moved.pth")
    labels = [finetuned["labels"][i] for i in order]
    given = lines(tmp_path / "labels.txt", labels)
    sentence = refused(path, asked(images), "in another order.*add --reorder", labels=given)
    assert f"Labels of the model: {', '.join(labels)};" in sentence
    assert f"classes of the folder: {', '.join(finetuned['labels'])}." in sentence
    result = imported(path, asked(images), tmp_path / "run", labels=given, reorder=True)
    assert result["labels"] == labels
    assert result["metrics"]["accuracy"] == finetuned["metrics"]["accuracy"]
    confusion = np.array(finetuned["metrics"]["confusion"])[np.ix_(order, order)]
    assert result["metrics"]["confusion"] == confusion.tolist()
    _, record = checkpoint.load_run(tmp_path / "run")
    assert list(record.labels) == labels
    assert all(Path(entry[3]).parent.name == labels[entry[1]] for entry in record.data.samples.rows)
    # Without the file every answer is one class off, and the figures say so.
    wrong = imported(path, asked(images), tmp_path / "wrong")
    assert wrong["metrics"]["accuracy"] < 0.2


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_weights_of_another_model_are_refused_and_the_right_one_is_named(
    name: str, images: Path, tmp_path: Path
):
    other = "mobilenet_v2" if name == "efficientnet_b0" else "efficientnet_b0"
    path = saved(architecture.build(other, 3).state_dict(), tmp_path / "w.pth")
    sentence = refused(path, asked(images, name), rf"not {name}: .* more\. It fits --model {other}\.")
    assert str(path) in sentence
    assert weights.fitting_model(weights.read_state(path)) == other


def test_weights_of_no_model_in_the_table_are_refused(
    linear: tuple[str, Path], whole: Path, images: Path, tmp_path: Path
):
    name, path = linear
    refused(path, asked(images), r"no classifier\.3\.weight, the head of mobilenet_v3_small")
    refused(whole, asked(images, name), rf"not {name}: .* It fits --model {SMALL}\.")
    foreign = saved({"2.weight": torch.zeros(3, 49), "2.bias": torch.zeros(3)}, tmp_path / "foreign.pth")
    refused(
        foreign, asked(images, name), r"2\.weight is \(3, 49\), the architecture's \(3, 48\)\. Give the arch"
    )


def test_weights_without_their_head_are_refused(state: dict[str, torch.Tensor], images: Path, tmp_path: Path):
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    path = saved(features, tmp_path / "features.safetensors")
    refused(path, asked(images), r"no classifier\.3\.weight, the head of .*whole classifier")


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_squeezenet_is_refused(name: str, whole: Path, images: Path):
    refused(whole, asked(images, name), rf"--model {name}: .*ReLU.*--factory")


def test_unknown_models_absent_files_and_small_images_are_refused(whole: Path, images: Path, tmp_path: Path):
    refused(whole, asked(images, "resnet"), "unknown model 'resnet'")
    refused(whole, asked(images, "inception_v3"), "image size 64: inception_v3 needs at least 75")
    refused(tmp_path / "absent.pth", asked(images), "absent.pth: no such file")
    refused(whole, asked(tmp_path / "absent"), "no such folder")
    (tmp_path / "broken.pth").write_bytes(b"text")
    refused(tmp_path / "broken.pth", asked(images), "not a readable weights file")


def test_data_without_an_image_to_judge_is_refused(whole: Path, images: Path):
    refused(whole, asked(images, judged={"on_bad_image": "fail"}), r"bad image: .*broken\.png")


def test_a_folder_of_something_else_is_left_as_it_is(whole: Path, images: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"holds 'notes\.txt', which edge-tl did not write"):
        imported(whole, asked(images), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_bad_input_leaves_an_earlier_run_whole(whole: Path, images: Path, tmp_path: Path):
    imported(whole, asked(images), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    few = lines(tmp_path / "labels.txt", ["a", "b"])
    with pytest.raises(BadInput, match="has 2 labels"):
        imported(whole, asked(images), tmp_path / "run", labels=few, overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_weights_whose_answers_are_not_numbers_leave_nothing(
    state: dict[str, torch.Tensor], images: Path, tmp_path: Path
):
    for value, words in ((torch.nan, "NaN"), (torch.inf, "infinity")):
        path = saved(state | {"classifier.3.bias": torch.full((3,), value)}, tmp_path / "wrong.pth")
        refused(path, asked(images), rf"wrong\.pth: classifier\.3\.bias holds {words} \(3 of 3 values\)")
    path = saved(state | {"classifier.3.weight": state["classifier.3.weight"] * 1e38}, tmp_path / "huge.pth")
    refused(path, asked(images), "answers are not numbers")


@pytest.mark.parametrize("name", [SMALL, "inception_v3"])
def test_the_advice_is_never_the_model_that_was_refused(name: str, images: Path, tmp_path: Path):
    """A counter of AveragedModel's beside the weights; Inception without its second head."""
    given = architecture.build(name, 3).state_dict() | (
        {"n_averaged": torch.tensor(3)} if name == SMALL else {}
    )
    kept = {key: value for key, value in given.items() if not key.startswith("AuxLogits.")}
    path = saved(kept, tmp_path / "w.pth")
    told = ""
    try:
        imported(path, asked(images, name, image_size=75), tmp_path / "run")
    except BadInput as error:
        told = str(error)
    assert f"It fits --model {name}." not in told


def test_an_absent_file_is_not_called_an_option_of_another_verb(images: Path, tmp_path: Path):
    sentence = refused(tmp_path / "imagenet", asked(images), "no such file")
    assert "embedded" not in sentence


def test_the_image_size_alone_means_no_margin(whole: Path, images: Path, tmp_path: Path):
    for model, want in (
        ({}, ("shorter", [64, 64], [64, 64])),
        ({"resize_size": 72}, ("shorter", [72, 72], [64, 64])),
        ({"resize": "exact"}, ("exact", [64, 64], None)),
    ):
        imported(whole, asked(images, **model), tmp_path / "run", overwrite=True)
        got = checkpoint.read_run(tmp_path / "run").preprocess.to_json()
        assert (got["resize"], got["resize_size"], got["crop"]) == want


def test_without_an_image_size_the_published_transforms_are_taken(whole: Path, images: Path, tmp_path: Path):
    recipe = asked(images, image_size=None, interpolation=None)
    notes: list[str] = []
    imported(whole, recipe, tmp_path / "run", listener=Listening(note=notes.append))
    got = checkpoint.read_run(tmp_path / "run").preprocess
    assert got == weights.default_contract(SMALL)
    picture = Image.open(next(p for p in sorted(images.rglob("*.png")) if p.name != "broken.png"))
    transforms = zoo.zoo_entry(SMALL).contract.transforms()
    np.testing.assert_array_equal(got.apply(picture), transforms(picture.convert("RGB")).numpy())
    notes = [line for line in notes if not line.startswith("left out")]  # the fixture holds a broken file
    assert len(notes) == 1
    for words in ("256", "224x224", "bilinear", "0.485/0.456/0.406", "--set model.resize_size"):
        assert words in notes[0]


def test_the_data_sets_own_normalization_is_obeyed_or_refused(whole: Path, images: Path, tmp_path: Path):
    try:
        imported(whole, asked(images, normalize="dataset"), tmp_path / "run")
    except BadInput:
        return
    assert checkpoint.read_run(tmp_path / "run").preprocess.to_json()["mean"] != list(Preprocess().mean)


def test_changed_replaces_what_is_given_and_keeps_the_rest():
    published = contracts.default_contract("resnet50")
    assert contracts.changed_contract(published, ContractChanges()) == published
    assert (
        contracts.changed_contract(published, ContractChanges(image_size=None, resize_size=None, mean=None))
        == published
    )
    small = contracts.changed_contract(published, ContractChanges(image_size=112))
    assert (small.resize_size, small.crop) == ((128, 128), (112, 112))  # in proportion
    none = contracts.changed_contract(published, ContractChanges(image_size=112, resize_size=112))
    assert (none.resize_size, none.crop) == ((112, 112), (112, 112))
    assert contracts.changed_contract(published, ContractChanges(resize_size=230)).resize_size == (230, 230)
    assert contracts.changed_contract(published, ContractChanges(resize_size=230)).crop == published.crop
    squeezed = contracts.changed_contract(
        published, ContractChanges(image_size=96, resize_size=120, resize="exact")
    )
    assert (squeezed.resize, squeezed.resize_size, squeezed.crop) == ("exact", (96, 96), None)
    got = contracts.changed_contract(
        published, ContractChanges(mean=(0.0, 0.1, 0.2), std=(1.0, 2.0, 3.0), interpolation="lanczos")
    )
    assert (got.mean, got.std, got.interpolation) == ((0.0, 0.1, 0.2), (1.0, 2.0, 3.0), "lanczos")
    assert published == contracts.default_contract("resnet50")


def test_assumed_is_the_first_published_transforms_or_the_usual_ones():
    for name in ("resnet50", SMALL, "efficientnet_b1"):
        published: Any = type(zoo.zoo_entry(name).imagenet)
        first = next(iter(published)).transforms()
        got = contracts.default_contract(name)
        assert (got.resize_size[0], got.input_size[0]) == (first.resize_size[0], first.crop_size[0])
        assert (got.interpolation, list(got.mean)) == (first.interpolation.value, first.mean)
    assert contracts.default_contract("factory:any.thing:at_all") == Preprocess()
    with pytest.raises(BadInput, match="unknown model 'resnet'"):
        contracts.default_contract("resnet")


def test_a_factory_of_the_working_folder_is_found_and_needed_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "nets.py").write_text(LINEAR)
    name = "factory:beside.nets:model"
    path = saved(architecture.build(name, 3).state_dict(), tmp_path / "w.pth")
    result = imported(path, asked(images, name), tmp_path / "run")
    assert (result["model"], result["classes"]) == (name, 3)
    want = architecture.build(name, 99)  # the function decides how many classes
    with torch.inference_mode():
        pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        assert torch.equal(logits(tmp_path / "run"), want(pixels))
    assert not want.training
    for known in ("beside", "beside.nets"):
        del sys.modules[known]
    (tmp_path / "beside" / "nets.py").unlink()
    with pytest.raises(BadInput, match=r"beside\.nets:model: ModuleNotFoundError"):
        checkpoint.load_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("function", "match"),
    [
        ("fails", r":fails: ValueError: no weights here\. Correct the factory\."),
        ("number", r":number: returned a int, not a torch\.nn\.Module"),
        ("kind", r":kind: returned a type, not a torch\.nn\.Module"),
        ("needs", r":needs: TypeError: .*missing 1 required"),
        ("mdoel", r":mdoel: AttributeError: .*mdoel"),
        ("", r"write it as package\.module:function"),
    ],
)
def test_factories_that_give_no_module_are_refused(
    function: str, match: str, whole: Path, images: Path, module: Write
):
    name = module(
        "from torch import nn\n"
        "def fails(): raise ValueError('no weights here')\n"
        "def number(): return 3\n"
        "def kind(): return nn.Linear\n"
        "def needs(classes): return nn.Linear(3, classes)\n"
    )
    refused(whole, asked(images, f"factory:{name}:{function}"), match)


@pytest.mark.parametrize("name", ["nets", ":model", "absent_nets:model", ".nets:model", "a..b:model"])
def test_factories_that_are_misspelled_are_refused(name: str, whole: Path, images: Path):
    refused(whole, asked(images, f"factory:{name}"), r"(package\.module:function|Correct the factory)\.$")


def test_a_module_that_is_not_python_is_refused(whole: Path, images: Path, module: Write):
    name = f"factory:{module('def model(:')}:model"
    refused(whole, asked(images, name), "SyntaxError")


def test_a_factory_that_raises_two_lines_is_refused_in_one(whole: Path, images: Path, module: Write):
    name = module("def model(): raise ValueError('one\\ntwo')")
    refused(whole, asked(images, f"factory:{name}:model"), "ValueError: one")


@pytest.mark.parametrize(
    ("last", "shape"),
    [
        ("nn.Unflatten(1, (3, 16))", r"\(2, 3, 16\)"),
        ("nn.Flatten(0)", r"\(96,\)"),
        ("Pair()", "tuple"),
    ],
)
def test_answers_that_are_no_logits_are_refused(
    last: str, shape: str, images: Path, module: Write, tmp_path: Path
):
    name = module(
        "from torch import nn\n"
        "class Pair(nn.Module):\n"
        "    def forward(self, x): return x, x\n"
        f"def model(): return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), {last})\n"
    )
    path = saved({}, tmp_path / "w.pth")
    match = f"gives {shape} for two images; .*\\(2, classes\\)"
    refused(path, asked(images, f"factory:{name}:model"), match)


@pytest.mark.parametrize("first", ["nn.Flatten(), nn.Linear(3072, 48)", "nn.Conv2d(1, 48, 1), nn.Flatten()"])
def test_a_model_of_other_images_is_refused(first: str, images: Path, module: Write, tmp_path: Path):
    """Made for 32 pixels, and for one channel."""
    name = (
        f"factory:{module(f'from torch import nn{chr(10)}def model(): return nn.Sequential({first})')}:model"
    )
    path = saved(architecture.build(name, 3).state_dict(), tmp_path / "w.pth")
    refused(path, asked(images, name), "image")


def test_a_model_with_shared_tensors_becomes_a_run_or_is_refused(images: Path, module: Write, tmp_path: Path):
    name = module(
        "from torch import nn\n"
        "class Tied(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())\n"
        "        self.head = self.again = nn.Linear(48, 3)\n"
        "    def forward(self, x): return self.head(self.pool(x))\n"
    )
    recipe = asked(images, f"factory:{name}:Tied")
    path = saved(architecture.build(f"factory:{name}:Tied", 3).state_dict(), tmp_path / "w.pth")
    try:
        imported(path, recipe, tmp_path / "run")
        checkpoint.load_run(tmp_path / "run")
    except BadInput:
        assert not (tmp_path / "run").exists()


def test_finetune_takes_no_factory(linear: tuple[str, Path]):
    name, path = linear
    for source in (str(path), "none", "imagenet", "embedded"):
        with pytest.raises(BadInput):
            weights.open_pretrained(name, source)


def test_the_verb_prints_the_object_of_finetune(
    run_cli: RunCli, finetuned: dict[str, Any], whole: Path, images: Path, tmp_path: Path
):
    options = ["--data", images, "--model", SMALL, "--image-size", 64, "--seed", 3, "--out", "r"]
    sets = ["model.interpolation=bicubic", "model.mean=[0.4, 0.5, 0.6]", "model.std=[0.1, 0.2, 0.3]"]
    words = [word for value in sets for word in ("--set", value)]
    done = run_cli("import", whole, *options, *words, "--json")
    assert done.code == 0, done.err
    assert set(done.json) == set(finetuned)
    assert set(done.json["metrics"]) == set(finetuned["metrics"])
    assert set(done.json["seconds"]) == set(finetuned["seconds"])
    assert done.json["run"] == "r"
    assert "next: edge-tl export r --int8" in done.err
    _, record = checkpoint.load_run(tmp_path / "r")
    got = record.preprocess
    assert (got.interpolation, got.mean, got.std) == ("bicubic", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert record.provenance.recipe["seed"] == 3
    assert record.provenance.recipe["model"]["weights"] == str(whole)


def test_the_verb_without_json_prints_the_figures(run_cli: RunCli, whole: Path, images: Path, tmp_path: Path):
    options = ["--model", SMALL, "--image-size", 64, "--set", "model.interpolation=bicubic"]
    done = run_cli("import", whole, "--data", images, *options)
    assert done.code == 0, done.err
    metrics = checkpoint.read_run(tmp_path / "runs" / "whole").metrics
    assert f"accuracy {metrics.accuracy:.4f}" in done.out
    assert "on the 18 images of test" in done.out
    reported = run_cli("report", "runs/whole", "--json")
    assert reported.code == 0, reported.err
    assert "whole" in Path(reported.json["markdown"]).read_text(encoding="utf-8")


def test_the_verb_takes_a_factory(run_cli: RunCli, linear: tuple[str, Path], images: Path, tmp_path: Path):
    name, path = linear
    done = run_cli("import", path, "--data", images, "--factory", name.removeprefix("factory:"), "--json")
    assert done.code == 0, done.err
    assert done.json["model"] == name
    assert checkpoint.read_run(tmp_path / "runs/linear").preprocess.to_json()["crop"] == [224, 224]


@pytest.mark.parametrize("options", [[], ["--model", SMALL, "--factory", "nets:model"]])
def test_the_architecture_is_asked_for_once(
    options: list[str], run_cli: RunCli, whole: Path, images: Path, tmp_path: Path
):
    done = run_cli("import", whole, "--data", images, *options, "--json")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == "error: give the architecture: either --model NAME or --factory package.module:function.\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "mobilenet_v2"], "no classifier.1.weight"),
        (["--model", SMALL, "--image-size", "16"], "--image-size=16"),
        (["--model", SMALL, "--labels", "absent.txt"], "--labels absent.txt: cannot be read"),
        (["--model", SMALL, "--set", "model.std=[0, 1, 1]"], "model.std"),
        (["--factory", "nets"], "package.module:function"),
    ],
)
def test_the_verb_refuses_in_one_sentence(
    options: list[str], words: str, run_cli: RunCli, whole: Path, images: Path, tmp_path: Path
):
    done = run_cli("import", whole, "--data", images, *options, "--json")
    assert (done.code, done.out) == (2, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "unexpected" not in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_shared_classifier_of_200_classes_is_as_good_as_it_was(tmp_path: Path):
    path = SHARED / "weights" / "mobilenet_v3_small-tiny64.safetensors"
    archive = SHARED / "data" / "tiny64.tar.gz"
    for needed in (path, archive):
        if not needed.is_file():
            pytest.skip(f"{needed} is not here: it is shared material, not part of the repository")
    taken: Counter[tuple[str, str]] = Counter()
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if not member.isfile() or len(parts) != 4 or taken[parts[1:3]] >= 5:
                continue
            taken[parts[1:3]] += 1
            target = tmp_path.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            target.write_bytes(content.read())
    recipe = asked(tmp_path / "tiny64", interpolation=None)
    result = imported(path, recipe, tmp_path / "run")
    assert result["n"] == {"train": 1000, "val": 1000, "test": 0}
    assert (result["classes"], result["metrics"]["split"]) == (200, "val")
    assert result["metrics"]["accuracy"] > 0.25
    assert result["metrics"]["top5"] > result["metrics"]["accuracy"]
    model, record = checkpoint.load_run(tmp_path / "run")
    assert list(record.labels) == sorted(record.labels)
    assert nn.utils.parameters_to_vector(model.parameters()).isfinite().all()


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused_by_name(
    kind: torch.dtype, state: dict[str, torch.Tensor], images: Path, tmp_path: Path
):
    """They used to be converted without a word: an int8 code is not a weight."""
    given = state["features.0.0.weight"]
    path = saved(state | {"features.0.0.weight": (given * 100).to(kind)}, tmp_path / "w.pth")
    refused(path, asked(images), rf"features\.0\.0\.weight is {str(kind).removeprefix('torch.')}")


def test_names_of_another_implementation_are_matched_by_order_when_asked(
    whole: Path, state: dict[str, torch.Tensor], images: Path, tmp_path: Path
):
    """The same tensors in the same order, as EfficientNet's two implementations have them; counters left out."""
    theirs = {f"_blocks.{i}": t for i, t in enumerate(t for k, t in state.items() if t.ndim)}
    path = saved(theirs, tmp_path / "theirs.pth")
    told = refused(
        path, asked(images), r"the same \d+ shapes in the same order: _blocks\.0 is features\.0\.0\.weight"
    )
    assert "add --match order" in told
    said: list[str] = []
    imported(path, asked(images), tmp_path / "run", match="order", listener=Listening(note=said.append))
    imported(whole, asked(images), tmp_path / "named")
    assert torch.equal(logits(tmp_path / "run"), logits(tmp_path / "named"))
    assert any("_blocks.0 is features.0.0.weight" in line and "compare the accuracy" in line for line in said)
    matched = checkpoint.read_run(tmp_path / "run").matched
    assert matched is not None
    assert matched["_blocks.0"] == "features.0.0.weight"

    turned = saved(dict(reversed(theirs.items())), tmp_path / "turned.pth")
    for given, how, words in (
        (whole, "order", "--match order: .*have its names already"),
        (path, "sideways", "--match sideways: choose name or order"),
        (turned, "order", r"no classifier\.3\.weight"),
    ):
        with pytest.raises(BadInput, match=words):
            imported(given, asked(images), tmp_path / "none", match=how)
        assert not (tmp_path / "none").exists()


def test_a_network_that_loses_the_batch_axis_is_refused_at_import(
    module: Write, images: Path, tmp_path: Path
):
    name = f"factory:{module(SQUEEZED)}:model"
    path = saved(architecture.build(name, 3).state_dict(), tmp_path / "w.pth")
    refused(path, asked(images, name), r"squeeze at .*\.py:\d+ `.*squeeze.*` loses the batch axis")
