"""Reports that were stored before a change of their form are still read."""

from core.portability.report import Prompts


def test_a_report_of_the_time_with_one_source_counts_all_prompts_for_it() -> None:
    former = {"count": 3, "source": "validation_file", "new_tokens": 16}
    rows = Prompts(count=3, from_validation_file=3, from_general_list=0, new_tokens=16)
    assert Prompts.model_validate(former) == rows
    general = Prompts(count=20, from_validation_file=0, from_general_list=20, new_tokens=16)
    assert Prompts.model_validate(former | {"count": 20, "source": "general"}) == general
    assert Prompts.model_validate(general.model_dump()) == general
