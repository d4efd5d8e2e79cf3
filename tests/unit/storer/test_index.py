"""The index of start points: an invalid start point is reported by its file, key and entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from storer.kata import manifest
from storer.start_points import start_point
from storer.start_points.checks import KEPT, Findings
from storer.start_points.files import FolderFiles
from storer.start_points.index import check
from storer.start_points.start_points import StartPoints
from support.storer.start_points import FILES, SCRIPT, a_language, index, own, write

__all__ = ["own"]  # a fixture


def found(folder: Path) -> Findings:
    findings = Findings()
    check(folder, findings)
    return findings


PATTERN = {"colour": "red", "pattern": "x", "stream": "stdout"}
MANIFEST = "pascal/manifest.json"

INVALID: list[tuple[dict[str, Any], str]] = [
    ({"display_name": ""}, f"{MANIFEST}: display_name: is empty"),
    ({"display_name": [1, 2]}, f"{MANIFEST}: display_name: has to be text, and is [1,2]"),
    ({"display_name": None}, f"{MANIFEST}: display_name: has to be text, and is null"),
    ({"display_name": "x" * 201}, "display_name: 201 characters are more than 200"),
    ({"image_name": ""}, f"{MANIFEST}: image_name: is empty"),
    ({"image_name": 5}, f"{MANIFEST}: image_name: has to be text, and is 5"),
    ({"image_name": "gcc:{}"}, f"{MANIFEST}: image_name: 'gcc:{{}}' is not the name of an image"),
    ({"max_seconds": 61}, f"{MANIFEST}: max_seconds: 61 is not from 1 to 60"),
    ({"max_seconds": True}, "max_seconds: has to be a whole number from 1 to 60, and is true"),
    ({"tab_size": "4"}, 'tab_size: has to be a whole number from 1 to 16, and is "4"'),
    ({"visible_filenames": "a"}, 'visible_filenames: has to be a list of texts, and is "a"'),
    ({"visible_filenames": [SCRIPT, 5]}, "visible_filenames[1]: has to be text, and is 5"),
    ({"visible_filenames": [SCRIPT, ""]}, "visible_filenames[1]: is empty"),
    (
        {"visible_filenames": [SCRIPT, "hiker.pas", SCRIPT]},
        f'visible_filenames[2]: "{SCRIPT}" is in visible_filenames[0] already',
    ),
    (
        {"visible_filenames": [SCRIPT, "hikre.pas"]},
        "[1]: 'hikre.pas': there is no such file beside manifest.json; did you mean hiker.pas?",
    ),
    ({"visible_filenames": ["hiker.pas"]}, f"visible_filenames: {SCRIPT} is missing"),
    (
        {"visible_filenames": [SCRIPT, "../secret"]},
        "visible_filenames[1]: '../secret': the name has the part '..'",
    ),
    (
        {"visible_filenames": [SCRIPT, "link"]},
        f"{MANIFEST}: visible_filenames[1]: 'link': leads out of the start point",
    ),
    ({"visible_filenames": [SCRIPT, "lib"]}, "visible_filenames[1]: 'lib': Is a directory"),
    ({"highlight_filenames": []}, "highlight_filenames: is an empty list"),
    (
        {"highlight_filenames": ["Hiker.pas"]},
        'highlight_filenames[0]: "Hiker.pas" is not in visible_filenames; did you mean hiker.pas?',
    ),
    ({"filename_extension": []}, "filename_extension: is an empty list"),
    ({"filename_extension": ""}, "filename_extension: is empty"),
    ({"filename_extension": "cs"}, 'filename_extension: "cs" has to be a dot and more'),
    ({"filename_extension": [".cs", "."]}, 'filename_extension[1]: "." has to be a dot and more'),
    ({"filename_extension": 5}, "filename_extension: has to be a list of texts, and is 5"),
    (
        {"filename_extension": [".c", ".h", ".c"]},
        'filename_extension[2]: ".c" is in filename_extension[0] already',
    ),
    (
        {"progress_regexs": ["(", "OK"]},
        'progress_regexs[0]: "(" is no regular expression: it has a ( that is not closed',
    ),
    ({"progress_regexs": ["a", "b", "c"]}, "progress_regexs: has to have two entries"),
    ({"results_filename": 5}, "results_filename: has to be text, and is 5"),
    ({"results_filename": "../a"}, 'results_filename: "../a": '),
    ({"progress_regexs": "OK"}, "progress_regexs: has to be a list of texts"),
    (
        {"hidden_filenames": ["a", "*.txt"]},
        'hidden_filenames[1]: "*.txt" is no regular expression: it has a * with nothing before it',
    ),
    ({"rag_lambda": ""}, f"{MANIFEST}: rag_lambda: is empty, and has to be the name of a file"),
    ({"rag_lambda": "not.rb"}, f"{MANIFEST}: rag_lambda: 'not.rb': there is no such file"),
    ({"rag_lambda": 5}, f"{MANIFEST}: rag_lambda: has to be text, and is 5"),
    ({"rag_lambda": "long.rb"}, "rag_lambda: 'long.rb': 16385 bytes are more than 16384"),
    ({"rag_lambda": "latin.rb"}, "rag_lambda: 'latin.rb': is not UTF-8"),
    (
        {"colour_rule": {"patterns": [{**PATTERN, "colour": "blue"}]}},
        "colour_rule.patterns[0].colour: is not red, amber or green",
    ),
    (
        {"colour_rule": {"patterns": [PATTERN, {**PATTERN, "pattern": "("}]}},
        "colour_rule.patterns[1].pattern: missing )",
    ),
    ({"colour_rule": []}, f"{MANIFEST}: colour_rule: is not {{patterns:"),
    ({"other": 2**1024}, f"{MANIFEST}: 'other': the key or its value does not fit"),
    ({"other": float("nan")}, f"{MANIFEST}: 'other': the key or its value does not fit"),
    ({"other": [-float("inf")]}, f"{MANIFEST}: 'other': the key or its value does not fit"),
]


@pytest.mark.parametrize(("keys", "says"), INVALID, ids=[says for _, says in INVALID])
def test_an_invalid_start_point_is_reported_by_file_key_and_entry(
    own: Path, keys: dict[str, Any], says: str
) -> None:
    (own / "secret").write_text("secret")
    (own / "languages/pascal/link").symlink_to("../../secret")
    (own / "languages/pascal/lib").mkdir()
    (own / "languages/pascal/long.rb").write_text("#" * 16385)
    (own / "languages/pascal/latin.rb").write_bytes(b"# caf\xe9")
    write(own / "languages/pascal", a_language(**keys))
    (line,) = found(own / "languages").problems
    assert says in line


def test_nothing_is_indexed_if_anything_is_wrong(own: Path) -> None:
    write(own / "languages/pascal", a_language(tab_size=0))
    assert index(own / "languages", own / "exercises").returncode == 1
    assert not (own / "languages/index.json").exists()
    assert not (own / "exercises/index.json").exists()


@pytest.mark.parametrize("key", ["display_name", "image_name", "visible_filenames"])
def test_a_missing_key_is_missing_whatever_legacy_name_the_language_has(
    own: Path, key: str
) -> None:
    keys = {**a_language(display_name="C#, NUnit"), "language": "C#"}
    del keys[key]
    write(own / "languages/pascal", keys)
    (line,) = found(own / "languages").problems
    assert line.endswith(f"{MANIFEST}: {key}: is required")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"rag_lamda": "a.rb"}, "rag_lamda: nobody knows this key, .*; did you mean rag_lambda?"),
        ({"max_second": 20}, "max_second: nobody knows this key, .*; did you mean max_seconds?"),
        ({"tabsize": 8}, "tabsize: nobody knows this key, .*; did you mean tab_size?"),
        ({"tab-size": 8}, "tab-size: nobody knows this key, .*; did you mean tab_size?"),
        ({"displayName": "x"}, "displayName: .*; did you mean display_name?"),
        ({"visible_files": {}}, "visible_files: .*; did you mean visible_filenames?"),
        ({"zzz": 1}, "zzz: nobody knows this key, and it has no effect"),
        ({"colour_rule": {"patterns": [], "zzz": 1}}, "colour_rule.zzz: nobody knows this key"),
        (
            {"colour_rule": {"patterns": [{**PATTERN, "steam": "any"}]}},
            "colour_rule.patterns[0].steam: .*; did you mean stream?",
        ),
    ],
)
def test_a_key_that_nobody_knows_is_told_with_the_one_that_was_meant(
    own: Path, keys: dict[str, Any], says: str
) -> None:
    write(own / "languages/pascal", a_language(**keys))
    findings = found(own / "languages")
    assert not findings.problems
    (line,) = findings.warnings
    head, _, question = says.partition(".*")
    assert f"{MANIFEST}: {head}" in line
    assert line.endswith(question)


def test_a_key_of_languages_has_no_effect_in_an_exercise(own: Path) -> None:
    keys = {"display_name": "Own", "visible_filenames": ["instructions"], "tab_size": 4}
    write(own / "exercises/Own", keys)
    done = index(own / "exercises")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert done.stderr.endswith("Own/manifest.json: tab_size: has no effect in an exercise\n")


def test_a_custom_start_point_is_checked_as_a_language_and_shows_its_instructions(
    own: Path,
) -> None:
    names = [SCRIPT, "hiker.pas", "docs/README.md"]
    custom = a_language(display_name="Mine", visible_filenames=names)
    write(own / "custom/mine", custom, {**FILES, "docs/README.md": "Do it.\n"})
    findings = Findings()
    (entry,) = check(own / "custom", findings)
    assert findings == Findings()
    assert (entry.display_name, entry.instructions) == ("Mine", b"Do it.\n")
    assert entry.image_name == "cyberdojofoundation/pascal_own"
    write(own / "custom/mine", {"display_name": "Mine", "visible_filenames": ["hiker.pas"]})
    assert [line.partition("mine/")[2] for line in found(own / "custom").problems] == [
        f"{MANIFEST.partition('/')[2]}: image_name: is required",
        f"{MANIFEST.partition('/')[2]}: visible_filenames: {SCRIPT} is missing",
    ]


@pytest.mark.parametrize(
    "more", ['"tab_size": 8, "tab_size": 8', '"other": {"tab_size": 1, "tab_size": 2}']
)
def test_a_key_that_is_there_twice_is_refused(own: Path, more: str) -> None:
    text = json.dumps(a_language()).rstrip("}") + f", {more}}}"
    write(own / "languages/pascal", text)
    (line,) = found(own / "languages").problems
    assert line.endswith(f"{MANIFEST}: tab_size: is there 2 times in one object")


def test_line_ends_that_break_a_script_are_reported_by_file(own: Path) -> None:
    names = [SCRIPT, "makefile", "lib/run.sh", "hiker.pas"]
    write(own / "languages/pascal", a_language(visible_filenames=names))
    for name in names:
        path = own / "languages/pascal" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"one\ntwo\r\n")
    findings = found(own / "languages")
    (problem,) = findings.problems
    assert problem.endswith(
        f"pascal/'{SCRIPT}': line 2 ends in CR LF, and no shell can run that: end lines in LF"
    )
    assert len(findings.warnings) == 2
    for name, warning in zip(names[1:3], findings.warnings, strict=True):
        assert f"pascal/'{name}': line 2 ends in CR LF" in warning


def test_all_problems_are_reported_at_once(own: Path) -> None:
    write(own / "languages/same", a_language(), FILES)
    write(own / "languages/broken", {"tab_size": 0, "image_name": ";;;"})
    (own / "languages/none").mkdir()
    (own / "languages/torn").mkdir()
    (own / "languages/torn/manifest.json").write_text("{")
    done = index(own / "languages")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for expected in (
        "broken/manifest.json: display_name: is required",
        "broken/manifest.json: visible_filenames: is required",
        "broken/manifest.json: image_name: ';;;' is not the name of an image",
        "broken/manifest.json: tab_size: 0 is not from 1 to 16",
        "none: there is no start point: no manifest.json here, in start_point/, or in the folders",
        "torn/manifest.json: is not JSON",
        "same/manifest.json: display_name: ",
    ):
        assert any(expected in line for line in lines), (expected, lines)
    assert len(lines) == 7
    (line,) = [each for each in lines if "same/manifest.json: display_name: " in each]
    assert line.endswith("languages/pascal is called 'Pascal, own' too")


def test_the_folders_have_to_be_called_languages_or_exercises(own: Path) -> None:
    for folders in ([], [own]):
        done = index(*folders)
        assert done.returncode == 2
        assert "languages" in done.stderr
    assert "No such file" in index(own / "nowhere/languages").stderr


def test_start_points_are_found_where_repositories_and_collections_have_them(own: Path) -> None:
    languages = own / "languages"
    for place in ("java-junit/start_point", "Tennis/C#", "Tennis/Ruby"):
        write(languages / place, a_language(display_name=place), FILES)
    # What a repository has besides is nobody's start point.
    write(languages / "java-junit/test/fixtures", {}, {})
    (languages / ".git").mkdir()
    (languages / "Tennis/around").symlink_to(languages)
    done = index(languages)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{languages}: 4 languages",
        "  pascal: Pascal, own",
        "  Tennis/C#: Tennis/C#",
        "  Tennis/Ruby: Tennis/Ruby",
        "  java-junit/start_point: java-junit/start_point",
    ]
    served = StartPoints(own)
    assert served.get("java-junit/start_point", "").visible_files[SCRIPT] == FILES[SCRIPT].encode()


def test_a_manifest_in_no_folder_of_its_own_is_reported(own: Path) -> None:
    write(own / "languages", a_language(), FILES)
    done = index(own / "languages")
    assert done.returncode == 1
    assert "languages/manifest.json: is in no folder of its own" in done.stderr


def test_a_folder_without_start_points_is_told(own: Path) -> None:
    (own / "empty/languages").mkdir(parents=True)
    done = index(own / "empty/languages")
    assert done.returncode == 0
    assert "empty/languages: has no start points" in done.stderr


# Each key, and each form of its value, that the start points of today and of former years have:
# github.com/cyber-dojo-start-points, cyber-dojo-languages, and cyber-dojo/custom-start-points.
IMAGE = "ghcr.io/cyber-dojo-languages/pascal_assert:56116a8"
FORMS: list[dict[str, Any]] = [
    {},
    {"image_name": IMAGE, "language": ["Pascal", "3.2.2"], "test_framework": ["assert", ""]},
    {"language": "Pascal", "unit_test_framework": "assert", "display_test_name": "assert"},
    {"image_name": "cyberdojofoundation/pascal_assert:82656f0"},
    {"filename_extension": ".pas", "runner_choice": "stateless"},
    {"filename_extension": [".pas", ".approved.txt"], "max_seconds": 20, "tab_size": 2},
    {"progress_regexs": [r"Failures (\d)\:", r"^\[\s+(\d+) tests successful\s+\]"]},
    {"progress_regexs": [r"Tests run\: (\d)+,(\s)+Failures\: (\d)+", r"OK \((\d)+ test(s)?\)"]},
    {"hidden_filenames": [r"TestResult\.xml", r"coverage/.*\.(html|json)"]},
    {"highlight_filenames": ["hiker.pas"], "rag_lambda": "red_amber_green.rb"},
    {"support_filenames": ["junit.jar"], "lowlight_filenames": ["makefile"]},
    {"visible_filenames": [SCRIPT, "src/Hiker.pas", ".lintrc", "tests/hiker_test.pas"]},
]


@pytest.mark.parametrize("keys", FORMS)
def test_every_form_that_the_field_has_is_taken_unchanged(own: Path, keys: dict[str, Any]) -> None:
    rule = "lambda { |stdout, stderr, status| :red }\n"
    folder = own / "languages/pascal"
    written = a_language(**keys)
    files = {**FILES, **dict.fromkeys(written["visible_filenames"], "x\n")}
    write(folder, written, {**files, "red_amber_green.rb": rule})
    findings = Findings()
    (entry,) = check(own / "languages", findings)
    assert findings == Findings()
    assert entry.image_name == written["image_name"]
    served = start_point.read(FolderFiles(folder), start_point.LANGUAGES)
    extensions = written.get("filename_extension", [])
    assert served.filename_extensions == ([extensions] if extensions == ".pas" else extensions)
    assert served.image_name == written["image_name"]
    assert list(served.visible_files) == written["visible_filenames"]
    assert served.ruby_lambda == (rule if "rag_lambda" in keys else None)
    for key in ("progress_regexs", "hidden_filenames", "highlight_filenames"):
        assert getattr(served, key) == written.get(key, [])
    assert served.other == {key: written[key] for key in KEPT if key in written}
    manifest.check(served)


def test_a_start_point_that_was_indexed_by_an_earlier_version_is_served_as_it_is(own: Path) -> None:
    """What the check refuses today may have been mounted yesterday."""
    assert index(own / "languages").returncode == 0
    write(own / "languages/pascal", a_language(filename_extension="pas", progress_regexs=["("]))
    assert index(own / "languages").returncode == 1
    assert StartPoints(own).get("Pascal, own", "").filename_extensions == ["pas"]
