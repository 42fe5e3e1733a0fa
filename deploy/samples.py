"""Markdown as people write it, made up: `sample(seed, index)` is always the same document.

Sizes are log-normal around 4 KB, six of ten between 2 and 8 KB, from 1 KB to 100 KB.
"""
# ruff: noqa: RUF001 - other scripts are the point

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

MEDIAN_BYTES = 4000
SPREAD = 0.8
SMALLEST, LARGEST = 1000, 100_000

_VOCABULARY = (
    "the a of to in and is for with that this on by from we they it as are not but or when each which after before "
    "between under team release customer draft review meeting decision budget question answer editor document version "
    "change merge conflict history folder workspace device offline network latency queue index query table column row "
    "schema service gateway token session invoice contract supplier shipment harbour bridge engine sensor battery "
    "garden winter morning paper lantern archive museum library chapter reader writer sentence margin footnote "
    "measures shows keeps breaks explains moves arrives waits returns depends improves reduces covers holds follows "
    "quickly rarely often together again later today clearly roughly exactly slowly small large early late open "
    "simple difficult quiet bright stable recent former common useful honest careful remote local shared empty full"
)
WORDS = _VOCABULARY.split()
ACCENTED = (
    "Über die Änderung größerer Abschnitte",
    "Déjà vu : l'été, l'hôtel où l'on mange à midi",
    "El niño pidió más café en la mañana",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Zażółć gęślą jaźń",
    "Ώρα για μια σύντομη παύση",
    "Съешь же ещё этих мягких французских булок",
)
CJK = (
    "本番環境へのデプロイは金曜日の午後に行わないでください。",
    "この文書は来週の会議までに更新されます。",
    "我们需要在下周之前完成设计评审。",
    "数据库的备份每天凌晨两点进行，保留九十天。",
    "오프라인에서도 문서를 편집할 수 있습니다.",
    "変更履歴はすべて保存され、いつでも元に戻せます。",
)
TOPICS = (
    "Meeting notes", "Release plan", "Design review", "Incident report", "Onboarding guide", "Research summary",
    "Travel checklist", "Interview", "Roadmap", "Architecture", "Reading list", "Retrospective", "FAQ", "Réunion",
    "設計メモ", "会议记录",
)  # fmt: skip
CODE = (
    ("python", "def {0}(items: list[int]) -> int:\n    # {1}\n    return sum(item * {2} for item in items)\n"),
    ("sql", "SELECT {0}, count(*) FROM {1}\nWHERE updated_at > now() - interval '{2} days'\nGROUP BY {0};\n"),
    ("bash", 'for file in *.md; do\n    {0} "$file" | head -n {2}  # {1}\ndone\n'),
    ("json", '{{\n  "{0}": "{1}",\n  "limit": {2},\n  "nested": {{"on": true, "list": [1, 2, {2}]}}\n}}\n'),
    ("", "{0} -> {1}\n    retry {2} times\n\n    then give up\n"),
)


@dataclass(frozen=True)
class Sample:
    """A made-up document."""

    title: str
    content: str


def sample(seed: int, index: int) -> Sample:
    """Document number `index` of the series `seed`."""
    random = Random(f"{seed}/{index}")
    size = min(max(random.lognormvariate(math.log(MEDIAN_BYTES), SPREAD), SMALLEST), LARGEST)
    title = f"{random.choice(TOPICS)}: {_phrase(random, 2, 5)}"
    blocks = [_front_matter(random, title)] if random.random() < 0.1 else []
    blocks.append(f"# {title}\n")
    length = 0
    while length < size:
        block = random.choices(BLOCKS, WEIGHTS)[0](random)
        blocks.append(block)
        length += len(block.encode()) + 1
    return Sample(title, "\n".join(blocks))


def _phrase(random: Random, least: int, most: int) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(least, most)))


def _sentence(random: Random) -> str:
    text = _phrase(random, 6, 18).capitalize()
    if random.random() < 0.15:
        text += f", **{_phrase(random, 1, 3)}** and `{random.choice(WORDS)}`"
    if random.random() < 0.08:
        text += f" ([{random.choice(WORDS)}](https://example.org/{random.choice(WORDS)}))"
    return text + random.choice("." * 8 + "?!") + (" 🙂" if random.random() < 0.02 else "")


def _paragraph(random: Random) -> str:
    return " ".join(_sentence(random) for _ in range(random.randint(2, 6))) + "\n"


def _heading(random: Random) -> str:
    return f"{'#' * random.choice((2, 2, 2, 3, 3, 4))} {_phrase(random, 1, 5).capitalize()}\n"


def _bullets(random: Random) -> str:
    mark = random.choice(("- ", "* ", "1. ", "- [ ] ", "- [x] "))
    lines = []
    for _ in range(random.randint(3, 8)):
        lines.append(f"{mark}{_phrase(random, 3, 12)}\n")
        if random.random() < 0.2:
            lines.append(f"    - {_phrase(random, 3, 8)}\n")
    return "".join(lines)


def _table(random: Random) -> str:
    columns = random.randint(2, 5)
    rows = [[random.choice(WORDS) for _ in range(columns)], [random.choice(("---", "---:", ":-:"))] * columns]
    rows += [
        [random.choice((str(random.randint(1, 9999)), _phrase(random, 1, 4))) for _ in range(columns)]
        for _ in range(random.randint(2, 9))
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _code(random: Random) -> str:
    language, text = random.choice(CODE)
    words = random.sample(WORDS[40:], 2)
    return f"```{language}\n{text.format(*words, random.randint(2, 90))}```\n"


def _quote(random: Random) -> str:
    return f"> {_sentence(random)}\n>\n> — {_phrase(random, 1, 2).title()}\n"


def _accented(random: Random) -> str:
    return ". ".join(random.choices(ACCENTED, k=random.randint(1, 4))) + ".\n"


def _cjk(random: Random) -> str:
    return "".join(random.choices(CJK, k=random.randint(2, 6))) + "\n"


def _formula(random: Random) -> str:
    return f"$$\n\\sum_{{i=1}}^{{{random.randint(3, 99)}}} x_i^2 \\le {random.randint(2, 9)}\\,\\|y\\|\n$$\n"


def _front_matter(random: Random, title: str) -> str:
    return f'---\ntitle: "{title}"\ntags: [{", ".join(random.sample(WORDS[40:], 3))}]\n---\n'


BLOCKS: tuple[Callable[[Random], str], ...] = (
    _paragraph, _heading, _bullets, _table, _code, _quote, _accented, _cjk, _formula,
)  # fmt: skip
WEIGHTS = (40, 18, 14, 7, 8, 4, 4, 4, 1)
