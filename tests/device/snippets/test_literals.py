"""No label and no file name says anything in a program but itself."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from snippet_programs import tool

from edge_tl.device.snippets.literals import (
    comment,
    float_literals,
    list_literal,
    long_literal,
    string_literal,
)

HOSTILE = [
    '"; system("touch injected"); //',
    "'); process.exit(7); ('",
    "${process.exit(7)} `x` #{1} {0} {name} %s %n @@title@@",
    "\\u0022; System.exit(7); // \\",
    "\\\\u0022 \\",
    "??/ ??' ??( trigraphs",
    "</script><script>alert(1)</script><!-- ]]>",
    "a\nb\r\tc\0d\x1b[2J \u2028\u2029 \x7f\x85",
    "7\u00e97 \u4e2d\u6587 \U0001f33b9 \u05d0 \ufeff",
    '*/ int x; /* # -- \'\'\' """ r#"',
    "1234567",
    "",
]
JOINED = "|".join(HOSTILE)


@pytest.mark.parametrize("lang", ["python", "cpp", "javascript", "java", "csharp", "rust"])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_literal_holds_letters_digits_and_escapes_only(lang: str, text: str) -> None:
    literal = string_literal(text, lang)
    assert literal.isascii()
    assert literal.isprintable()
    assert literal[0] == literal[-1] == '"'
    assert not set(literal[1:-1]) & set("\"'`$<>;*#%@!?&|")
    if lang != "rust":
        assert not set(literal[1:-1]) & set("{}")


def test_python_reads_back_what_was_meant() -> None:
    assert [ast.literal_eval(string_literal(text, "python")) for text in HOSTILE] == HOSTILE
    assert ast.literal_eval(f"[\n{list_literal(tuple(HOSTILE), 'python')}\n]") == HOSTILE


def test_javascript_reads_back_what_was_meant() -> None:
    program = f"console.log(JSON.stringify([{long_literal(JOINED, 'javascript')}]))"
    assert printed([tool("node"), "-e", program]) == [JOINED]


@pytest.mark.slow
def test_cpp_reads_back_what_was_meant(tmp_path: Path) -> None:
    source = tmp_path / "x.cpp"
    whole = long_literal(JOINED, "cpp")
    source.write_text(
        f"#include <cstdio>\nstatic const char text[] = {whole};\n"
        "int main() { std::fwrite(text, 1, sizeof text - 1, stdout); }"
    )
    for flags in (["-std=c++17"], ["-std=c++17", "-trigraphs"]):
        subprocess.run([tool("g++"), *flags, str(source), "-o", str(tmp_path / "x")], check=True)
        assert subprocess.check_output([str(tmp_path / "x")]).decode() == JOINED


@pytest.mark.slow
def test_java_reads_back_what_was_meant(tmp_path: Path) -> None:
    source = tmp_path / "X.java"
    body = f'System.out.write(({long_literal(JOINED, "java")}).getBytes("UTF-8")); System.out.flush();'
    source.write_text(f"class X {{ public static void main(String[] a) throws Exception {{ {body} }} }}")
    assert subprocess.check_output([tool("java"), str(source)]).decode() == JOINED


@pytest.mark.slow
def test_rust_reads_back_what_was_meant(tmp_path: Path) -> None:
    source = tmp_path / "x.rs"
    source.write_text(f'fn main() {{ print!("{{}}", {long_literal(JOINED, "rust")}); }}')
    subprocess.run([tool("rustc"), str(source), "-o", str(tmp_path / "x")], check=True)
    assert subprocess.check_output([str(tmp_path / "x")]).decode() == JOINED


def test_a_comment_ends_nowhere() -> None:
    assert comment("a\nb */ --> \\u000a \u2028 c") == "a?b ?/ --? ?u000a ? c"


def test_numbers_are_the_float32_that_was_meant() -> None:
    values = (0.485, 1e-4, 123.675, 1 / 3, -1e-3)
    for lang in ("python", "cpp", "rust"):
        texts = [text.rstrip("f") for text in float_literals(values, lang).split(", ")]
        assert [np.float32(text) for text in texts] == [np.float32(value) for value in values]
        assert all("." in text and "e" not in text for text in texts)


def printed(command: list[str]) -> object:
    return json.loads(subprocess.check_output(command))
