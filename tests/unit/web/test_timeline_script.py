"""The timeline of the browser's script folds as the server's does."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.paths import TOP
from web.session.timeline import for_people

CASES = json.loads(Path(__file__).with_name("timeline_cases.json").read_text())
SCRIPTS = TOP / "web/script"
DURATIONS = [-3, 59.9, 60, 3599, 3600, 3900, 86400, 183599]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script makes of the cases."""
    esbuild = SCRIPTS / "node_modules/.bin/esbuild"
    if not esbuild.exists():
        pytest.skip("make web installs what bundles scripts")
    bundled = tmp_path_factory.mktemp("script") / "timeline.mjs"
    source = SCRIPTS / "shared/timeline.ts"
    subprocess.run([esbuild, source, "--format=esm", f"--outfile={bundled}"], check=True)
    program = f"""
        import {{ fold, columnOf, forPeople }} from {json.dumps(str(bundled))};
        const {{ cases, durations }} = JSON.parse(await new Response(process.stdin).text());
        console.log(JSON.stringify({{
          folded: cases.map((each) => fold(each.times, each.now, each.max_columns)),
          columns: cases.map((each) => {{
            const timeline = fold(each.times, each.now, each.max_columns);
            return each.times.map((time) => columnOf(timeline, time));
          }}),
          said: durations.map(forPeople),
        }}));
    """
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", program],
        input=json.dumps({"cases": CASES, "durations": DURATIONS}),
        capture_output=True,
        check=True,
        text=True,
    )
    answers: dict[str, Any] = json.loads(ran.stdout)
    return answers


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_the_script_folds_time_as_the_cases_say(answers: dict[str, Any], place: int) -> None:
    case, timeline = CASES[place], answers["folded"][place]
    columns = [
        [each["start"], each["seconds"], *(["fold"] if each["isFold"] else [])]
        for each in timeline["columns"]
    ]
    assert columns == case["columns"]
    assert timeline["columnSeconds"] == case["column_seconds"]
    for time, column in zip(case["times"], answers["columns"][place], strict=True):
        start, seconds = case["columns"][column][:2]
        assert start <= time < start + seconds


def test_the_script_says_durations_as_the_server_does(answers: dict[str, Any]) -> None:
    assert answers["said"] == [for_people(seconds) for seconds in DURATIONS]
