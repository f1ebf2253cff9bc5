"""Every field of a recipe, with its type, range and default. Reads no file and knows no PyTorch.

A default of null means that the value is decided by something named in the field's docstring.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from edge_tl.device.names import fault_of_name


def _can_be_a_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a null character, which no path can")
    return text


PathText = Annotated[str, AfterValidator(_can_be_a_path)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Amount = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=32, le=1024)]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[int, Field(ge=0, le=255)]


def _one_word(policy: object) -> object:
    return "exact" if policy == "squash" else policy


PolicyName = Literal["shorter", "exact", "letterbox", "five-crop"]
ResizePolicy = Annotated[PolicyName, BeforeValidator(_one_word)]


FACTORY = "factory:"
"""What a model's name begins with that a function of the user's own builds; such a name comes from the command line
alone, never from a recipe, a run or a bundle, because it is code that would run."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Where the images are and how they are split when they do not say themselves."""

    path: PathText | None = None
    """A folder with one sub-folder per class, or with train/ and val/ (and test/) that hold them; a .csv or .tsv
    list of files and labels; WebDataset shards: a folder of .tar files, or a pattern like data-{000..041}.tar."""
    val: Fraction = 0.15
    """Fraction of each class kept for choosing (regularization, the best epoch), when there is no val split."""
    test: Fraction = 0.15
    """Fraction of each class kept for the final figures, when the data is not split at all."""
    group_by: str | None = None
    """A regular expression searched in each image's path; images with the same match (its first group, if it has
    one) are of one scene and stay in one split."""
    folds: Annotated[int, Field(ge=2, le=50)] | None = None
    """Stratified k-fold cross-validation over everything but the test split, beside the final run."""
    limit: Count | None = None
    """At most this many training images a class, for a quick comparison; validation and test stay whole."""
    on_bad_image: Literal["skip", "fail"] = "skip"
    max_pixels: Annotated[int, Field(ge=1, le=2**30)] | None = None
    """The most pixels of an image file; 89,478,485 when null, beyond which a file may be made to fill the memory. Raise
    it for photographs that you trust."""

    @field_validator("group_by")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(
                f"no regular expression ({error}); what stands for itself needs a backslash: {re.escape(value or '')}"
            ) from None
        return value


class ModelSettings(_Section):
    """What is fine-tuned, from where."""

    name: str = "mobilenet_v2"
    """A name of the zoo (`edge-tl models`), or timm:NAME with the extra of that name."""
    weights: PathText = "imagenet"
    """imagenet (downloaded), embedded (in the package), none, or a path to .safetensors or .pth."""
    image_size: Pixels | None = None
    """Side of the model's input in pixels; the weights' own when null."""
    resize: ResizePolicy = "shorter"
    """shorter: keep the aspect and crop the centre; exact, or squash: squeeze the whole image into the square;
    letterbox: keep the aspect and the whole image, with bars; five-crop: the mean of four corners and the centre of the
    resized image's own centre, five times the work."""
    pad: tuple[Level, Level, Level] | None = None
    """Colour of a letterbox's bars, 8-bit levels R, G, B; the mean colour of the weights' own images when null."""
    resize_size: Pixels | None = None
    """Shorter side in pixels before the centre, or five parts, are cut out; in proportion to the weights' own when
    null."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    """Of the resize; the weights' own when null."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel (R, G, B), in units of the full range; the weights' own when null."""
    std: tuple[Positive, Positive, Positive] | None = None
    """What each channel is then divided by; the weights' own when null."""
    normalize: Literal["weights", "dataset"] = "weights"
    """Mean and standard deviation per channel: what the weights were trained with, or this data set's own."""

    @field_validator("pad")
    @classmethod
    def _pads_a_letterbox(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("resize") != "letterbox":
            raise ValueError("is the colour of a letterbox: it needs model.resize=letterbox")
        return value


class Head(_Section):
    """The classifier on the features: one linear layer, or hidden layers before it."""

    hidden: Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(max_length=16)] = []
    """Widths of hidden layers with ReLU and dropout, e.g. [128]; empty for a linear head."""
    dropout: Fraction = 0.2
    """After each hidden layer; a linear head has none of its own."""
    C: Annotated[list[Positive], Field(min_length=1, max_length=100)] = [
        1e-4,
        3e-4,
        1e-3,
        3e-3,
        1e-2,
        3e-2,
        1e-1,
        1.0,
    ]
    """Inverse strengths of the L2 penalty to try on a linear head; validation accuracy picks one."""
    max_iter: Count = 500
    epochs: Count = 60
    """Passes over the cached features for a head with hidden layers."""


