"""Which files paths, folders and globs stand for, in which order, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spanmask.config import Format
from spanmask.corpus import inputs
from spanmask.corpus.inputs import find_inputs
from spanmask.errors import ConfigError, CorpusError


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text\n")
    return [folder / name for name in names]


def names_of(folder: Path, *paths: str | Path, format: Format = Format.AUTO) -> list[str]:
    return [os.path.relpath(file.path, folder) for file in find_inputs(list(paths), format).files]


def test_files_count_in_the_order_given(tmp_path: Path) -> None:
    paths = make(tmp_path, "b.txt", "a.jsonl")
    found = find_inputs(paths, Format.AUTO)
    assert [(file.index, file.name, file.size) for file in found.files] == [(0, "b.txt", 5), (1, "a.jsonl", 5)]
    assert found.files[0].mtime_ns == paths[0].stat().st_mtime_ns
    assert found.ignored == ()


def test_a_name_is_the_path_below_the_folder_given_else_the_base_name(tmp_path: Path) -> None:
    paths = make(tmp_path, "c/a/x.txt", "c/b/x.txt", "c/x.txt", "d/x.txt")

    def found(*given: str | Path) -> list[str]:
        return [file.name for file in find_inputs(list(given), Format.AUTO).files]

    assert found(tmp_path / "c", paths[3]) == ["a/x.txt", "b/x.txt", "x.txt", "x.txt"]
    assert found(f"{tmp_path}/c/", f"{tmp_path}/d/../d") == ["a/x.txt", "b/x.txt", "x.txt", "x.txt"]
    assert found(tmp_path / "c" / "a") == ["x.txt"]
    assert found(f"{tmp_path}/c/*/*.txt") == found(*paths[:2]) == ["x.txt", "x.txt"]
    assert found(f"{tmp_path}/*") == ["x.txt"] * 4


@pytest.mark.parametrize(
    ("name", "format", "compression"),
    [
        ("a.txt", Format.TEXT, None),
        ("a.TEXT", Format.TEXT, None),
        ("a.jsonl", Format.JSONL, None),
        ("a.ndjson.gz", Format.JSONL, "gzip"),
        ("a.json.zst", Format.JSONL, "zstd"),
        ("a.txt.zstd", Format.TEXT, "zstd"),
        ("a.b.parquet", Format.PARQUET, None),
        ("a.pq", Format.PARQUET, None),
        ("a.arrow", Format.ARROW, None),
        ("a.feather", Format.ARROW, None),
        ("a.ipc", Format.ARROW, None),
    ],
)
def test_names_tell_format_and_compression(tmp_path: Path, name: str, format: Format, compression: str | None) -> None:
    file = find_inputs(make(tmp_path, name), Format.AUTO).files[0]
    assert (file.format, file.compression) == (format, compression)


def test_folders_are_read_recursively_in_bytewise_path_order(tmp_path: Path) -> None:
    make(
        tmp_path, "b/z.txt", "b/a.txt", "a.txt", "a/é.txt", "a/z.txt", "B.txt", ".hidden.txt", ".git/x.txt", "a-b/x.txt"
    )
    expected = ["B.txt", "a-b/x.txt", "a.txt", "a/z.txt", "a/é.txt", "b/a.txt", "b/z.txt"]
    assert names_of(tmp_path, tmp_path) == expected


def test_unknown_names_in_folders_are_passed_over_and_told(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "README.md", "b/LICENSE")
    os.mkfifo(tmp_path / "pipe.txt")
    found = find_inputs([tmp_path], Format.AUTO)
    assert [file.name for file in found.files] == ["a.txt"]
    assert sorted(os.path.basename(path) for path in found.ignored) == ["LICENSE", "README.md", "pipe.txt"]
    assert names_of(tmp_path, tmp_path, format=Format.TEXT) == ["README.md", "a.txt", "b/LICENSE"]


HIDDEN = [
    *(
        "_b.txt",
        "_SUCCESS",
        ".hidden",
        "._a.txt",
        ".part.txt.crc",
        "_temporary/0/c.txt",
        "__MACOSX/d.txt",
        "a/_delta_log/0.json",
    ),
    *(".git/e.txt", "f.incomplete/g.txt"),
]


@pytest.mark.parametrize("format", [Format.AUTO, Format.TEXT])
def test_what_other_programs_set_aside_is_no_input(tmp_path: Path, format: Format) -> None:
    make(tmp_path, "a.txt", "a/b_c.txt", "z_.txt", *HIDDEN)
    expected = ["a.txt", "a/b_c.txt", "z_.txt"]
    assert names_of(tmp_path, tmp_path, format=format) == expected
    for pattern in ("**", "**/*", "//**"):
        assert names_of(tmp_path, f"{tmp_path}/{pattern}", format=format) == expected
    told = find_inputs([tmp_path], format).passed_over
    assert told == {"hidden": 9, ".incomplete": 1}


def test_a_pattern_or_path_may_ask_for_hidden_files(tmp_path: Path) -> None:
    make(tmp_path, "_b.txt", ".c.txt", "_raw/a.txt", "_raw/_d.txt", "e.txt")
    assert names_of(tmp_path, tmp_path / "_b.txt", tmp_path / ".c.txt") == ["_b.txt", ".c.txt"]
    assert names_of(tmp_path, f"{tmp_path}/_*.txt") == ["_b.txt"]
    assert names_of(tmp_path, f"{tmp_path}/.*.txt") == [".c.txt"]
    assert names_of(tmp_path, tmp_path / "_raw") == ["_raw/a.txt"]
    assert names_of(tmp_path, f"{tmp_path}/_raw/*") == ["_raw/a.txt"]
    assert names_of(tmp_path, f"{tmp_path}/_*/*.txt") == ["_raw/_d.txt", "_raw/a.txt"]
    with pytest.raises(ConfigError, match="passed over 1 hidden"):
        find_inputs([f"{tmp_path}/_raw/?d.txt"], Format.AUTO)


def test_what_datasets_writes_about_data_is_no_input(tmp_path: Path) -> None:
    make(tmp_path, "hub/dataset_infos.json", "hub/data/a.jsonl", "state.json", "cache-1.arrow", "dataset.json")
    make(
        tmp_path, *(f"cache/{name}" for name in ("dataset_info.json", "x-train.arrow", "cache-8a.arrow", "state.json"))
    )
    found = find_inputs([tmp_path], Format.AUTO)
    expected = ["cache-1.arrow", "cache/x-train.arrow", "dataset.json", "hub/data/a.jsonl", "state.json"]
    assert [os.path.relpath(file.path, tmp_path) for file in found.files] == expected
    assert found.passed_over == {"cache-*.arrow": 1, "dataset_info.json": 1, "state.json": 1, "dataset_infos.json": 1}
    assert names_of(tmp_path, f"{tmp_path}/*/*.json*", f"{tmp_path}/cache/*.arrow") == ["cache/x-train.arrow"]
    assert names_of(tmp_path, tmp_path / "cache" / "cache-8a.arrow") == ["cache/cache-8a.arrow"]


def test_files_passed_over_are_counted_by_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.md", "c.MD", "d.xls.gz", "e.xls.zst", "f.bz2", "LICENSE", "b/g.md", "h.gz")
    os.mkfifo(tmp_path / "pipe.txt")
    found = find_inputs([tmp_path], Format.AUTO)
    assert found.passed_over == {
        ".md": 3, ".xls.gz": 1, ".xls.zst": 1, ".bz2": 1, "without a suffix": 1, ".gz": 1, "no regular file": 1
    }  # fmt: skip
    assert len(found.ignored) == 9
    assert find_inputs([tmp_path / "a.txt"], Format.AUTO).passed_over == {}


def test_globs_expand_in_bytewise_order(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a.txt", "c.md", "d/e/f.txt", "d/g.txt")
    assert names_of(tmp_path, f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]
    assert names_of(tmp_path, f"{tmp_path}/**/*.txt") == ["a.txt", "b.txt", "d/e/f.txt", "d/g.txt"]
    assert names_of(tmp_path, f"{tmp_path}/**") == ["a.txt", "b.txt", "d/e/f.txt", "d/g.txt"]
    with pytest.raises(ConfigError, match="no file matches this pattern"):
        find_inputs([f"{tmp_path}/*.jsonl"], Format.AUTO)


def test_a_path_that_exists_is_no_glob(tmp_path: Path) -> None:
    make(tmp_path, "a[1].txt", "a1.txt", "d[x]/b.txt")
    assert names_of(tmp_path, tmp_path / "a[1].txt", tmp_path / "d[x]") == ["a[1].txt", "d[x]/b.txt"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt")
    monkeypatch.chdir(tmp_path)
    for path in ("a.txt", ".", "*.txt"):
        assert find_inputs([path], Format.AUTO).files[0].path == str(tmp_path / "a.txt")


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "real/a.txt")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert names_of(corpus, corpus) == ["linked/a.txt"]


@pytest.mark.parametrize("again", ["a.txt", ".", "*.txt", "./a.txt", "link.txt"])
def test_a_file_named_twice_is_refused(tmp_path: Path, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt")
    monkeypatch.chdir(tmp_path)
    if again == "link.txt":
        (tmp_path / again).symlink_to("a.txt")
    with pytest.raises(ConfigError, match="named twice"):
        find_inputs(["a.txt", again], Format.AUTO)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.bin", "a.parquet.gz", "folder/c.bin")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    for path, reason in (
        ("a.bin", "--format"),
        ("a.parquet.gz", "parquet inside gzip"),
        ("missing.txt", "no such file"),
        ("dangling.txt", "no such file"),
        ("pipe", "standard input"),
        ("folder", r"no input file found .* passed over 1"),
    ):
        with pytest.raises(ConfigError, match=reason):
            find_inputs([tmp_path / path], Format.AUTO)
    with pytest.raises(ConfigError, match="no path given"):
        find_inputs([], Format.AUTO)
    assert find_inputs([tmp_path / "a.bin"], Format.TEXT).files[0].format is Format.TEXT


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a\xff.txt"
    with open(path, "wb"):
        pass
    with pytest.raises(ConfigError, match="rename"):
        find_inputs([tmp_path], Format.AUTO)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt", "b.txt")
    monkeypatch.setattr(inputs, "INDEX_LIMIT", 1)
    with pytest.raises(CorpusError, match="2 input files"):
        find_inputs([tmp_path], Format.AUTO)


def test_a_saved_dataset_gives_its_files_in_its_own_order(tmp_path: Path) -> None:
    make(
        tmp_path, "train/data-1.arrow", "train/data-0.arrow", "train/cache-7.arrow", "train/dataset_info.json", "z.txt"
    )
    state = {"_data_files": [{"filename": "data-1.arrow"}, {"filename": "data-0.arrow"}], "_split": "train"}
    (tmp_path / "train" / "state.json").write_text(json.dumps(state))
    assert names_of(tmp_path, tmp_path / "train") == ["train/data-1.arrow", "train/data-0.arrow"]
    assert names_of(tmp_path, tmp_path) == ["train/data-1.arrow", "train/data-0.arrow", "z.txt"]
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(ConfigError, match="name the folder of one"):
        find_inputs([tmp_path], Format.AUTO)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "", ".", "..", "a/b.arrow", 7, None])
def test_a_saved_dataset_cannot_name_files_elsewhere(tmp_path: Path, name: object) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(CorpusError, match="expected a file of this folder"):
        find_inputs([tmp_path], Format.AUTO)
