"""Tar shards: the same samples as WebDataset reads, by seek, and a damaged shard is named."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.images.loader import load_batches
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import shard_patterns, shards
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.listing import list_images
from edge_tl.host.recipe.schema import Data

Parts = list[tuple[str, bytes]]


def picture(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def pack(path: Path, parts: Parts, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in parts:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(first: int, count: int, label: Callable[[int], str] = lambda i: str(i % 2)) -> Parts:
    return [
        part
        for i in range(first, first + count)
        for part in ((f"{i:04d}.png", picture(i)), (f"{i:04d}.cls", label(i).encode()))
    ]


def refused(path: Path | str) -> str:
    with pytest.raises(BadInput) as caught:
        list_images(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "want"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("a-{8..10}.tar", ["a-8.tar", "a-9.tar", "a-10.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{x,}", ["x", ""]),
        ("{x}", ["{x}"]),
    ],
)
def test_braces_are_written_out_as_a_shell_does(pattern: str, want: list[str]):
    assert shard_patterns.expand_braces(pattern) == want


@pytest.mark.parametrize(
    "pattern", ["{a", "a}", "{a,{b,c}}", "{{0..1}}", "{0..999999999}", "{0..1999}{0..1999}"]
)
def test_braces_that_do_not_match_or_explode_are_refused(pattern: str):
    with pytest.raises(BadInput, match=r"braces do not match|too many shards"):
        shard_patterns.expand_braces(pattern)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text("ab/-._", max_size=4),
            st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 4)),
            st.lists(st.text("xyz09", max_size=3), min_size=2, max_size=3),
        ),
        max_size=3,
    )
)
def test_braces_expand_as_the_reference_does(parts: list[str | tuple[int, int, int] | list[str]]):
    braceexpand = pytest.importorskip("braceexpand", reason="webdataset's brace expansion is not installed")
    pattern = "".join(
        part
        if isinstance(part, str)
        else f"{{{part[0]:0{part[2]}d}..{part[1]:0{part[2]}d}}}"
        if isinstance(part, tuple)
        else f"{{{','.join(part)}}}"
        for part in parts
    )
    assert shard_patterns.expand_braces(pattern) == list(braceexpand.braceexpand(pattern))


def test_a_folder_of_shards_is_read_in_place(tmp_path: Path):
    pack(tmp_path / "train-000.tar", samples(0, 6))
    pack(tmp_path / "train-001.tar", samples(6, 6))
    pack(tmp_path / "my_val.tar", samples(12, 4))
    pack(tmp_path / "test.tar", samples(16, 4))
    (tmp_path / "readme.txt").write_text("not a shard")
    before = sorted(tmp_path.rglob("*"))
    listing = list_images(tmp_path)
    assert listing.root == tmp_path
    assert listing.labels == ["0", "1"]
    assert [s.split for s in listing.samples] == ["val"] * 4 + ["test"] * 4 + ["train"] * 12
    assert listing.samples[8].path == "train-000.tar!0000.png"
    for sample, source in zip(listing.samples, listing.sources(), strict=True):
        i = int(Path(sample.path.partition("!")[2]).stem)
        assert source.read_bytes() == picture(i)
        assert (source.name, source.suffix) == (f"{i:04d}.png", ".png")
        assert pickle.loads(pickle.dumps(source)) == source
        assert sample.digest == hashlib.sha256(picture(i)).hexdigest()
        assert sample.label == i % 2
    dataset = datasets.build_dataset(listing, {}, Data(val=0.2, test=0.2), seed=0)
    assert dataset.counts() == {"train": 12, "val": 4, "test": 4}
    again = DataRecord.from_json(json.loads(json.dumps(DataRecord.of(dataset).to_json()))).dataset(
        dataset.labels
    )
    assert again == dataset
    contract = Preprocess(resize_size=(8, 8), crop=(8, 8))
    judged = again.split("test")
    (batch,) = load_batches(contract, again.sources(judged))
    want = np.stack([contract.apply(picture(i)) for i in range(16, 20)])
    np.testing.assert_array_equal(batch.inputs, want)
    assert sorted(tmp_path.rglob("*")) == before


def test_one_shard_a_pattern_and_several_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = pack(tmp_path / "one" / "a-00.tar", samples(0, 4))
    pack(tmp_path / "one" / "a-01.tar", samples(4, 4))
    pack(tmp_path / "two" / "b.tar", samples(8, 4))
    assert [s.path for s in list_images(first).samples] == [f"a-00.tar!{i:04d}.png" for i in range(4)]
    assert len(list_images(f"{tmp_path}/one/a-{{00..01}}.tar").samples) == 8
    both = list_images(f"{tmp_path}/one/a-{{00,01}}.tar::{tmp_path}/two/b.tar::{first}")
    assert both.root == tmp_path
    assert [s.path.split("!")[0] for s in both.samples][::4] == ["one/a-00.tar", "one/a-01.tar", "two/b.tar"]
    assert {s.split for s in both.samples} == {None}
    assert list_images(f"{tmp_path}/one::{tmp_path}/two") == both
    monkeypatch.chdir(tmp_path)
    relative = list_images("one/a-{00..01}.tar::two/b.tar")
    assert (relative.root, relative.samples) == (Path("."), both.samples)
    mixed = list_images(f"one/a-00.tar::{tmp_path}/two/b.tar")
    assert [s.read_bytes() for s in mixed.sources()] == [picture(i) for i in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert "no such shard: one/a-02.tar" in refused("one/a-{00..02}.tar")
    assert "empty pattern" in refused("one/a-00.tar::")
    assert "not a shard" in refused("one/{a,b}.zip")
    assert "no such shard" in refused("absent.tar")


def test_a_folder_named_after_a_split_says_it_when_the_shards_do_not(tmp_path: Path):
    pack(tmp_path / "train" / "0.tar", samples(0, 4))
    pack(tmp_path / "validation" / "0.tar", samples(4, 4))
    listing = list_images(f"{tmp_path}/{{train,validation}}/0.tar")
    assert [s.split for s in listing.samples] == ["train"] * 4 + ["val"] * 4
    # Alone, a shard's folder is where it happens to lie.
    assert {s.split for s in list_images(tmp_path / "validation" / "0.tar").samples} == {None}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            ("train-000", "train"),
            ("x_val_3", "val"),
            ("valid", "val"),
            ("validation-1", "val"),
            ("Test12", "test"),
        ),
        *(("contest-1", None), ("training", "train"), ("latest", None), ("values", None), ("data", None)),
    ],
)
def test_the_split_is_a_word_in_the_shards_name(tmp_path: Path, name: str, split: str | None):
    pack(tmp_path / f"{name}.tar", samples(0, 4))
    pack(tmp_path / "train.tar", samples(4, 4))
    found = {s.split for s in list_images(tmp_path).samples if s.path.startswith(f"{name}.tar")}
    assert found == {split}


def test_shards_of_evaluation_images_alone_are_refused(tmp_path: Path):
    pack(tmp_path / "val-0.tar", samples(0, 4))
    assert "only val images" in refused(tmp_path)


def test_labels_come_from_cls_or_json_and_names_from_classes_txt(tmp_path: Path):
    parts = [("b/0.jpg", picture(0, "JPEG")), ("b/0.cls", b" 2\n")]
    for i, (key, value) in enumerate([("label", 0), ("class", "zebra"), ("cls", 2), ("label", "2")], 1):
        parts += [(f"b/{i}.webp", picture(i, "WEBP")), (f"b/{i}.json", json.dumps({key: value}).encode())]
    parts += [
        ("b/5.PNG", picture(5)),
        ("b/5.cls", b"zebra"),
        ("b/5.json", b'{"label": 0}'),
        ("b/6.jpeg", picture(6)),
    ]
    parts += [
        ("b/6.CLS", b"0"),
        ("b/6.json", b"[1, 2]"),
        ("b/6.seg.png", picture(7)),
        ("b/6.txt", b"a caption"),
    ]
    shard = pack(tmp_path / "x.tar", parts)
    want = ["2", "0", "zebra", "2", "2", "zebra", "0"]
    assert [label for _, label in shards.index_shard(shard).images] == want
    assert list_images(shard).labels == ["0", "2", "zebra"]
    (tmp_path / "classes.txt").write_text("zebra\nnothing\ncat\n\n")
    with pytest.raises(
        BadInput, match="class 'cat'"
    ):  # not the next test's: too few images is found after names
        list_images(pack(tmp_path / "y.tar", samples(0, 3, lambda i: "2" if i == 0 else "zebra")))
    listing = list_images(shard)
    assert listing.labels == ["zebra", "cat"]  # the file's order, without classes that have no image
    assert [listing.labels[s.label] for s in listing.samples] == [
        "cat", "zebra", "zebra", "cat", "cat", "zebra", "zebra",
    ]  # fmt: skip


def test_integer_labels_sort_by_value(tmp_path: Path):
    assert list_images(pack(tmp_path / "x.tar", samples(0, 9, lambda i: str(8 + i % 3)))).labels == [
        "8",
        "9",
        "10",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zero\n", "label 1, but classes.txt has 1 lines"),
        ("a\n\nb\n", "line 2: an empty name"),
        ("crane\nx\ncrane\n", "line 3: the name 'crane' again"),
    ],
)
def test_a_faulty_classes_txt_is_refused(tmp_path: Path, text: str, message: str):
    pack(tmp_path / "x.tar", samples(0, 4))
    (tmp_path / "classes.txt").write_text(text)
    assert message in refused(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("d/7.png", b"x")], "'d/7' has an image but no label"),
        ([("d/7.png", b"x"), ("d/7.json", b'{"id": 7}')], "'d/7' has an image but no label"),
        ([("7.cls", b"1")], "'7' has a label but no image"),
        ([("7.png", b"x"), ("7.cls", b" ")], "'7.cls' has an empty label"),
        ([("7.png", b"x"), ("7.json", b'{"label": 0.5}')], "'7.json' has the label 0.5"),
        ([("7.png", b"x"), ("7.json", b'{"label": true}')], "'7.json' has the label True"),
        ([("7.png", b"x"), ("7.json", b"{")], "'7.json' cannot be read"),
        ([("7.png", b"x"), ("7.cls", b"\xff")], "'7.cls' cannot be read"),
        ([("7.png", b"x"), ("7.jpg", b"x"), ("7.cls", b"1")], "'7' has several images: 7.png, 7.jpg"),
        ([("7.png", b"x"), ("7.cls", b"1"), ("7.png", b"y")], "holds '7.png' twice"),
        ([("7.png", b"x"), ("7.json", b'{"label": "\\ud800"}')], "not Unicode text"),
    ],
)
def test_a_faulty_sample_is_refused_by_shard_and_key(tmp_path: Path, parts: Parts, message: str):
    shard = pack(tmp_path / "x.tar", samples(100, 4) + parts)
    got = refused(shard)
    assert message in got
    assert str(shard) in got


def test_links_sparse_hidden_and_escaping_members_do_no_harm(tmp_path: Path):
    shard = tmp_path / "x.tar"
    with tarfile.open(shard, "w") as tar:
        for name, content in samples(0, 4):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            link = tarfile.TarInfo(f"kind{kind.decode()}.png")
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
        sparse = tarfile.TarInfo("sparse.png")
        sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "9",
                              "GNU.sparse.map": "0,1", "GNU.sparse.name": "sparse.png"}  # fmt: skip
        sparse.size = 1
        tar.addfile(sparse, io.BytesIO(b"x"))
        for name, content in ((".hidden.png", b"x"), ("a/.b/c.png", b"x"), ("README", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for i, prefix in enumerate(("../../out/", "/etc/", "./")):
            for name, content in ((f"{prefix}n.png", picture(50 + i)), (f"{prefix}n.cls", b"1")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    listing = list_images(shard)
    assert [s.path.partition("!")[2] for s in listing.samples[4:]] == [
        "../../out/n.png",
        "/etc/n.png",
        "./n.png",
    ]
    assert [s.read_bytes() for s in listing.sources()[4:]] == [picture(i) for i in (50, 51, 52)]
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_cut_shard_never_loses_images_silently(tmp_path: Path, form: int):
    whole = pack(tmp_path / "whole.tar", samples(0, 5), format=form).read_bytes()
    end = max(m.offset + m.size for m, _ in shards.index_shard(tmp_path / "whole.tar").images)
    shard = tmp_path / "cut.tar"
    for size in sorted({0, 1, 100, 511, *range(512, end, 512), *range(700, end, 997), end}):
        shard.write_bytes(whole[:size])
        with pytest.raises(BadInput, match=r"cut\.tar"):
            shards.index_shard(shard)


def test_what_is_no_uncompressed_tar_is_refused(tmp_path: Path):
    for name in ("a.tar.gz", "b.tgz", "c.tar.zst"):
        pack(tmp_path / name, samples(0, 4))
        assert "compressed shard" in refused(tmp_path / name)
    assert "compressed shard" in refused(tmp_path)
    (tmp_path / "zipped.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "cannot read shard" in refused(tmp_path / "zipped.tar")
    (tmp_path / "photo.tar").write_bytes(picture(0))
    assert "photo.tar" in refused(tmp_path / "photo.tar")


@given(at=st.integers(0, 20_000), junk=st.binary(min_size=1, max_size=12))
def test_damaged_shards_are_refused_or_read_but_never_break(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
):
    shard = tmp_path_factory.getbasetemp() / "damaged.tar"
    whole = pack(shard, samples(0, 5)).read_bytes()
    shard.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    with contextlib.suppress(BadInput):
        assert sum(len(member.read_bytes()) for member, _ in shards.index_shard(shard).images) < len(whole)


def test_a_header_that_points_back_ends(tmp_path: Path):
    """A negative size would have tarfile read the same member for ever."""
    shard = pack(tmp_path / "x.tar", [*samples(0, 2), ("README", b"x")])
    whole = bytearray(shard.read_bytes())
    at = whole.index(b"README")
    header = whole[at : at + 512]
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole[at : at + 512] = header
    shard.write_bytes(whole)
    with pytest.raises(BadInput, match=r"x\.tar"):
        shards.index_shard(shard)


def test_a_shard_that_became_shorter_is_no_image(tmp_path: Path):
    shard = pack(tmp_path / "x.tar", samples(0, 4))
    member = shards.index_shard(shard).images[-1][0]
    shard.write_bytes(shard.read_bytes()[: member.offset + 10])
    with pytest.raises(OSError, match=r"ends at 10 of"):
        member.read_bytes()


def test_webdataset_reads_the_same_samples(tmp_path: Path):
    """The oracle: the library that defined the convention, on shards that its own writer made."""
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with wds.ShardWriter(f"{tmp_path}/train-%03d.tar", maxcount=7, verbose=0) as sink:
        for i in range(20):
            kind = ("png", "jpg", "webp")[i % 3]
            content = picture(i, {"jpg": "JPEG"}.get(kind, kind.upper()))
            sink.write({"__key__": f"dir.{i % 2}/{i:05d}", kind: content, "cls": i % 3, "txt": "a caption"})
    with contextlib.ExitStack() as opened:  # its own readers would leave the files open
        streams = [
            {"url": str(path), "stream": opened.enter_context(path.open("rb"))}
            for path in sorted(tmp_path.iterdir())
        ]
        want = [
            (s["__key__"], next(s[kind] for kind in ("png", "jpg", "webp") if kind in s), s["cls"].decode())
            for s in group_by_keys(tar_file_expander(streams))
        ]
    listing = list_images(f"{tmp_path}/train-{{000..002}}.tar")
    names = [s.path.partition("!")[2] for s in listing.samples]
    got = [
        (name[: name.rindex(".")], source.read_bytes(), listing.labels[s.label])
        for name, source, s in zip(names, listing.sources(), listing.samples, strict=True)
    ]
    assert len(want) == 20
    assert got == want


def sparse(path: Path, name: str, size: int, kind: bytes = tarfile.REGTYPE) -> Path:
    """A shard of four samples and a member of `size` bytes that takes no room on the disk."""
    pack(path, samples(0, 4))
    with tarfile.open(path) as tar:
        end = max(member.offset_data + 512 * -(-member.size // 512) for member in tar)
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + 512 * -(-size // 512) + 1024)
    return path


@pytest.mark.parametrize("name", ["9.json", "9.cls", "9.png"])
def test_a_member_is_bounded_before_it_is_read(tmp_path: Path, name: str):
    tracemalloc.start()
    try:
        message = refused(sparse(tmp_path / "x.tar", name, 3 << 30))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "3,221,225,472 bytes" in message
    assert name in message
    assert peak < 1 << 24


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"x", b"g"])
def test_a_headers_own_text_is_bounded_before_it_is_read(tmp_path: Path, kind: bytes):
    tracemalloc.start()
    try:
        message = refused(sparse(tmp_path / "x.tar", "long", 3 << 30, kind))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "a header of 3,221,225,472 bytes" in message
    assert peak < 1 << 24


def test_deep_json_and_long_labels_are_sentences(tmp_path: Path):
    deep = ("9.json", b'{"label": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert "cannot be read" in refused(
        pack(tmp_path / "a.tar", [*samples(0, 4), ("9.png", picture(9)), deep])
    )
    long = ("9.cls", b"x" * 10_000)
    assert "10,000 characters" in refused(
        pack(tmp_path / "b.tar", [*samples(0, 4), ("9.png", picture(9)), long])
    )


def test_an_image_is_hashed_a_piece_at_a_time(tmp_path: Path):
    content = bytes(range(256)) * 9000
    shard = pack(tmp_path / "x.tar", [("a", b"x"), ("b.bin", content)])
    with tarfile.open(shard) as tar:
        info = tar.getmember("b.bin")
    member = shards.Member(shard, info.offset_data, info.size, "b.bin")
    assert member.sha256() == hashlib.sha256(content).hexdigest()
    with pytest.raises(OSError, match="the shard ends"):
        shards.Member(shard, info.offset_data, info.size + 50_000, "b.bin").sha256()


def test_images_under_other_names_are_used_and_what_is_passed_over_is_counted(tmp_path: Path):
    """Twitter's `.jpg_large` was no image by its name, and a link left no trace."""
    members = [("0.jpg_large", picture(0)), ("0.cls", b"a"), ("1.png", picture(1)), ("1.cls", b"b")]
    members += [("2.jpg_large", picture(2)), ("2.cls", b"b"), ("3.png", picture(3)), ("3.cls", b"a")]
    members += [("1.mask", picture(9)), ("1.txt", b"P4 a caption"), ("README", b"x"), ("3.npy", b"y")]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("4.png")
        link.type, link.linkname = tarfile.LNKTYPE, "1.png"
        tar.addfile(link)
    listing = list_images(tmp_path)
    used = [(s.path, listing.labels[s.label]) for s in listing.samples]
    assert sorted(used) == [
        ("a.tar!0.jpg_large", "a"),
        ("a.tar!1.png", "b"),
        ("a.tar!2.jpg_large", "b"),
        ("a.tar!3.png", "a"),
    ]
    assert [each.path for each in listing.skipped] == ["a.tar!4.png"]
    assert sum(each.n for each in listing.not_images) == 4
    assert {each.example for each in listing.not_images} >= {
        "a.tar!/3.npy",
        "a.tar!/1.mask",
        "a.tar!/README",
    }
