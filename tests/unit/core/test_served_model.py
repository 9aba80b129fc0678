"""What servers are told to load."""

from core.serving.served_model import ServedModel


def test_a_server_of_an_earlier_release_gets_no_field_that_it_lacks() -> None:
    assert ServedModel(base="tiny").as_sent() == {"base": "tiny"}
    sent = ServedModel(base="tiny", precision="nf4").as_sent()
    assert ServedModel.model_validate(sent) == ServedModel(base="tiny", precision="nf4")
