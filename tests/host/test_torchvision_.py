"""Models stand without PyTorch's compiler, and with it they are what they were."""

from __future__ import annotations

import subprocess
import sys

import pytest


def said(program: str) -> list[str]:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("first", ["edge_tl.host.runs.checkpoint", "edge_tl.host.training.finetune"])
def test_a_model_stands_without_the_compiler(first: str) -> None:
    program = f"import sys, {first}; print(any(name.startswith('torch._dynamo') for name in sys.modules))"
    assert said(program) == ["False"]


def test_what_needs_the_compiler_has_it() -> None:
    """The question is answered, a module left out of graphs is, the operator runs, and a network is compiled."""
    program = """
import torch
from edge_tl.host.torchvision_ import tv, v2
from torchvision import tv_tensors
from torchvision.ops import roi_align
import sys
module = sys.modules["torchvision.ops.roi_align"]
before = module.is_compile_supported("cpu")
import torch._dynamo
from torch._dynamo.utils import is_compile_supported
print(before == is_compile_supported("cpu"), tv_tensors.wrap._torchdynamo_disable)
print(tuple(roi_align(torch.rand(1, 1, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], 2).shape) == (1, 1, 2, 2))
network = torch.compile(tv.mobilenet_v2().eval(), backend="eager")
print(tuple(network(torch.zeros(1, 3, 32, 32)).shape) == (1, 1000))
"""
    assert said(program) == ["True"] * 4
