"""What the tests of the Markdown codec share: examples, real files, and strategies for text and for trees."""

import copy
import json
import re
import sysconfig
from pathlib import Path

import pytest
from hypothesis import strategies as st

from collab.domain.markdown.export import Assembly, Piece, written
from collab.domain.markdown.nodes import BREAK, Mark, Node, key
from collab.domain.markdown.source import parse
from collab.domain.markdown.syntax import html

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[4]


def _examples():
    for name in ("commonmark", "gfm"):
        for example in json.loads((DATA / f"{name}.json").read_text("utf-8")):
            yield f"{name}-{example['example']}", example["markdown"]


def _real():
    skipped = {".venv", "node_modules"}
    for path in sorted(ROOT.rglob("*.md")):
        if not skipped & set(path.relative_to(ROOT).parts):
            yield str(path.relative_to(ROOT)), path.read_bytes().decode()
    packages = Path(sysconfig.get_path("purelib"))
    for path in sorted(packages.rglob("*.md")):
        yield str(path.relative_to(packages)), path.read_bytes().decode()
    for path in sorted(packages.glob("*/METADATA")):
        head, _, body = path.read_bytes().decode().partition("\n\n")
        if "text/markdown" in head.lower():
            yield str(path.relative_to(packages)), body


@pytest.fixture(scope="session")
def data():
    return DATA


@pytest.fixture(scope="session")
def examples():
    """All examples of the CommonMark and GFM specifications, by name."""
    return dict(_examples())


@pytest.fixture(scope="session")
def real_files():
    """Markdown that people wrote: this repository's, and what the installed packages ship."""
    return {name: text for name, text in _real() if len(text) < 200_000}


@pytest.fixture(scope="session")
def rewritten():
    """N: every block written from its node, no byte of the source reused but in the gaps."""

    def n(text):
        source = parse(text)
        pieces = []
        for index, block in enumerate(source.blocks):
            node = copy.deepcopy(block.node)
            before = pieces[-1].node if pieces else None
            pieces.append(Piece(node, written(node, source, before), index, fresh=True))
        return Assembly(source, pieces).text()

    return n


@pytest.fixture(scope="session")
def rendered():
    """The HTML of Markdown; the two ways to write a line break count as one."""
    return lambda text: re.sub(r"<br\s*/?>\n?", "<br>", html(text.removeprefix("\ufeff")))


_WORDS = st.sampled_from(
    [
        "foo",
        "bar",
        "😀",
        "日本",
        "é",
        "a_b",
        "x*y",
        "*",
        "_",
        "**",
        "__",
        "~~",
        "==",
        "`",
        "``",
        "[",
        "]",
        "![",
        "](",
        "<b>",
        "<u>",
        "</u>",
        "<br>",
        "&",
        "&amp;",
        "&nbsp;",
        "\\",
        "\\*",
        "|",
        "#",
        ">",
        "-",
        "+",
        "1.",
        "2)",
        "$a$",
        "$",
        "[^1]",
        "[foo]",
        "[foo][bar]",
        "[a](b)",
        "![i](s)",
        "<http://x.y>",
        "http://x.y",
        "===",
        "---",
        "***",
        "```",
        "~~~",
        ":",
        "~",
        "!",
        "\t",
        "\xa0",
        "<!--",
        "-->",
    ]
)
_SPACED = st.lists(_WORDS, max_size=8).map(" ".join)
_INLINE = st.one_of(
    _SPACED,
    st.lists(_WORDS, max_size=6).map("".join),
    st.tuples(st.sampled_from(["**", "*", "_", "__", "~~", "==", "`"]), _SPACED).map(lambda t: t[0] + t[1] + t[0]),
)
_PREFIX = st.sampled_from(
    [
        "",
        "",
        "",
        "# ",
        "## ",
        "> ",
        "> > ",
        "- ",
        "* ",
        "+ ",
        "  - ",
        "    - ",
        "1. ",
        "2) ",
        "- [ ] ",
        "- [x] ",
        "    ",
        "  ",
        "\t",
        "- # ",
        "- > ",
        "> - ",
        "[foo]: ",
        "[^1]: ",
        ": ",
        "| ",
        "```",
        "~~~ ",
        "$$",
        "<div>",
        "---",
        "***",
        "===",
        "| --- | ---",
        "- - ",
        "1. - ",
        "-   ",
        "  ",
        "   ",
    ]
)
_EOL = st.sampled_from(["\n", "\n", "\n", "\n\n", "\n\n", "\r\n", "\r", "  \n", "\\\n", " \n\t\n", "\n\n\n"])
_LINE = st.tuples(_PREFIX, _INLINE, _EOL).map("".join)
_MARKDOWNISH = st.tuples(
    st.sampled_from(["", "", "", "\ufeff", "---\na: b\n---\n", "\n\n"]),
    st.lists(_LINE, max_size=12).map("".join),
    st.sampled_from(["", "", "end", "\n", "  ", "```\nx", "[foo]: /u 't'"]),
).map("".join)


@pytest.fixture(scope="session")
def markdownish():
    """Text full of Markdown's syntax, mostly ill-formed."""
    return st.one_of(
        _MARKDOWNISH,
        _MARKDOWNISH,
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    )


