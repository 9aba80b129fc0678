"""What a part of the service loads is never visited by the garbage collector."""

import gc

from cli.up.loading import loading


def test_nothing_is_collected_while_a_part_loads_and_what_it_made_is_left_alone_later() -> None:
    class Module:
        """Stands for what an import makes."""

    try:
        with loading():
            assert not gc.isenabled()
            made = Module()
        assert gc.isenabled()
        assert not any(each is made for each in gc.get_objects()), "frozen objects are not listed"
    finally:
        gc.unfreeze()
    assert any(each is made for each in gc.get_objects())
