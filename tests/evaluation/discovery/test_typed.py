from evaluation.discovery.typed import TypedWords


def test_people_are_counted_once_and_placeholders_never(typed: TypedWords) -> None:
    assert typed.devices == typed.voters == 200
    assert {word: typed.people[word] for word in ("zorbo", "plux", "blip", "zzvux")} == {
        "zorbo": 200,
        "plux": 80,
        "blip": 15,
        "zzvux": 1,
    }
    assert not any("placeholder" in word for word in typed.people)


def test_devices_choose_what_can_be_found_and_no_more(typed: TypedWords) -> None:
    assert max(len(words) for words in typed.chosen) == 4
    assert all(len(word) <= 5 for words in typed.chosen for word in words)
    assert sum("zorbo" in words for words in typed.chosen) == 200


def test_prefixes_are_counted_by_device(typed: TypedWords) -> None:
    voters = typed.devices_by_prefix(2)
    assert (voters["zo"], voters["pl"], voters["zz"]) == (200, 80, 1)
    assert typed.devices_by_prefix(5)["zorbo"] == 200
    assert "plux" not in typed.devices_by_prefix(5)


def test_words_are_not_shown(typed: TypedWords) -> None:
    assert "zorbo" not in repr(typed)
