"""How far a load has come: what waits for it asks at any time, and what follows it hears each share once."""

from worker.device.load_progress import SHARES, LoadProgress


def test_each_share_of_a_load_is_told_once_however_many_weights_there_are() -> None:
    told: list[int] = []
    progress = LoadProgress("tiny", lambda read, _of: told.append(read))
    for read in range(0, 10**6 + 1, 100):
        progress(read, 10**6)
    assert told == [share * 10**6 // SHARES for share in range(SHARES + 1)]
    assert str(progress) == "all 0.0 GB are read, and the model is made ready"
    progress(0, 10**7)
    assert told[-1] == 0, "from the beginning again, as if a copy of the weights was damaged"


def test_a_model_without_weights_has_no_shares() -> None:
    LoadProgress("tiny")(0, 0)


def test_it_says_what_it_waits_for_before_the_first_weight() -> None:
    progress = LoadProgress("tiny")
    assert str(progress) == "its files are looked for"
    progress(3_200_000_000, 16_060_000_000)
    assert str(progress) == "3.2 of 16.1 GB are read"
