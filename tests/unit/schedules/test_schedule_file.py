"""The file of schedules: read, written, changed in one place, and everything that is wrong with it said at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.schedule_file import (
    MOST_SCHEDULES,
    ScheduleFile,
    ScheduleSpec,
    check,
    check_spec,
    compile_schedules,
    edited,
    export,
    load,
    make,
)
from event_processor.domain.schedule_times import Place
from event_processor.domain.schedule_words import spec_of
from event_processor.domain.schedules import make_schedule
from pylib.errors import ConfigError

NOW = 1_795_500_000.0
UTC = Place()
FILE = """# The house.

[[schedule]]
id = "morning"   # early
at = "07:00"
do = ["mode home"]

# When it gets dark.
[[schedule]]
id = "dusk"
sun = "sunset-00:30"
do = "command lamp = on"
"""
DUSK = ScheduleSpec(id="dusk", sun="sunset-00:30", do=("command lamp = on",))
MORNING = ScheduleSpec(id="morning", at="07:00", do=("mode home",))

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
when = st.one_of(
    st.fixed_dictionaries(
        {"at": st.sampled_from(("07:30", "0:05, 19:00:30")), "days": st.sampled_from(("", "fri-mon", "sat"))}
    ),
    st.fixed_dictionaries({"cron": st.sampled_from(("*/10 8-18 * * mon-fri", "30 0 7 * * *"))}),
    st.fixed_dictionaries(
        {"sun": st.sampled_from(("dawn", "sunset-00:30", "sunrise + 1:00:15")), "days": st.just("tue, thu")}
    ),
)
spec = st.builds(
    lambda ident, when, **more: ScheduleSpec(id=ident, **when, **more),
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    when,
    do=st.lists(st.one_of(words.map("mode {}".format), words.map("disable rule {}".format)), min_size=1, max_size=3).map(
        tuple
    ),
    name=st.one_of(st.just(""), words),
    missed=st.sampled_from(("skip", "once", "fire")),
    zone=st.sampled_from(("", "Europe/Berlin")),
    enabled=st.booleans(),
)
files = st.lists(spec, max_size=4, unique_by=lambda each: each.id.lower()).map(lambda each: ScheduleFile(tuple(each)))


@settings(max_examples=60)
@given(file=files)
def test_what_is_written_is_read_as_the_same_and_shown_as_it_would_be_written(file: ScheduleFile) -> None:
    assert load(export(file)) == file
    for each in file.schedule:
        assert make(spec_of(make(each))) == make(each)


@settings(max_examples=60)
@given(file=files, new=spec)
def test_one_schedule_is_put_or_deleted_and_the_others_and_comments_stay(file: ScheduleFile, new: ScheduleSpec) -> None:
    text = "# The house.\n" + "\n# next\n".join(export(ScheduleFile((each,))) for each in file.schedule)
    others = [each for each in file.schedule if each.id.lower() != new.id.lower()]
    before = export(ScheduleFile(tuple(others)))
    assert load(edited(before, new.id, new)) == ScheduleFile((*others, new))
    for each in file.schedule:
        changed = ScheduleSpec(id=each.id, at="12:34", do=("mode noon",))
        put, gone = edited(text, each.id, changed), edited(text, each.id, None)
        assert load(put).schedule == tuple(changed if one == each else one for one in file.schedule)
        assert load(gone).schedule == tuple(one for one in file.schedule if one != each)
        assert put.count("#") == gone.count("#") + changed.id.count("#")
        assert put.startswith("# The house.\n")


def test_comments_around_a_changed_schedule_stay_where_they_are() -> None:
    later = ScheduleSpec(id="morning", at="08:00", do=("mode home",))
    text = edited(FILE, "morning", later)
    assert text == FILE.replace('id = "morning"   # early', 'id = "morning"').replace("07:00", "08:00")
    assert edited(text, "morning", None).split("\n")[0] == "# The house."
    assert "# When it gets dark.\n[[schedule]]" in edited(text, "morning", None)
    assert load(edited("", "dusk", DUSK)).schedule == (DUSK,)


def test_a_layout_that_cannot_be_spliced_safely_is_written_anew() -> None:
    inline = 'schedule = [{id = "morning", at = "07:00", do = ["mode home"]}]'
    assert load(edited(inline, "dusk", DUSK)).schedule == (MORNING, DUSK)
    hidden = 'schedule = [{id = "a", at = "07:00", do = ["mode x"], name = """\n[[schedule]]"""}]'
    assert load(edited(hidden, "dusk", DUSK)).schedule == (*load(hidden).schedule, DUSK)


def test_a_single_thing_to_do_and_a_plain_time_need_no_quotes_or_brackets() -> None:
    assert load('[[schedule]]\nid = "morning"\nat = 07:00:00\ndo = "mode home"\n').schedule[0] == ScheduleSpec(
        id="morning", at="07:00:00", do=("mode home",)
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[schedule]\n", "this is no TOML"),
        ("[schedule]\nid = 'a'\n", "in two brackets"),
        ("[[rule]]\n", "rule: expected [[schedule]], and nothing else"),
        ("[[schedule]]\nat = '07:00'\n", "schedule number 1 of the file: id: this has to be there"),
        ("[[schedule]]\nid = 'a'\nwhen = 1\n", "schedule a: when: there is no such field: see docs/reference/schedules.md"),
        ("[[schedule]]\nid = 'a b'\nat = '07:00'\ndo = 'mode x'\n", "schedule a b: id: expected up to 64 letters"),
        ("[[schedule]]\nid = 'a'\nat = 7\n", "schedule a: at: expected `str`, got `int`"),
        ("[[schedule]]\nid = 'a'\nat = '7'\ndo = 'mode x'\n", "schedule a: at: '7' is no time of the day; write 07:30"),
        ("[[schedule]]\nid = 'a'\nmissed = 'later'\n", "schedule a: missed: invalid enum value 'later'"),
        (export(ScheduleFile((MORNING, MORNING))), "schedule morning: id: two schedules have this id"),
        ("x" * 1_000_001, "the file is larger than"),
        ("[[schedule]]\n" * (MOST_SCHEDULES + 1), "1000 is the limit"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, "s.toml")
    assert f"s.toml: {told}" in str(caught.value) or told in str(caught.value)
    assert str(caught.value).startswith("s.toml: ")
    assert check(text)


def test_every_error_of_a_schedule_is_said_at_once() -> None:
    wrong = ScheduleSpec(id="", at="7", cron="x", days="someday", zone="Mars", do=("explode", "mode x"))
    assert [problem.field for problem in check_spec(wrong)] == ["id", "cron", "at", "cron", "days", "days", "zone", "do"]


def test_an_id_that_app_conf_has_too_and_a_sun_that_nobody_can_find_are_one_error_each() -> None:
    known = [make_schedule("Morning", at="06:00", do=["mode home"], name="Morning!")]
    with pytest.raises(ConfigError) as caught:
        compile_schedules(known, load(FILE), UTC, NOW, "s.toml")
    assert str(caught.value).splitlines() == [
        "s.toml: schedule morning: id: app.conf has [schedule:Morning!] too: give one another id",
        "s.toml: schedule dusk: sun: the hub does not know where it is; set latitude and longitude in [hub]",
    ]
    berlin = Place(zone="Europe/Berlin", latitude=52.5, longitude=13.4)
    assert [each.id for each in compile_schedules((), load(FILE), berlin, NOW)] == ["morning", "dusk"]


def test_the_reference_shows_a_file_that_is_right() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "schedules.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert [each.title for each in load(text).schedule] == ["Good night"]
    assert all(f"`{field}`" in page for field in ScheduleSpec.__struct_fields__ if field not in ("id", "days"))
