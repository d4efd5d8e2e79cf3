"""In long histories the storer has what a plain model of it has."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from support.fuzz import cases, profiles
from support.fuzz.cases import Case
from support.fuzz.history import History
from support.fuzz.watched import World

ANY = st.integers(0, 5)
FILES = st.dictionaries(
    st.sampled_from(["cyber-dojo.sh", "a.c", "b/c.txt", "ü", "f.lock"]),
    st.sampled_from([b"", b"x\n", b"y", b"\0\xff", b"1\n2\n3\n"]),
    min_size=1,
    max_size=4,
)


class Machine(RuleBasedStateMachine):
    """Has a rule for each step of a history."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.history = History(world.katas)

    def take(self, *step: Any) -> None:
        try:
            self.history.take(*step)
            self.world.storer.check()
        except Exception as error:
            case = Case("history", self.history.taken)
            error.add_note(f"the steps are in {cases.write(case)}")
            raise

    @rule(files=FILES)
    def create(self, files: dict[str, bytes]) -> None:
        self.take("create", files)

    @rule(kata=ANY, avatar=ANY)
    def start(self, kata: int, avatar: int) -> None:
        self.take("start", kata, avatar)

    @rule(kata=ANY, avatar=ANY, files=FILES)
    def record(self, kata: int, avatar: int, files: dict[str, bytes]) -> None:
        self.take("record", kata, avatar, files)

    @rule(kata=ANY, avatar=ANY, files=FILES)
    def record_more(self, kata: int, avatar: int, files: dict[str, bytes]) -> None:
        self.take("record", kata, avatar, files)

    @rule(kata=ANY, avatar=ANY, option=ANY, value=st.booleans())
    def set_options(self, kata: int, avatar: int, option: int, value: bool) -> None:  # noqa: FBT001
        self.take("set_options", kata, avatar, option, value)

    @rule(kata=ANY, avatar=ANY, was=ANY, now=ANY)
    def diff(self, kata: int, avatar: int, was: int, now: int) -> None:
        self.take("diff", kata, avatar, was, now)

    @rule(kata=ANY)
    def get(self, kata: int) -> None:
        self.take("get", kata)

    @rule(kata=ANY, avatar=ANY, number=ANY)
    def fork(self, kata: int, avatar: int, number: int) -> None:
        self.take("fork", kata, avatar, number)

    @rule(kata=ANY, avatar=ANY, number=ANY)
    def fork_avatar(self, kata: int, avatar: int, number: int) -> None:
        self.take("fork_avatar", kata, avatar, number)

    @rule(kata=ANY)
    def archive(self, kata: int) -> None:
        self.take("archive", kata)

    @rule(kata=ANY)
    def download(self, kata: int) -> None:
        self.take("download", kata)

    @rule(tar=ANY, overwrite=st.booleans())
    def restore(self, tar: int, overwrite: bool) -> None:  # noqa: FBT001
        self.take("restore", tar, overwrite)

    @rule(kata=ANY)
    def delete(self, kata: int) -> None:
        self.take("delete", kata)

    @rule(kata=ANY)
    def verify(self, kata: int) -> None:
        self.take("verify", kata)

    @rule(since=st.integers(-1, 3))
    def backup(self, since: int) -> None:
        self.take("backup", since)

    @rule(backup=ANY, overwrite=st.booleans(), deletions=st.booleans())
    def restore_all(self, backup: int, overwrite: bool, deletions: bool) -> None:  # noqa: FBT001
        self.take("restore_all", backup, overwrite, deletions)

    def teardown(self) -> None:
        with self.history:
            self.take("compare_all")


def test_a_storer_has_what_its_history_says(world: World) -> None:
    settings = profiles.with_steps(profiles.examples(6), 50)
    run_state_machine_as_test(lambda: Machine(world), settings=settings)  # type: ignore[arg-type]
