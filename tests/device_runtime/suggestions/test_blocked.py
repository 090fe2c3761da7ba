import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.suggestions.blocked import MAX_LIST_BYTES, BlockList, InvalidBlockList
from tokenizer.text import is_word, lower


def test_a_list_is_one_word_a_line_in_any_capitals():
    blocked = BlockList.from_text("\ufeff# never\n\nDarn\r\nO\u2019HECK\nétourdi\n".encode())
    assert len(blocked) == 3
    assert all(word in blocked for word in ("darn", "o'heck", "étourdi"))
    assert "darning" not in blocked
    assert "never" not in blocked


def test_an_empty_list_blocks_nothing():
    assert len(BlockList.from_text(b"")) == 0


def test_lists_add_up():
    both = BlockList(["one"]) | BlockList(["two"])
    assert "one" in both
    assert "two" in both


@pytest.mark.parametrize("content", [b"two words", b"ok\n!!", b"fine\nx\0y", ("y" * 49).encode()])
def test_a_line_that_is_no_word_is_named_by_its_number_alone(content):
    with pytest.raises(InvalidBlockList, match=r"^line [12] of a block list must be one word, got something else$"):
        BlockList.from_text(content)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\n" * (MAX_LIST_BYTES // 2 + 1)])
def test_other_bytes_and_endless_lists_are_refused(content):
    with pytest.raises(InvalidBlockList):
        BlockList.from_text(content)


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_list_or_a_typed_error(content):
    try:
        blocked = BlockList.from_text(content)
    except InvalidBlockList:
        return
    for line in content.decode("utf-8-sig").splitlines():
        word = lower(line.strip().replace("\u2019", "'"))
        if word and not word.startswith("#"):
            assert is_word(word)
            assert word in blocked


def test_a_file_is_read(tmp_path):
    (tmp_path / "words.txt").write_text("darn\n", encoding="utf-8")
    assert "darn" in BlockList.read(tmp_path / "words.txt")
    with pytest.raises(OSError, match="none"):
        BlockList.read(tmp_path / "none.txt")