class Train(_Section):
    """How the backbone is fine-tuned; `head` trains no backbone and uses none of this but `strategy` and `balance`."""

    strategy: Literal["auto", "head", "partial", "full", "lp-ft", "gradual"] = "auto"
    epochs: Count | None = None
    """Passes over the images; what the strategy needs when null. The head is solved to convergence and takes none."""
    blocks: Annotated[int, Field(ge=0)] = 4
    """How many of the last blocks `partial`, and the first stage of `gradual`, train; 0 trains the head alone, on
    augmented images, with the backbone frozen."""
    batch_size: Count = 32
    """Images per step, over all processes."""
    micro_batch: Count | None = None
    """Images that go through the model at once; halved by itself when memory runs out. batch_size when null. With
    `batch_norm: train` statistics are those of a micro-batch."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: Positive | None = None
    """Peak learning rate of the last block; the optimizer's own default when null."""
    head_lr: Positive | None = None
    """Peak learning rate of the head; a multiple of `lr` when null."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Each block before the last learns this much slower than the next; the strategy's own when null."""
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Of weights, never of biases and normalization; the optimizer's own default when null."""
    schedule: Literal["cosine", "one-cycle", "constant"] = "one-cycle"
    warmup: Fraction = 0.1
    """Fraction of the steps over which the rate rises from almost zero."""
    label_smoothing: Fraction = 0.05
    clip_norm: Positive | None = 5.0
    ema: Fraction = 0.99
    """Decay of the exponential moving average of the weights that is evaluated and kept, less in a training of fewer
    than 500 steps; 0 for none, as where the backbone starts at random."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """Stop after this many epochs of the last stage in which neither validation accuracy nor loss became better:
    half of them, at least 4, when null; 0 trains them all."""
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    """Statistics of blocks that are trained: the weights' own, or estimated anew; auto keeps the weights' own where
    few images would estimate them. Frozen blocks always keep theirs."""
    image_sizes: Annotated[list[Pixels], Field(max_length=100)] | None = None
    """Training sizes in pixels, in equal shares of the epochs, e.g. [128, 160]; smaller than the model's input is
    faster and, with random crops, often better (Touvron et al., 2019). The strategy's own when null."""
    balance: Literal["none", "weights", "sampler"] = "none"
    """Class imbalance: weigh the loss by inverse class frequency, or draw every class equally often."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 autocast; auto: on a GPU that has it, and on a CPU that has it where the first batch is faster in it. The
    weights and their evaluation stay in fp32."""
    compile: bool = False
    """torch.compile: slow to start, faster after."""
    workers: Annotated[int, Field(ge=0, le=128)] | None = None
    """Processes that augment; the allowed cores when null."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60
    """How much work a kill may cost. The end of every epoch is kept in any case."""
    compare_resize: bool = False
    """Measure every other resize policy too, by a head solved on its frozen features: a pass over the images each, and
    of five crops five. It changes nothing of what is trained."""
    deterministic: bool = False
    """On a GPU: bitwise the same weights from the same recipe, at some cost. On a CPU they are in any case."""
    tensorboard: bool = False
    """Write event files to the run's folder `tensorboard`; needs the extra of that name."""


