"""Requests and answers of the grader endpoints, in OpenAI's form."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from core.graders.grade import Grade
from core.graders.schemas import Grader, MultiGrader, Text


class ValidateGrader(BaseModel):
    grader: Grader


class RunGrader(BaseModel):
    model_config = ConfigDict(strict=True)

    grader: Grader
    model_sample: Annotated[Text, Field(description="The text that a model wrote: `sample.output_text`")]
    item: Annotated[Any, Field(description="A row of the dataset: `item`")] = None


class ValidatedGrader(BaseModel):
    grader: Grader


class RunErrors(BaseModel):
    """The kinds of error in a run. Errors of models never occur here.

    `endpoint_grader_error` is Tunery's own: the endpoint of a grader gave no score.
    """

    endpoint_grader_error: bool = False
    endpoint_grader_error_details: str | None = None
    formula_parse_error: bool = False
    invalid_variable_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    other_error: bool = False
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False

    @classmethod
    def of(cls, made: Grade) -> "RunErrors":
        match made.fault:
            case None:
                return cls()
            case "python_grader_server_error":
                return cls(python_grader_server_error=True, python_grader_server_error_type=made.details)
            case fault if made.details is not None:
                return cls(**{fault: True, f"{fault}_details": made.details})
            case fault:
                return cls(**{fault: True})


class RunMetadata(BaseModel):
    name: str
    type: str
    errors: RunErrors
    execution_time: Annotated[float, Field(description="Seconds")]
    scores: dict[str, float]
    token_usage: int | None = None
    sampled_model_name: str | None = None


class GraderRun(BaseModel):
    """The result of a run. `reward` is 0 if there was an error.

    `sub_rewards` has the scores of the graders that a `multi` grader consists of.
    """

    reward: float
    metadata: RunMetadata
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, int]

    @classmethod
    def of(cls, grader: Any, made: Grade) -> "GraderRun":
        return cls(
            reward=made.reward,
            metadata=RunMetadata(
                name=grader.name,
                type=grader.type,
                errors=RunErrors.of(made),
                execution_time=made.seconds,
                scores=made.scores,
            ),
            sub_rewards=made.scores if isinstance(grader, MultiGrader) else {},
            model_grader_token_usage_per_model={},
        )
