# ruff: noqa: RUF001 - texts in other scripts
"""Token estimates against what o200k_base counts (taken from it once)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.processing.tokens import count_tokens

REFERENCE = {
    (
        "The storage port has two adapters: a local folder and S3. A client uploads parts"
        " by signed requests, each of which names the upload, the part number and the exa"
        "ct length, and may be sent again until the last one counts. Nothing is ever over"
        "written."
    ): 53,
    (
        "Der Speicherzugang hat zwei Ausführungen: einen lokalen Ordner und S3. Die Daten"
        "schutzgrundverordnung verlangt außerdem, dass personenbezogene Daten auf Wunsch "
        "gelöscht werden; Änderungen müssen nachvollziehbar bleiben, auch über Jahre hinw"
        "eg."
    ): 47,
    (
        "今天天气很好，我们一起去公园散步吧。这个系统把文件保存在本地文件夹或者对象存储中，每次上传"
        "都会计算校验和，确保数据不会丢失。用户可以随时恢复以前的版本。"
    ): 53,
    (
        "def _cut(text: str, start: int) -> int:\n    for place in _CUTS:\n        ends = ["
        "match.end() for match in place.finditer(text, start + 10, start + 99)]\n        i"
        "f ends:\n            return ends[-1]\n    return start + SECTION_CHARACTERS\n"
    ): 66,
    (
        "Файлы сохраняются в хранилище объектов, а контрольная сумма проверяется при кажд"
        "ой загрузке. Пользователь может восстановить любую прежнюю версию документа."
    ): 35,
    (
        "これはファイルを保存する仕組みです。アップロードされたデータは、必ず検査されてから公開され"
        "ます。以前の版に戻すこともできます。"
    ): 39,
    (
        "| name | size | date |\n|---|---|---|\n| report.pdf | 1,234,567 | 2026-11-26 |\n| p"
        "hoto.jpg | 98,765 | 2026-11-25 |\n"
    ): 50,
    (
        '{"id": "0197a3b2-5c1d-7e4f-8a9b-0c1d2e3f4a5b", "size": 1048576, "tags": ["alpha"'
        ', "beta"], "sha256": "9f86d081884c7d659a2feaa0c55ad015"}'
    ): 81,
}
"""Text -> tokens in o200k_base."""


@pytest.mark.parametrize("text", REFERENCE)
def test_an_estimate_is_near_the_truth_and_seldom_below(text: str) -> None:
    assert 0.9 <= count_tokens(text) / REFERENCE[text] <= 1.6


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_has_not_fewer_tokens(one: str, other: str) -> None:
    assert count_tokens(one) <= count_tokens(one + "\n" + other)
    assert (count_tokens(one) == 0) == (one == "")


@pytest.mark.parametrize("piece", ["a", " ", "中", "1", "aB", "-", "\n"])
def test_a_long_text_takes_no_time(piece: str) -> None:
    started = time.perf_counter()
    count_tokens(piece * 200_000)
    assert time.perf_counter() - started < 2
