import asyncio
from xml.etree import ElementTree as ET

import pytest

from web.session.lights import Light
from web.session.picture import MAX_CELL_LIGHTS, cells, picture
from web.session.png import MAX_PIXELS, Painter, PictureFailed
from web.session.standings import Standing, standings
from web.session.timeline import fold

SVG = "{http://www.w3.org/2000/svg}"
START = 1_700_000_000.0
NOW = START + 7200


def session(*lights: Light) -> list[Standing]:
    return standings({"whale": [Light(0, "start", START), *lights]})


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in parsed(svg).iter(f"{SVG}text")]


def test_a_picture_has_a_title_a_description_and_each_light_in_words() -> None:
    svg = picture("Fizz Buzz", session(Light(1, "red", START + 60, 1, 3)), NOW)
    root = parsed(svg)
    assert root.attrib["role"] == "img"
    names = root.attrib["aria-labelledby"].split()
    named = {each.attrib["id"]: each.text for each in root if "id" in each.attrib}
    assert [named[name] for name in names] == [
        "Fizz Buzz",
        "1 animal, 1 test. whale: 1 red; now red; 1 of 3 tests pass.",
    ]
    assert "whale 1: red, 1 of 3 tests passed" in [each.text for each in root.iter(f"{SVG}title")]


def test_a_light_has_a_letter_and_a_shape_beside_its_colour() -> None:
    shapes = {}
    for colour, letter in (("red", "R"), ("amber", "A"), ("green", "G"), ("timed_out", "T")):
        root = parsed(picture("", session(Light(1, colour, START + 60)), NOW))
        group = next(each for each in root.iter(f"{SVG}g") if each.find(f"{SVG}title") is not None)
        path = group.find(f".//{SVG}path")
        assert group.findtext(f".//{SVG}text") == letter
        assert path is not None
        shapes[colour] = path.attrib["d"]
    assert len(set(shapes.values())) == 4


def test_folds_say_how_long_they_are_and_hours_are_those_of_the_place() -> None:
    said = texts(picture("", session(Light(1, "red", START + 60)), NOW, utc_offset_minutes=-90))
    assert "1 h 58 min" in said
    assert "20:43" in said
    assert any("UTC-01:30" in each for each in said)


def test_what_participants_chose_is_text() -> None:
    title = "<script>alert(1)</script>\0\x1b[31m&amp;\ufffe"
    svg = picture(title, session(), NOW)
    assert not list(parsed(svg).iter(f"{SVG}script"))
    assert "<script>alert(1)</script>\ufffd\ufffd[31m&amp;\ufffd" in texts(svg)


def test_a_session_of_nobody_says_so() -> None:
    assert "Nobody has joined yet." in texts(picture("", [], NOW))


def test_of_many_lights_in_one_column_the_last_are_drawn_and_the_others_counted() -> None:
    lights = [Light(number, "red", START + number) for number in range(1, 21)]
    standing = session(*lights)[0]
    (cell,) = cells(standing, fold([START], START + 20)).values()
    assert (len(cell.lights), cell.more) == (MAX_CELL_LIGHTS - 1, 13)
    assert cell.lights[-1].number == 20
    assert "+13" in texts(picture("", [standing], START + 20))


def test_a_png_is_twice_as_large_unless_that_is_too_large() -> None:
    async def sizes() -> list[int]:
        painter = Painter()
        found = []
        for svg in (
            picture("", session(), NOW),
            '<svg xmlns="http://www.w3.org/2000/svg" width="9000" height="4000"/>',
        ):
            png = await painter.png(svg)
            assert png.startswith(b"\x89PNG\r\n\x1a\n")
            found.append(int.from_bytes(png[16:20], "big"))
            assert found[-1] * int.from_bytes(png[20:24], "big") <= MAX_PIXELS + 20_000
        return found

    width = int(parsed(picture("", session(), NOW)).attrib["width"])
    assert asyncio.run(sizes())[0] == 2 * width


def test_what_can_not_be_drawn_is_told() -> None:
    with pytest.raises(PictureFailed, match="ParseError"):
        asyncio.run(Painter().png("<svg"))


def test_a_session_of_one_moment_has_room_for_its_title_and_legend() -> None:
    title = "A title of some sixty characters, which is not a short one"
    svg = parsed(picture(title, session(), START))
    assert int(svg.attrib["width"]) > len(title) * 12
    places = [float(each.attrib["x"]) for each in svg.iter() if each.attrib.get("x", "").isdigit()]
    assert max(places) < int(svg.attrib["width"])