@pytest.fixture(scope="session")
def editing(examples, real_files):
    """Pairs of texts: something real, or unreal, before and after a few random edits."""
    texts = [*examples.values(), *(text for text in real_files.values() if len(text) < 6_000)]
    sources = st.one_of(st.sampled_from(texts), _MARKDOWNISH)

    @st.composite
    def pairs(draw):
        old = draw(sources)
        lines = re.split(r"(?<=\n)", old)
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(lines)))
            end = min(len(lines), at + draw(st.integers(0, 3)))
            match draw(st.sampled_from(["words", "delete", "insert", "move"])):
                case "words" if at < len(lines):
                    words = lines[at].split(" ")
                    place = draw(st.integers(0, len(words) - 1))
                    words[place : place + draw(st.integers(0, 2))] = draw(st.lists(_WORDS, max_size=2))
                    lines[at] = " ".join(words)
                case "delete":
                    del lines[at:end]
                case "insert":
                    lines[at:at] = draw(st.lists(_LINE, min_size=1, max_size=3))
                case "move":
                    piece = lines[at:end]
                    del lines[at:end]
                    to = draw(st.integers(0, len(lines)))
                    lines[to:to] = piece
        return old, "".join(lines)

    return pairs()


# Trees

_LETTERS = "ab cdeé😀日 \xa0.,!?*_`~=[]()<>#+-|\\&;:$^\"'/0129@{}"
_TEXT = st.text(st.sampled_from(_LETTERS), min_size=1, max_size=12)
_NAMES = ["bold", "italic", "strike", "underline", "highlight"]
_ADDRESS = st.one_of(
    st.sampled_from(["http://a.b/c_d?e=f&g=h#i", "mailto:a@b.c", "x y", "(", "a)b(", "#", "\\", "é"]), _TEXT
)


@st.composite
def _marks(draw):
    if draw(st.integers(0, 5)) == 0:
        return (Mark("code"),)
    names = draw(st.lists(st.sampled_from(_NAMES), max_size=3, unique=True)) if draw(st.booleans()) else []
    marks = tuple(Mark(name) for name in sorted(names))
    if draw(st.integers(0, 5)):
        return marks
    title = draw(st.none() | _TEXT.map(str.strip).filter(bool))
    return (*marks, Mark("link", (("href", draw(_ADDRESS)), *((("title", title),) if title else ()))))


@st.composite
def _inline(draw, breaks=True):
    nodes = [Node("text", text=draw(_TEXT), marks=draw(_marks())) for _ in range(draw(st.integers(0, 4)))]
    nodes = [node for at, node in enumerate(nodes) if not at or node.marks != nodes[at - 1].marks]
    if breaks and nodes:
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            nodes.insert(draw(st.integers(0, len(nodes))), Node(BREAK))
    return nodes


_PARAGRAPH = st.builds(lambda content: Node("paragraph", content=content), _inline())
_CODE = st.builds(
    lambda language, text: Node("codeBlock", {"language": language}, [Node("text", text=text)] if text else []),
    st.none() | st.sampled_from(["py", 'js title="x"', "a`b", "c&amp;d", "\\", "~"]),
    st.text(st.sampled_from("ab `~\n\t#-"), max_size=20),
)
_IMAGE = st.builds(
    lambda src, alt, title: Node("image", {"src": src, "alt": alt, "title": title}),
    _ADDRESS,
    st.none() | _TEXT,
    st.none() | _TEXT.map(str.strip).filter(bool),
)
_LEAF = st.one_of(
    _PARAGRAPH,
    _PARAGRAPH,
    _CODE,
    _IMAGE,
    st.builds(lambda: Node("horizontalRule")),
    st.builds(lambda level, content: Node("heading", {"level": level}, content), st.integers(1, 6), _inline()),
)


@st.composite
def _table(draw):
    columns, rows = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    aligns = [draw(st.sampled_from([None, "left", "center", "right"])) for _ in range(columns)]

    def cell(kind, align):
        return Node(kind, {"align": align}, [draw(_PARAGRAPH | _IMAGE)])

    kinds = ["tableHeader", *["tableCell"] * (rows - 1)]
    return Node("table", content=[Node("tableRow", content=[cell(kind, align) for align in aligns]) for kind in kinds])


def _item(kind, children):
    attrs = st.fixed_dictionaries({"checked": st.booleans()}) if kind == "taskItem" else st.just({})
    return st.builds(lambda a, p, rest: Node(kind, a, [p, *rest]), attrs, _PARAGRAPH, st.lists(children, max_size=2))


def _containers(children):
    def lists(kind, item, attrs):
        return st.builds(
            lambda a, items: Node(kind, a, items), attrs, st.lists(_item(item, children), min_size=1, max_size=3)
        )

    return st.one_of(
        st.builds(lambda content: Node("blockquote", content=content), st.lists(children, min_size=1, max_size=3)),
        lists("bulletList", "listItem", st.just({})),
        lists(
            "orderedList", "listItem", st.fixed_dictionaries({"start": st.sampled_from([0, 1, 1, 2, 9, 999_999_998])})
        ),
        lists("taskList", "taskItem", st.just({})),
    )


_BLOCK = st.recursive(st.one_of(_LEAF, _LEAF, _table()), _containers, max_leaves=8)


@pytest.fixture(scope="session")
def trees():
    """Documents that TipTap accepts and Markdown can say."""
    return st.lists(_BLOCK, max_size=5)


@pytest.fixture(scope="session")
def keys():
    return lambda nodes: [key(node) for node in nodes]