class Augment(_Section):
    """What happens to training images, through torchvision.transforms.v2. Null fields come from the preset."""

    preset: Literal["none", "light", "medium", "strong"] = "light"
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """RandomResizedCrop: smallest fraction of the image's area; 1: none, the image is framed as on the device."""
    flip: Amount | None = None
    """Probability of a left-right flip; 0 where left and right differ in meaning."""
    vertical_flip: Amount | None = None
    rotation: Degrees | None = None
    """Largest rotation either way, in degrees."""
    shear: Degrees | None = None
    zoom: Fraction | None = None
    """Random zoom by a factor in [1 - zoom, 1 + zoom]."""
    brightness: Amount | None = None
    contrast: Amount | None = None
    saturation: Amount | None = None
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    policy: Literal["none", "randaugment", "trivialaugment"] | None = None
    erasing: Amount | None = None
    """Probability of erasing a rectangle."""
    mixup: Annotated[float, Field(ge=0)] | None = None
    """Alpha of MixUp; 0 for none. With CutMix as well, each batch gets one of the two."""
    cutmix: Annotated[float, Field(ge=0)] | None = None


class Export(_Section):
    """What `export` makes and which limits it has to keep."""

    int8: bool = False
    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Largest accuracy drop from PyTorch, in percentage points: 0.5 means from 87.0 % to 86.5 %."""
    calibration_images: Count = 300
    selection_images: Count = 2000
    """Images on which INT8 candidates are compared: validation images where there is a test split, else training images
    that calibrate nothing. Small images come in larger numbers, for the same work."""
    ladder: Annotated[int, Field(ge=1, le=5)] = 5
    """The last rung that INT8 may climb to, see `edge_tl.host.int8.ladder`."""
    max_float: Fraction = 0.15
    """Largest fraction of the multiply-accumulates that the ladder's third rung may leave in float."""
    time_budget_s: Positive | None = None
    """Seconds that one runtime's ladder may take; the candidate at hand is finished."""
    target_cpu: Literal["any", "native", "avx2", "vnni", "arm"] = "any"
    """What INT8 is made for: any is every CPU, natively and under each lesser instruction set that this one can be
    capped to; native is this machine; avx2 is any x86 without VNNI, whose kernels saturate."""
    device_profile: Literal["any", "tensorrt"] = "any"
    """tensorrt: the INT8 ONNX file has activations with zero points of 0, which are all that TensorRT takes. They give
    up half of the codes after a ReLU, and the file is slow on a CPU."""
    input: Literal["tensor", "image", "both"] = "tensor"
    """image: artifacts that take raw pixels, uint8 `(1, H, W, 3)` of any size, and give probabilities; both: those
    beside the ones on tensors, of which one is recommended."""
    precisions: list[Literal["fp16", "w8"]] = []
    """Further artifacts of both runtimes: fp16 for GPUs and NPUs; w8, weights in 8 bits and arithmetic in float, for
    size."""
    temperature: bool = True
    """Divide logits so that probabilities come true on validation images, each artifact's by its own temperature."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A probability below which an application rejects the answer: how many images pass it, before and after."""
    max_p95_ms: Positive | None = None
    """Budget of the recommendation: the 95th percentile of one image's latency on this machine."""
    max_size_mb: Positive | None = None
    """Budget of the recommendation: an artifact's files, in units of 10^6 bytes."""
    golden_images: Annotated[int, Field(ge=4, le=256)] = 32
    """Images that the bundle is proven with on a device; at least 32 are made, one of every kind of file among them."""


class Recipe(_Section):
    """Everything a run depends on."""

    name: str | None = None
    """Of the run and its bundle, which become folders of that name; from data, model and strategy when null."""
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data = Data()
    model: ModelSettings = ModelSettings()
    head: Head = Head()
    train: Train = Train()
    augment: Augment = Augment()
    export: Export = Export()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str | None) -> str | None:
        if value is not None and (fault := fault_of_name(value)):
            raise ValueError(f"cannot name a folder: {fault}")
        return value
