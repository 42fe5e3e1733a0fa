"""Which lines are prose; each case marks protected lines with `#` and prose with `.`."""

import time

import pytest

from documents.domain.markdown import Protection, leaves_open, starts_front_matter

SECONDS = 1.0

CASES = {
    "paragraphs": ("one\n\ntwo", "..."),
    "fence": ("a\n```\nb\n\nc\n```\nd", ".#####."),
    "fence closed by a longer one": ("```\na\n`````\nb", "###."),
    "fence not closed by a shorter one": ("````\na\n```\nb\n````\nc", "#####."),
    "fence not closed by another kind": ("```\na\n~~~\n```\nb", "####."),
    "fence not closed by one with text": ("```\na\n``` x\n```\nb", "####."),
    "fence not closed when indented by four": ("```\na\n    ```\nb\n   ```\nc", "#####."),
    "inline code is no fence": ("```a`b\nc", ".."),
    "fence in a list ends with it": ("- ```\n  a\nb", "##."),
    "fence in a nested list": ("1. a\n   - b\n\n     ~~~\n     c\n     ~~~\n     d", "...###."),
    "fence in a quote ends with it": ("> ```\n> a\nb", "##."),
    "indented code": ("a\n\n    b\n\n    c\nd", "..#.#."),
    "indented code by a tab": ("\tb\na", "#."),
    "no code inside a paragraph": ("a\n    b\nc", "..."),
    "paragraphs of a list are indented": ("- a\n\n  b\n\n  c", "....."),
    "code in a list": ("- a\n\n      b", "..#"),
    "code after an empty item": ("-\n\n    a", "..#"),
    "front matter": ("---\na: b\n---\nc", "###."),
    "front matter closed by dots": ("---\na: b\n...\nc", "###."),
    "toml front matter": ("+++\na = 1\n+++\nc", "###."),
    "a rule is no front matter": ("---\na: b", ".."),
    "front matter only at the start": ("x\n\n---\na: b\n---", "....."),
    "table": ("a\n\n| h | i |\n|---|:-:|\n| 1 | 2 |\n\nb", "..###.."),
    "table without outer pipes": ("h | i\n- | -\n1 | 2\nrest\n\nb", "####.."),
    "table in a quote": ("> h | i\n> --- | ---\n> 1 | 2\n> \n> b", "###.."),
    "heading underlined": ("a\n---\nb\n===", "...."),
    "html to a blank line": ("<div>\na\n\nb", "###."),
    "html comment": ("<!-- a\n\nb -->\nc", "###."),
    "script": ("<script>\n\na\n</script>\nb", "####."),
    "closed tag alone": ("<x-y z='1'>\na\n\nb", "###."),
    "inline html is prose": ("<b>a</b> c\n\n<https://a.org> b", "..."),
    "math": ("a\n$$\nb\n\nc\n$$\nd", ".#####."),
    "math on one line": ("$$ a $$\nb", "#."),
    "two dollars alone": ("costs $$\na\n\nb", "###."),
    "math in brackets": ("\\[\na\n\\]\nb", "###."),
    "link definition": ("[a]: /b 'c'\nd", "#."),
    "link definition on lines": ("[a]:\n/b\n'c\nd'\n\ne", "#####."),
    "link definition with its title below": ("[a]: /b\n'c'\n\nd", "###."),
    "footnote is prose": ("[^1]: a b", "."),
    "lists are prose": ("- a\n- [ ] b\n  - c\n1. d\n2) e", "....."),
    "quotes are prose": ("> a\nb\n>> c", "..."),
    "rules are prose": ("* * *\n___\n- - -", "..."),
    "nested too deep": (f"{'>' * 40} a\n\nb", "#.."),
    "line too long": (f"{'-' * 70_000}\nb", "#."),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_lines_are_told_apart(text, expected):
    protection = Protection(text.split("\n"))
    found = "".join("#" if protection.covers(slice(at, at + 1)) else "." for at in range(len(expected)))
    assert found == expected


def test_reading_on_demand_gives_the_same_in_any_order():
    lines = ["a", "", "h | i", "- | -", "1 | 2", "", "```", "b", "```", "c"]
    backwards, forwards = Protection(lines), Protection(lines)
    places = [slice(at, at + 1) for at in range(len(lines))]
    assert [backwards.covers(place) for place in places[::-1]][::-1] == [forwards.covers(place) for place in places]


def test_a_table_is_known_from_its_header_on():
    assert Protection(["h | i", "--- | ---"]).covers(slice(0, 1))


def test_no_lines_are_not_protected():
    assert not Protection([]).covers(slice(0, 0))
    assert not Protection(["```", "a", "```"]).covers(slice(1, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", False),
        ("", False),
        ("```\na", True),
        ("```\na\n```", False),
        ("<!-- a", True),
        ("$$\na\n\nb $$", False),
        ("- ```\n  a", False),
        ("    a", False),
    ],
)
def test_what_is_left_open_takes_in_what_follows(text, expected):
    assert leaves_open(text.split("\n")) is expected


def test_front_matter_starts_with_its_fence():
    assert starts_front_matter(["---", "a: b"])
    assert starts_front_matter(["+++ "])
    assert not starts_front_matter(["----"])
    assert not starts_front_matter([])


@pytest.mark.parametrize(
    "line",
    ["* " * 30_000 + "x", "-" + " " * 60_000 + "x", "-|" * 30_000 + "x", "<a" + " " * 60_000, "[" + "\\a" * 30_000,
     "`" * 60_000 + "x`", ">" * 60_000, "\t" * 16_000, "<!" + "-" * 60_000, "1" * 60_000 + ". a"],
    ids=lambda line: line[:4],
)  # fmt: skip
def test_hostile_lines_are_read_in_bounded_time(line):
    started = time.process_time()
    Protection(["a", line, line, "", line]).covers(slice(0, 5))
    assert time.process_time() - started < SECONDS
