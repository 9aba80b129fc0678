"""A server counts answers by project: one that has filled it does not shut out the others."""

import asyncio
from contextlib import ExitStack

from starlette.requests import Request

from core.serving.token import PROJECT_HEADER
from worker.server.admission import MOST_TIMES, Admission
from worker.server.errors import ServerBusy
from worker.server.exchange import Exchange

CAPACITY = 12


def exchange(project: str) -> Exchange:
    scope = {"type": "http", "headers": [(PROJECT_HEADER.encode(), project.encode())]}
    return Exchange(Request(scope), lambda _: None, lambda *_: asyncio.sleep(0), lambda _: None)


def admitted(*asked: tuple[str, int]) -> tuple[list[bool], int]:
    """Return which requests get in, each of a project and with so many answers, and the sum of these."""

    async def all_of_them() -> tuple[list[bool], int]:
        admission, found = Admission(CAPACITY, wait_seconds=60), []
        with ExitStack() as held:
            for project, answers in asked:
                try:
                    held.enter_context(admission.permit(exchange(project), answers))
                    found.append(True)
                except ServerBusy:
                    found.append(False)
            most = admission.held
        assert (admission.held, admission.requests) == (0, 0)
        return found, most

    return asyncio.run(all_of_them())


def test_a_request_counts_as_often_as_it_has_answers() -> None:
    assert admitted(("a", 6), ("a", 6), ("a", 1)) == ([True, True, False], 12)


def test_a_request_for_more_answers_than_the_capacity_is_taken_all_the_same() -> None:
    assert admitted(("a", 3), ("a", 100), ("a", 1)) == ([True, True, False], 3 + CAPACITY)


def test_a_project_gets_its_equal_share_of_a_server_that_another_one_has_filled() -> None:
    flood = [("flood", 1)] * (CAPACITY + 1)
    found, _ = admitted(*flood, *[("polite", 1)] * 7, ("third", 1))
    assert found == [*[True] * 12, False, *[True] * 6, False, True]


def test_one_request_for_very_many_answers_does_not_shut_out_another_project() -> None:
    found, _ = admitted(("flood", CAPACITY - 1), ("flood", 1000), ("polite", 1))
    assert found == [True, True, True]


def test_projects_with_the_largest_requests_do_not_shut_out_one_that_holds_nothing() -> None:
    found, _ = admitted(*[(f"{number}", CAPACITY) for number in range(9)], ("polite", 1), ("polite", 1))
    assert found == [*[True] * 10, False]


def test_very_many_projects_hold_a_bounded_number_of_answers() -> None:
    found, most = admitted(*[(f"{number}", 1) for number in range(300)])
    assert (found.count(True), most) == (MOST_TIMES * CAPACITY, MOST_TIMES * CAPACITY)


def test_a_request_that_has_waited_too_long_hears_how_far_the_load_is() -> None:
    async def waited(loading: str | None) -> str:
        admission, request = Admission(CAPACITY, 0.01, lambda: loading), exchange("a")
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        request.end = lambda reason: ended.set_result(str(reason))  # type: ignore[method-assign]
        with admission.permit(request):
            return await asyncio.wait_for(ended, 60)

    assert "a model is being loaded: 3.2 of 16.1 GB are read." in asyncio.run(
        waited("3.2 of 16.1 GB are read")
    )
    assert "others are before it, or what it needs is not loaded yet." in asyncio.run(waited(None))
