"""Names of containers, volumes and folders."""

import pytest

from dojo import naming
from dojo.naming import Namespace

ID = "7C4E19D2B6"


@pytest.mark.parametrize("name", ["cyber-dojo", "a", "0", "x" * 40])
def test_a_namespace_has_lower_case_letters_digits_and_dashes(name: str) -> None:
    assert Namespace(name).name == name


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "a\n", "x" * 41, "é"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not 1 to 40"):
        Namespace(name)


def test_a_name_belongs_to_one_namespace_only() -> None:
    name = Namespace("a-kata").kata(ID)
    assert Namespace("a-kata").kata_id(name) == ID
    for other in ("a", "a-kata-kata", "kata", "a-kat"):
        assert Namespace(other).kata_id(name) is None


@pytest.mark.parametrize("name", ["", "a-kata-", f"a-kata-{ID}0", f"b-kata-{ID}", f"/a-kata-{ID}"])
def test_a_name_of_no_kata_has_no_id(name: str) -> None:
    assert Namespace("a").kata_id(name) is None


def test_everything_of_a_namespace_carries_its_name() -> None:
    namespace = Namespace("a")
    assert namespace.kata_image.startswith("a-")
    assert namespace.backups.startswith("a-")
    labels = namespace.labels("run", kata=ID)
    assert labels == {naming.LABEL: "a", naming.KIND_LABEL: "run", naming.KATA_LABEL: ID}


def test_a_kata_is_mounted_where_a_katas_directory_has_it() -> None:
    assert str(naming.mount_path(ID)) == "/usr/src/cyber-dojo/katas/7C/4E19D2B6"
    assert str(naming.sandbox_path(ID, "whale")) == f"{naming.mount_path(ID)}/whale/sandbox"
