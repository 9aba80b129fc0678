"""`tunery demo`: train on the sample or on any chat file, and show what the training has changed."""

import json as jsonlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.errors import GaveUp, Refused
from cli.client.home import DEFAULT_HOME, Home, HomeOption, load_settings
from cli.demo import client as demo_client
from cli.demo.dataset import DemoDataset, own_dataset, sample_dataset
from cli.demo.service import running_service, server_key

SAMPLE_OPTIONS: dict[str, Any] = {
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 8}}},
    "extra_body": {"training": {"learning_rate": 1e-3}},
}
SHOWN_PROMPTS = 4
MAX_NEW_TOKENS = 96
RETRIES = 6  # of a request, over some twenty seconds: a part of the service that died is back by then


def demo(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA.jsonl]", help="Your chat file, used instead of the sample")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            help="Folder for the adapter and report.json; its old contents are deleted",
            file_okay=False,
        ),
    ] = Path("demo-output"),
    json: output.Json = False,
) -> None:
    """Upload rows, train, download the adapter, and compare the answers of the base model and the new one.

    The service answers. Plain transformers and PEFT check its answers, and the losses. If no service runs on
    --home, the command starts one and stops it at the end.
    """
    from openai import APIStatusError

    try:
        report = run(data, Home(load_settings(home=home).home.resolve()), folder)
    except APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        raise Refused(error.status_code, str(body.get("message", error)), error.code) from error
    output.json(report) if json else _show(report, folder)


def run(data: Path | None, state: Home, folder: Path) -> dict[str, Any]:
    """Run the whole demo and return its report. `state` is the service's folder; results go to `folder`."""
    from openai import OpenAI

    from core.catalog import SMOLLM2

    seconds: dict[str, float] = {}
    started = time.monotonic()
    with TemporaryDirectory(prefix="tunery-demo-") as scratch:
        dataset = own_dataset(data, Path(scratch)) if data else sample_dataset(Path(scratch))
        with running_service(state) as base_url:
            seconds["start the service"] = time.monotonic() - started
            client = OpenAI(base_url=base_url, api_key=server_key(state), max_retries=RETRIES)
            output.note(f"Training {SMOLLM2.id} on {dataset.name}")
            options = {} if data else SAMPLE_OPTIONS
            outcome = demo_client.train(client, SMOLLM2.id, dataset.training, dataset.held_out, options)
            seconds |= outcome.seconds
            downloading = time.monotonic()
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            demo_client.download(client, outcome.job["adapter_id"], folder / "adapter")
            seconds["download"] = time.monotonic() - downloading
            chatting = time.monotonic()
            output.note("Asking the base model and the new model")
            answered = {
                when: demo_client.answers(client, model, dataset.held_out_rows, MAX_NEW_TOKENS)
                for when, model in (("before", SMOLLM2.id), ("after", outcome.job["fine_tuned_model"]))
            }
            seconds["chat"] = time.monotonic() - chatting
        comparing = time.monotonic()
        output.note("Comparing with plain transformers and peft")
        compared = _compare(state, folder / "adapter", dataset, Path(scratch))
        seconds["compare"] = time.monotonic() - comparing
    report = _report(dataset, outcome, answered, compared, seconds)
    (folder / "report.json").write_text(jsonlib.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return report


def _compare(state: Home, adapter: Path, dataset: DemoDataset, scratch: Path) -> dict[str, Any]:
    from core.catalog import SMOLLM2

    base = load_settings(home=state.path).models_folder / SMOLLM2.id / SMOLLM2.revision
    request, result = scratch / "request.json", scratch / "result.json"
    manifest = jsonlib.loads((adapter / "manifest.json").read_text("utf-8"))
    question = {
        "base": str(base),
        "dtype": manifest["training"]["dtype"],  # another type changes the loss by some per cent
        "adapter": str(adapter),
        "rows": dataset.held_out_rows,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    request.write_text(jsonlib.dumps(question), "utf-8")
    script = Path(__file__).with_name("compare.py")
    done = subprocess.run(
        [sys.executable, str(script), str(request), str(result)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GaveUp(f"The comparison failed:\n{done.stderr[-2000:]}")
    compared: dict[str, Any] = jsonlib.loads(result.read_text("utf-8"))
    return compared


def _report(
    dataset: DemoDataset,
    outcome: demo_client.Outcome,
    answered: dict[str, list[str]],
    compared: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    expected = [row["messages"][-1]["content"] for row in dataset.held_out_rows]
    answers = [
        {
            "prompt": row["messages"][-2]["content"],
            "expected": want,
            "before": before,
            "after": after,
            "score_before": dataset.score(before, want),
            "score_after": dataset.score(after, want),
        }
        for row, want, before, after in zip(
            dataset.held_out_rows,
            expected,
            answered["before"],
            answered["after"],
            strict=True,
        )
    ]
    rates = [entry["tokens_per_second"] for entry in outcome.metrics]
    return {
        "dataset": dataset.name,
        "job": outcome.job,
        "losses": {
            "training_first_step": outcome.metrics[0]["train_loss"],
            "training_last_step": outcome.metrics[-1]["train_loss"],
            "validation_reported_by_the_job": outcome.metrics[-1]["full_valid_loss"],
            "validation_before_in_plain_peft": compared["before"]["loss"],
            "validation_after_in_plain_peft": compared["after"]["loss"],
        },
        "scores": {
            "before": _mean([answer["score_before"] for answer in answers]),
            "after": _mean([answer["score_after"] for answer in answers]),
            "exact_before": _mean([float(a["before"].strip() == a["expected"].strip()) for a in answers]),
            "exact_after": _mean([float(a["after"].strip() == a["expected"].strip()) for a in answers]),
        },
        "same_answers_in_plain_peft": {
            when: sum(map(str.__eq__, texts, compared[when]["answers"])) for when, texts in answered.items()
        },
        "tokens_per_second": _mean(rates),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "answers": answers,
    }


def _show(report: dict[str, Any], folder: Path) -> None:
    for answer in report["answers"][:SHOWN_PROMPTS]:
        output.data("")
        output.data(f"prompt   {_one_line(answer['prompt'])}")
        output.data(f"before   {_one_line(answer['before'])}   ({answer['score_before']:.2f})")
        output.data(f"after    {_one_line(answer['after'])}   ({answer['score_after']:.2f})")
        output.data(f"expected {_one_line(answer['expected'])}")
    scores, losses, count = report["scores"], report["losses"], len(report["answers"])
    output.data("")
    output.data(f"score on {count} held-out prompts   {scores['before']:.2f} -> {scores['after']:.2f}")
    output.data(f"exactly right                  {scores['exact_before']:.0%} -> {scores['exact_after']:.0%}")
    same = report["same_answers_in_plain_peft"]
    output.data(f"same answers in plain peft     {same['before']} before, {same['after']} after, of {count}")
    before, after = losses["validation_before_in_plain_peft"], losses["validation_after_in_plain_peft"]
    output.data(f"validation loss                {before:.3f} -> {after:.3f} (plain peft)")
    output.data(
        f"                               {losses['validation_reported_by_the_job']:.3f} (the job's own)"
    )
    output.data(f"tokens per second              {report['tokens_per_second']:,.0f}")
    output.data(f"adapter and report             {folder / 'adapter'}, {folder / 'report.json'}")
    output.data(f"chat with it                   tunery chat {report['job']['fine_tuned_model']}")
    output.data("                               (while the service runs: make up, or tunery up)")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
