"""Where the seconds of one AutoML job go: `python benchmarks/profile_job.py telco_churn --seconds 60`.

Runs the job through a started server on 80 % of the data set and prints its timeline: when each phase and each
candidate began and ended (the job's log and the candidates' processing jobs), what a candidate did meanwhile (its
result.json, copied from the job's scratch folder before the job clears it), how much of the slots' time was used, and
the sums by algorithm.
`--max-candidates` instead of `--seconds` for a job without a time limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quick import SLOTS, Split, _request, score, server

_POLL = 0.05


@dataclass(frozen=True)
class Span:
    """A candidate's time, in seconds since the job's creation, and its result.json (empty if it has none)."""

    name: str
    status: str
    begun: float
    ended: float
    result: dict[str, Any]
    reason: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    @property
    def parts(self) -> dict[str, float]:
        """The seconds of its folds, of its refit, of the rest of its own time, and around it."""
        inside = self.result.get("seconds", {})
        folds, refit, total = sum(inside.get("folds", [])), inside.get("refit", 0.0), inside.get("total", 0.0)
        return {"folds": folds, "refit": refit, "rest": total - folds - refit, "around": self.seconds - total}

    def line(self) -> str:
        metrics = self.result.get("metrics", {}).get("Validation", {})
        shown = "  ".join(f"{name} {metrics[name]:.5g}" for name in ("LogLoss", "RMSE") if name in metrics)
        work = _shown(self.parts) if "seconds" in self.result else f"{self.status} {self.reason[:300]}"
        return f"{self.begun:7.2f} {self.ended:7.2f}  {self.name:26} {work}  {shown}"


def _shown(parts: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {seconds:6.2f}" for name, seconds in parts.items())


class Results(threading.Thread):
    """Collects the result.json files below `root` as they appear."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self._root = root
        self.found: dict[str, dict[str, Any]] = {}
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.wait(_POLL):
            for path in self._root.glob("*/*/trials/*/result.json"):
                if path.parent.name not in self.found:
                    with contextlib.suppress(OSError):  # the job clears its folder when it ends
                        self.found[path.parent.name] = json.loads(path.read_text())


def spans(sagemaker: Any, job: str, created: float, found: dict[str, dict[str, Any]]) -> list[Span]:
    """The candidates of the job in the order in which they began."""
    listed = sagemaker.list_processing_jobs(NameContains=job, MaxResults=100)["ProcessingJobSummaries"]
    rows = [sagemaker.describe_processing_job(ProcessingJobName=row["ProcessingJobName"]) for row in listed]
    made = [
        Span(
            row["ProcessingJobName"],
            row["ProcessingJobStatus"],
            row["ProcessingStartTime"].timestamp() - created,
            row["ProcessingEndTime"].timestamp() - created,
            found.get(row["ProcessingJobName"].removeprefix(f"{job}-"), {}),
            row.get("FailureReason", ""),
        )
        for row in rows
    ]
    return sorted(made, key=lambda span: span.begun)


def phases(logs: Any, job: str, created: float) -> list[tuple[float, str]]:
    """(seconds, message) of the job's own log."""
    events = logs.get_log_events(logGroupName="/aws/sagemaker/AutoMLJobs", logStreamName=f"{job}/job")["events"]
    return [(e["timestamp"] / 1000 - created, e["message"]) for e in events if "Candidate " not in e["message"]]


def report(begun: float, described: dict[str, Any], rows: Iterable[Span], log: list[tuple[float, str]]) -> None:
    """Prints the timeline and its sums."""
    rows = list(rows)
    created, ended = described["CreationTime"].timestamp(), described["EndTime"].timestamp()
    print(f"Create answered after {created - begun:.2f} s; the job took {ended - created:.2f} s")
    for seconds, message in log:
        print(f"{seconds:7.2f}          {message}")
    for span in rows:
        print(span.line())
    trials = [span for span in rows if "ensemble" not in span.name]
    if trials:
        first, last = min(span.begun for span in trials), max(span.ended for span in trials)
        busy = sum(span.seconds for span in trials)
        inside = sum(span.result.get("seconds", {}).get("total", 0.0) for span in trials)
        wall = (last - first) * SLOTS
        print(f"before training {first:.2f} s, training {last - first:.2f} s, after it {ended - created - last:.2f} s")
        print(f"slots busy {busy / wall:.0%} of training, in trials {inside / wall:.0%}")
        for name, parts in sums(trials, len(described["AutoMLJobName"]) + 1):
            print(f"{name:16} {sum(parts.values()):7.2f}  {_shown(parts)}")


def sums(trials: Iterable[Span], prefix: int) -> list[tuple[str, dict[str, float]]]:
    """The parts of the trials' seconds by algorithm, the longest first, then of all; names begin after `prefix`."""
    found: dict[str, dict[str, float]] = {}
    for span in trials:
        algorithm = span.name[prefix:].rpartition("-")[0]
        for name in (algorithm, "all"):
            parts = found.setdefault(name, dict.fromkeys(span.parts, 0.0))
            for part, seconds in span.parts.items():
                parts[part] += seconds
    return sorted(found.items(), key=lambda item: (item[0] == "all", -sum(item[1].values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="a folder of the data directory")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--max-candidates", type=int)
    parser.add_argument("--rows", type=int, help="only so many of the training rows")
    options = parser.parse_args()
    split = Split.load(options.data / options.set)
    if options.rows:
        split = Split(split.name, split.target, split.header, split.train[: options.rows], split.test)
    with tempfile.TemporaryDirectory() as folder:
        profile(split, options.seconds, options.max_candidates, Path(folder))


def profile(split: Split, seconds: int | None, candidates: int | None, folder: Path) -> None:
    """One job, its timeline, and the best candidate's score on the test rows."""
    from pilothouse.contract import pack

    with server(folder / "home") as client:
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket="quick")
        s3.upload_file(str(split.write(folder / "train.csv")), "quick", "in/train.csv")
        time.sleep(10)  # the server's libraries are loaded by then, as on a server that has run for a while
        results = Results(folder / "home" / "work")
        results.start()
        name = split.name.replace("_", "-")[:32]
        request = _request(name, split.target, seconds or 0)
        criteria = {"MaxAutoMLJobRuntimeInSeconds": seconds, "MaxCandidates": candidates}
        config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
        config["CompletionCriteria"] = {key: value for key, value in criteria.items() if value}
        begun = time.time()
        sagemaker.create_auto_ml_job_v2(**request)
        while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name))["AutoMLJobStatus"] == "InProgress":
            time.sleep(_POLL)
        results.ending.set()
        created = job["CreationTime"].timestamp()
        report(begun, job, spans(sagemaker, name, created, results.found), phases(client("logs"), name, created))
        best = job["BestCandidate"]
        bucket, _, key = best["InferenceContainers"][0]["ModelDataUrl"].removeprefix("s3://").partition("/")
        s3.download_file(bucket, key, str(folder / "model.tar.gz"))
        pack.unpack(folder / "model.tar.gz", folder / "model")
        metrics, _ = score(split, folder / "model")
    values = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    print(f"{job['AutoMLJobSecondaryStatus']}: best {best['CandidateName']}; on test rows {values}")


if __name__ == "__main__":
    main()
