"""A classifier as a function of Spark, on this machine, as the guide shows it."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("needs a Java, such as Debian's default-jre-headless", allow_module_level=True)

pytestmark = [
    pytest.mark.slow,
    # pyspark warns of the deprecations of others.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    scratch = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": False,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": scratch / "warehouse",
        "spark.sql.shuffle.partitions": 2,
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
        yield session
        session.stop()


def test_predictions_with_the_backbone_once_per_worker(
    spark: Any,
    lively_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import StringType

    clf = LNTunedTransformerClassifier(
        lively_backbone(), max_epochs=6, min_steps=0, lr=0.05, head_lr=0.05, random_state=0
    )
    clf.fit(texts, labels).save(tmp_path / "tickets.zip")
    file, notes = str(tmp_path / "tickets.zip"), tmp_path / "notes"
    notes.mkdir()

    def make_predict() -> Any:
        import os
        import uuid
        from pathlib import Path

        import sklearn_lntune

        def note(what: str) -> None:
            (Path(notes) / f"{os.getpid()}-{what}-{uuid.uuid4()}").touch()

        loaded = sklearn_lntune.load(file)
        note("load")

        def predict(texts: np.ndarray) -> np.ndarray:
            note("batch")
            return loaded.predict(texts.tolist())

        return predict

    label = predict_batch_udf(make_predict, return_type=StringType(), batch_size=16)
    frame = spark.createDataFrame(pd.DataFrame({"text": texts * 4})).repartition(4)
    found = frame.withColumn("label", label("text")).toPandas()
    assert len(found) == 4 * len(texts)
    expected = dict(zip(texts, clf.predict(texts).tolist(), strict=True))
    assert len(set(expected.values())) > 1
    assert found["label"].tolist() == found["text"].map(expected).tolist()

    counts = Counter(tuple(each.name.split("-")[:2]) for each in notes.iterdir())
    loads = {worker: n for (worker, what), n in counts.items() if what == "load"}
    assert 1 <= len(loads) <= 2
    assert set(loads.values()) == {1}
    assert sum(counts.values()) - len(loads) >= 10  # batches


def test_several_numbers_of_pairs(
    spark: Any, lively_backbone: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    pairs = list(zip(texts, texts[::-1], strict=True))
    sizes = np.array([[len(a), len(b)] for a, b in pairs], float)
    reg = LNTunedTransformerRegressor(lively_backbone(), max_epochs=1, min_steps=0, random_state=0)
    reg.fit(pairs, sizes).save(tmp_path / "sizes.zip")
    file = str(tmp_path / "sizes.zip")

    def make_predict() -> Any:
        import sklearn_lntune

        loaded = sklearn_lntune.load(file)

        def predict(first: Any, second: Any) -> Any:
            return loaded.predict(list(zip(first.tolist(), second.tolist(), strict=True)))

        return predict

    both = predict_batch_udf(make_predict, return_type=ArrayType(FloatType()), batch_size=16)
    frame = spark.createDataFrame(pd.DataFrame(pairs, columns=["first", "second"]))
    found = frame.withColumn("sizes", both("first", "second")).toPandas()
    ordered = [tuple(row) for row in found[["first", "second"]].to_numpy()]
    np.testing.assert_allclose(np.stack(found["sizes"]), reg.predict(ordered), rtol=1e-4)
