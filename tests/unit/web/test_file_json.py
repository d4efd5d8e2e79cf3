"""Files as scripts have them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.access.limits import Unreadable
from web.pages import file_json


@given(st.dictionaries(st.text(min_size=1), st.binary()))
def test_files_come_back_as_they_went(files: dict[str, bytes]) -> None:
    files = {name.encode(errors="replace").decode(): files[name] for name in files}
    assert file_json.from_json(file_json.to_json(files)) == files


def test_files_that_nobody_wants_to_see_are_marked() -> None:
    files = {"main.o": b"", "main.c": b"", "a.gcno": b""}
    # The third is a look-ahead, which no search in linear time has: it hides nothing.
    found = file_json.to_json(files, [r"\.o$", r"\.gcno\z", r"(?=main)"])
    assert [each["name"] for each in found if each.get("hidden")] == ["main.o", "a.gcno"]


@pytest.mark.parametrize(
    "wrong",
    [None, {}, [1], [{}], [{"name": 1}], [{"name": "a"}], [{"name": "a", "base64": "?"}]],
)
def test_what_is_no_list_of_files_is_refused(wrong: Any) -> None:
    with pytest.raises(Unreadable):
        file_json.from_json(wrong)


def test_two_files_of_a_name_are_refused() -> None:
    with pytest.raises(Unreadable, match="two of the name"):
        file_json.from_json([{"name": "a", "text": ""}, {"name": "a", "text": ""}])
