"""HTML: what a reader sees."""

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.processing.markup import html_facts, readable


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("<title>T</title><h2>Head</h2>text", "T\n\n## Head\n\ntext"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("  many \n spaces  <b> between </b>  words ", "many spaces between words"),
        ("<ul><li>one<li>two</ul>", "- one\n- two"),
        ("<table><tr><th>a<th>b</tr><tr><td>1</td><td>2</td></tr></table>", None),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<script>x</script>a<style>b{}</style><noscript>n</noscript>c", "ac"),
        ("<svg><title>x</title><svg></svg>y</svg>z", "z"),
        ("<template><p>x</p></template>y", "y"),
        ('see <a href="https://a.example/x">this</a>.', "see this (https://a.example/x)."),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ('<a href="javascript:alert(1)">x</a> <a href="#y">y</a>', "x y"),
        ("&lt;b&gt; &amp; &#228;&nbsp;&euro;", "<b> & ä\xa0€"),
        ("a<!-- b -->c<![CDATA[d]]>e<!x>f<?php g ?>h", "acefh"),
        ("<![foo[x]]>y", "y"),
        ("x</nonsense></a></pre><unclosed", "x\n\n<unclosed"),
        ("<script>never closed", ""),
    ],
)
def test_what_a_reader_sees(source: str, expected: str | None) -> None:
    found = readable(source)
    if expected is None:
        assert found.split("\n") == ["a\tb", "1\t2"]
    else:
        assert found == expected


def test_the_stated_charset_is_used() -> None:
    source = '<meta charset="windows-1251"><p>Привет'
    found = html_facts(io.BytesIO(source.encode("cp1251")), "text/html")
    assert [page.text for page in found.text or ()] == ["Привет"]


@given(st.text(alphabet='<>/!-[]="&;ab \n', max_size=60))
def test_any_source_is_read(source: str) -> None:
    assert "\0" not in readable(source)


@pytest.mark.parametrize(
    "piece", ["<a href=https://x>", "<a>x</a>", "<svg>", "</p>", "<p>", "<td>", "&", "<pre>", "\n"]
)
def test_much_of_the_same_takes_no_time(piece: str) -> None:
    started = time.perf_counter()
    readable(piece * 20_000)
    assert time.perf_counter() - started < 3
