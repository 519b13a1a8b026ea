import io
from html.parser import HTMLParser

import pytest

from onnxprune.report import numbers
from onnxprune.report.blocks import Lines, Table, filled, plain
from onnxprune.report.html import page
from onnxprune.report.terminal import open_console, show
from onnxprune.values.amount import percent

WILD = Table("t", ("a", "b"), (("<script>[bold]:smile:", "1"), ("b" * 300, "22")), frozenset({1}))


def shown(*blocks: Table | Lines) -> str:
    stream = io.StringIO()
    show(blocks, open_console(stream))
    return stream.getvalue()


def test_text_is_shown_as_it_is_and_never_cut_in_a_pipe() -> None:
    text = shown(WILD)
    assert "<script>[bold]:smile:" in text
    assert "b" * 300 in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_numbers_line_up_on_the_right() -> None:
    lines = shown(Table("", ("a", "n"), (("x", "1"), ("y", "1000")), frozenset({1}))).splitlines()
    assert lines[-2].endswith("   1")
    assert len(lines[-1]) == len(lines[-2])


def test_sentences_stand_together_and_tables_apart() -> None:
    text = shown(Lines(("one",)), Lines(("two",)), WILD, Lines(("three",), "title"))
    assert text.startswith("one\ntwo\n\nt\n")
    assert text.endswith("\n\ntitle\n  three\n")


def test_control_characters_are_spelt_out() -> None:
    assert plain("a\x1b[31m\n b\u202e") == "a\\x1b[31m b\\u202e"
    assert "\x1b" not in shown(Lines(("\x1b[31mred",)))


def test_empty_blocks_are_dropped() -> None:
    assert filled(None, Lines(()), Table("t", ("a",), ()), WILD) == (WILD,)


class _Checker(HTMLParser):
    """Counts tags and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}, "a page needs nothing from elsewhere"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_self_contained_and_escaped() -> None:
    text = page("a <b> model", [WILD, Lines(("careful",), tone="warning")])
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.seen
    assert "&lt;script&gt;" in text
    assert "a &lt;b&gt; model" in text
    assert 'class="warning"' in text
    assert "url(" not in text
    assert text == page("a <b> model", [WILD, Lines(("careful",), tone="warning")])


def test_bars_stand_after_the_numbers() -> None:
    table = Table("", ("g", "n", "rest"), (("x", "1", "z"),), frozenset({1}), bars=(0.25,))
    text = page("", [table])
    assert text.index(">1<") < text.index("width:25.0%") < text.index(">z<")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (numbers.count(240874), "240,874"),
        (numbers.count(3005056), "3.005 M"),
        (numbers.count(1814073344), "1.814 G"),
        (numbers.count(0), "0"),
        (numbers.size(999), "999 bytes"),
        (numbers.size(975387), "975.4 kB"),
        (numbers.size(46_800_000), "46.80 MB"),
        (numbers.latency(0.1314), "0.131 ms"),
        (numbers.latency(12.34), "12.3 ms"),
        (numbers.latency(123.4), "123 ms"),
        (numbers.latency(1234.0), "1,234 ms"),
        (numbers.latency(None), "-"),
        (percent(0.0001), "0.01 %"),
        (percent(0.0), "0.0 %"),
        (percent(0.876), "87.6 %"),
        (numbers.points(-0.0367), "-3.7 points"),
        (numbers.points(0.02), "+2.0 points"),
        (numbers.points(-0.0001), "0.0 points"),
        (numbers.times(2.0, 1.0), "2.00"),
        (numbers.times(None, 1.0), "-"),
        (numbers.times(1.0, 0.0), "-"),
        (numbers.many(1, "group"), "1 group"),
        (numbers.many(2, "class"), "2 classes"),
        (numbers.many(1234, "image"), "1,234 images"),
    ],
)
def test_numbers_as_people_read_them(text: str, wanted: str) -> None:
    assert text == wanted
