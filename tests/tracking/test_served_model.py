"""The served generator refuses illegal queries with a clear 400, and damaged or foreign files at its start."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.export import generators
from ganealogy.tracking import store
from ganealogy.workspace import RunDir

LATENT = [0.5] * 8


@pytest.fixture
def folder(finished: RunDir, lab: SimpleNamespace) -> Path:
    """The logged model's folder."""
    lab.contents(tracking.sync(finished).run_id)
    [path] = Path("mlartifacts").glob("*/models/*/artifacts")
    return path.resolve()


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.setattr(sys, "path", [*sys.path])  # loading adds the model's copy of the package
    with store.open_client():
        yield mlflow.pyfunc.load_model(str(folder))


def post(app: Any, body: str, kind: str = "application/json") -> tuple[int, str]:
    """Return status and text of the answer of MLflow's scoring app to /invocations."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/invocations", "raw_path": b"/invocations", "query_string": b"",
        "headers": [(b"content-type", kind.encode())], "http_version": "1.1", "scheme": "http", "root_path": "",
        "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


ILLEGAL = [
    ('{"inputs": [], "params": {"n": -1}}', "n = -1; legal: 1 to 10000"),
    ('{"inputs": [], "params": {"n": 0}}', "n = 0; legal: 1 to 10000"),
    ('{"inputs": [], "params": {"n": 1000000000}}', "n = 1000000000; legal: 1 to 10000"),
    ('{"inputs": [], "params": {"n": 18446744073709551616}}', "n"),
    ('{"inputs": [], "params": {"n": "many"}}', "n"),
    ('{"inputs": [], "params": {"n": 2.5}}', "n"),
    ('{"inputs": [], "params": {"n": NaN}}', "n"),
    ('{"inputs": [], "params": {"n": [1]}}', "n"),
    ('{"inputs": [], "params": {"temperature": -1.0}}', "temperature = -1.0; legal: 0 to 10"),
    ('{"inputs": [], "params": {"temperature": NaN}}', "temperature = nan; legal: 0 to 10"),
    ('{"inputs": [], "params": {"temperature": Infinity}}', "temperature = inf; legal: 0 to 10"),
    ('{"inputs": [], "params": {"temperature": 1e300}}', "temperature = 1e+300; legal: 0 to 10"),
    ('{"inputs": [], "params": {"temperature": "hot"}}', "temperature"),
    ('{"inputs": [], "params": {"seed": -1}}', "seed = -1; legal: 0 to 2**63 - 1"),
    ('{"inputs": [], "params": {"seed": 18446744073709551616}}', "seed"),
    ('{"inputs": [], "params": [1]}', "dictionary"),
    ('{"inputs": [[1.0, 2.0]]}', "(1, 2); legal: an empty list, or a list of at most 10000 latents of 8 numbers each"),
    ('{"inputs": [1.0, 2.0]}', "(2,); legal: an empty list"),
    ('{"inputs": 5}', "legal: an empty list"),
    ('{"inputs": [[[1.0]]]}', "(1, 1, 1); legal: an empty list"),
    ('{"inputs": [["a", "b"]]}', "not numbers; legal: an empty list"),
    ('{"inputs": {"z": [1.0]}}', "legal: an empty list"),
    (json.dumps({"inputs": [[float("nan"), *LATENT[1:]]]}), "nan; legal: -1000 to 1000"),
    (json.dumps({"inputs": [[float("-inf"), *LATENT[1:]]]}), "inf; legal: -1000 to 1000"),
    (json.dumps({"inputs": [[1e300, *LATENT[1:]]]}), "legal: -1000 to 1000"),
    (json.dumps({"inputs": [[5000.0, *LATENT[1:]]]}), "5000.0; legal: -1000 to 1000"),
    (json.dumps({"inputs": [LATENT] * 10_001}), "(10001, 8); legal"),
    ('{"dataframe_split": {"columns": ["a"], "data": [["x"]]}}', "not numbers; legal: an empty list"),
    ("{}", "inputs"),
    ("no json", "JSON"),
]


def test_an_illegal_query_is_answered_with_400_and_what_is_legal(model: Any) -> None:
    from mlflow.pyfunc import scoring_server

    app = scoring_server.init(model)
    wrong = {}
    for query, words in ILLEGAL:
        status, answer = post(app, query)
        code = json.loads(answer).get("error_code")
        if status != 400 or words not in answer or code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
            wrong[query[:80]] = (status, answer[:300])
        if "Traceback" in answer:
            wrong[query[:80]] = "a traceback"
    assert wrong == {}
    for query in (
        '{"inputs": []}',
        '{"inputs": [], "params": {"n": null}}',
        json.dumps({"inputs": [LATENT], "params": {"temperature": 0}}),
    ):
        status, answer = post(app, query)
        assert status == 200, answer
    status, answer = post(app, json.dumps({"dataframe_split": {"columns": list("abcdefgh"), "data": [LATENT] * 3}}))
    assert (status, np.asarray(json.loads(answer)["predictions"]).shape) == (200, (3, 16, 16, 3))


def test_the_same_through_pyfunc(model: Any) -> None:
    from mlflow.exceptions import MlflowException

    for params in ({"n": -1}, {"seed": -1}, {"temperature": float("nan")}, {"n": 10**9}):
        with pytest.raises(MlflowException) as caught:
            model.predict([], params=params)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert model.predict([], params={"n": 250}).shape == (250, 16, 16, 3), "in chunks"
    assert model.predict(None).shape == (16, 16, 16, 3)


def test_large_pictures_have_a_smaller_limit(model: Any) -> None:
    """The limit is of an answer's size: a million pixels each are not drawn ten thousand times."""
    script = model.unwrap_python_model()
    module = sys.modules[type(script).__module__]
    assert script.limit == 10_000
    assert module.MAX_VALUES // (1024 * 1024 * 3) == 21


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("fault", ["a flipped bit", "pickle", "other weights", "absent"])
def test_weights_that_the_run_did_not_write_are_refused(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setattr(sys, "path", [*sys.path])
    weights = folder / "artifacts/generator-best.safetensors"
    content = weights.read_bytes()
    faults = {
        "a flipped bit": content[:-1] + bytes([content[-1] ^ 1]),
        "pickle": pickle.dumps(Trap()),
        "other weights": content[:-64] + bytes(64),
    }
    weights.write_bytes(faults[fault]) if fault in faults else weights.unlink()
    with pytest.raises(Exception, match=r"sha256|no such file|[Nn]o such"):
        mlflow.pyfunc.load_model(str(folder))
    assert not Path("trapped").exists()


def test_the_damaged_model_is_logged_again_by_the_command_in_the_message(
    folder: Path, finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setattr(sys, "path", [*sys.path])
    weights = folder / "artifacts/generator-best.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(Exception, match="delete this model in the MLflow UI; `ganealogy sync` then logs it again"):
        mlflow.pyfunc.load_model(str(folder))
    registered = "models:/avatars-16x16@best"
    with pytest.raises(GanealogyError, match="delete this model in MLflow's UI, and `ganealogy sync` logs it again"):
        generators.find(registered)
    with store.open_client() as client:
        client.delete_logged_model(folder.parent.name)
    assert tracking.sync_all()[0].posted["models"] == 1
    [new] = [path for path in Path("mlartifacts").glob("*/models/*/artifacts") if path.resolve() != folder]
    assert mlflow.pyfunc.load_model(str(new)).predict([]).shape == (16, 16, 16, 3)
    assert generators.find(registered).described["version"] == finished.version


def test_it_has_no_file_that_runs_code_but_our_own(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    code = {path for path in files if path.endswith(".py")}
    assert all(path.startswith("code/ganealogy/") or path == "generator_script.py" for path in code), code
    assert {Path(path).suffix for path in files - code} <= {"", ".json", ".yaml", ".txt", ".safetensors"}, files
