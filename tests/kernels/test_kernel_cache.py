"""The size of the second-level cache, as Linux tells it, or does not."""

import pytest

from kernels.cpu import cache


def describe(folder, **indices):
    for index, facts in indices.items():
        (folder / index).mkdir()
        for name, text in facts.items():
            (folder / index / name).write_text(f"{text}\n")


def size(monkeypatch, folder):
    monkeypatch.setattr(cache, "_CACHES", folder)
    return cache.second_level_cache()


def test_the_second_level_counts(monkeypatch, tmp_path):
    first, third = {"level": 1, "size": "32K"}, {"level": 3, "size": "98304K"}
    describe(tmp_path, index0=first, index1=first, index2={"level": 2, "size": "512K"}, index3=third)
    assert size(monkeypatch, tmp_path) == 512 * 1024


@pytest.mark.parametrize("second", [{}, {"level": 2}, {"level": 2, "size": "unknown"}, {"level": 1, "size": "32K"}])
def test_where_the_system_does_not_say_it_is_a_mebibyte(monkeypatch, tmp_path, second):
    describe(tmp_path, index2=second)
    assert size(monkeypatch, tmp_path) == 1 << 20
    assert size(monkeypatch, tmp_path / "absent") == 1 << 20
