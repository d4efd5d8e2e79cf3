"""The languages: each has a start point and an image that match."""

from pathlib import Path

import pytest

from dojo import avatars
from storer.kata import legacy_languages
from support.legacy_scripts import LEGACY_SCRIPTS
from support.paths import TOP
from support.start_point_files import LANGUAGES, NAMES, SUITE, manifest

IMAGES = TOP / "images" / "languages"

KEYS = {
    "display_name",
    "image_name",
    "filename_extension",
    "tab_size",
    "max_seconds",
    "visible_filenames",
    "highlight_filenames",
    "progress_regexs",
    "colour_rule",
}


def test_every_legacy_language_maps_to_a_current_one() -> None:
    current = {(manifest(name)["display_name"], manifest(name)["image_name"]) for name in NAMES}
    found = {
        (each.display_name, each.image_name) for each in legacy_languages._BY_LEGACY_NAME.values()
    }
    assert found <= current


@pytest.mark.parametrize("folder", [LANGUAGES / name for name in NAMES], ids=NAMES)
def test_a_manifest_has_every_key_and_names_every_file(
    folder: Path,
) -> None:
    found = manifest(folder.name)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(found) - {"results_filename"} == KEYS
    assert set(found["visible_filenames"]) == files - {"manifest.json"}
    assert "cyber-dojo.sh" in found["visible_filenames"]
    assert set(found["highlight_filenames"]) <= set(found["visible_filenames"])
    assert found["image_name"] == f"cyberdojofoundation/{folder.name}"
    for extension in found["filename_extension"]:
        assert any(each.endswith(extension) for each in found["visible_filenames"])
    assert 1 <= found["max_seconds"] <= 60
    assert 1 <= found["tab_size"] <= 16


def test_the_images_have_a_user_for_each_avatar() -> None:
    lines = (TOP / "images" / "base" / "passwd").read_text().splitlines()
    assert lines == [
        f"{name}:x:{avatars.uid(name)}:{avatars.uid(name)}::/tmp:/bin/sh" for name in avatars.NAMES
    ]


def test_each_language_has_one_image_and_each_image_one_language() -> None:
    assert sorted(path.name for path in IMAGES.iterdir()) == NAMES
    assert set(SUITE) <= set(NAMES)


def test_each_image_is_tested_with_a_legacy_script() -> None:
    assert {each.image for each in LEGACY_SCRIPTS} == set(NAMES)


def test_c_and_cpp_are_compiled_alike() -> None:
    specs = [(IMAGES / name / "specs").read_bytes() for name in ("gcc_assert", "gpp_assert")]
    assert specs[0] == specs[1]


def test_both_compilers_of_cpp_have_the_same_legacy_headers() -> None:
    headers = [
        {path.name: path.read_bytes() for path in (IMAGES / name / "legacy").iterdir()}
        for name in ("gpp_assert", "clangpp_assert")
    ]
    assert headers[0] == headers[1]
