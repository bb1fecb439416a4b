"""The story of a training job: data in, the program's run, model out.

`run` is the job of a supervisor; a search runs `Training` for each of its trials, which are training jobs of their own.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pilothouse import clock
from pilothouse.catalog import training_images
from pilothouse.catalog.training_jobs import KIND, TrainingJob
from pilothouse.contract import channels, hosts, pack
from pilothouse.contract.channels import Checkpoints
from pilothouse.errors import DataError, JobFailed, LeaseLost, S3Error, StoreAway, reason_of
from pilothouse.training import source
from pilothouse.training.instances import Instance, instances
from pilothouse.training.outcome import Outcome
from pilothouse.training.record import Record
from pilothouse.training.runs import Runs
from pilothouse.training.task import StopRequested
from pilothouse.whole_file import write_whole

if TYPE_CHECKING:
    from pilothouse.work.job import Job

Once = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
OnPoint = Callable[[str, float, float], None]
_STOP_CACHE = 0.3
_RETRY_PAUSE = 1.0
_INPUTS, _RESTORED = "inputs", "restored"
_TRAINED = "trained"
"""What earlier releases left once the program had run: the step may be recorded though no `outcome.json` says so."""
_MOST_NAMED = 10
_LOST = (
    "InternalServerError: what the program left on this machine is gone before it could be uploaded. "
    "Create the job again under a new name."
)


def run(job: Job) -> None:
    """Runs a training job to its terminal status."""
    Training(job, job.name, job.directory, once=job.once, stopped=lambda: job.stop_requested).run()


class Training:
    """One training job: the row `name`, with scratch space in `directory`.

    `once` does and records a step, `stopped` says whether the job's owner wants an end; a stop request on the row
    itself is seen too. `on_point` hears each metric (name, value, epoch seconds) as it comes, `on_begin` that the
    program begins anew, and `closing` gives state to be written along with the terminal status. `threads` limits the
    libraries of a program that shares the machine; None leaves it to them. `inputs` is a folder that jobs with the same
    channels share, so that none fetches what another has.
    """

    def __init__(
        self,
        job: Job,
        name: str,
        directory: Path,
        *,
        once: Once,
        stopped: Callable[[], bool],
        on_point: OnPoint | None = None,
        on_begin: Callable[[], None] | None = None,
        closing: Callable[[], dict[str, Any]] | None = None,
        threads: int | None = None,
        inputs: Path | None = None,
    ) -> None:
        self._job = job
        self._directory = directory
        self._once = once
        self._owner_stopped = stopped
        self._on_point, self._on_begin = on_point, on_begin
        self._closing = closing
        self._threads = threads
        self.record = Record(job, name)
        self.spec = TrainingJob.of(self.record.row.request)
        self._instances = instances(self.spec, self.record.row.arn, directory)
        self._inputs = inputs or (directory / _INPUTS if len(self._instances) > 1 else None)
        self._stop_seen = (float("-inf"), False)
        self._retries: int = self.record.row.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)

    def run(self) -> Outcome | None:
        """Tells the story and ends the row; how the program ended, or None if it did not come to that."""
        try:
            outcome = self._told()
        except StopRequested:
            self._finish("Stopped", "Stopped")
        except (LeaseLost, StoreAway):
            raise
        except JobFailed as failure:
            self._finish("Failed", "Failed", reason=_client_error(failure))
        except Exception as error:
            self._job.log(traceback.format_exc())
            self._finish("Failed", "Failed", reason=reason_of(error))
        else:
            self._finish(outcome.status, outcome.secondary, reason=outcome.reason, seconds=outcome.seconds)
            return outcome
        return None

    def stop_asked(self) -> bool:
        """Whether the job is to end early; up to 0.3 s behind."""
        if self._owner_stopped():
            return True
        seen, answer = self._stop_seen
        if not answer and time.monotonic() - seen > _STOP_CACHE:
            row = self._job.store.get(KIND, self.record.name)
            answer = row is None or row.stop_requested
            self._stop_seen = (time.monotonic(), answer)
        return answer

    def _told(self) -> Outcome:
        """The story, told again as often as RetryStrategy says while it fails for no fault of the client's."""
        while self._retries > 0:
            self._retries -= 1
            try:
                return self._story()
            except (StopRequested, LeaseLost, StoreAway, JobFailed):
                raise
            except Exception as error:
                if isinstance(error, S3Error) and error.refused:
                    raise
                self._job.log(traceback.format_exc())
                self.record.enter("Restarting")
                time.sleep(_RETRY_PAUSE)
        return self._story()

    def _story(self) -> Outcome:
        self._take_possession()
        runs = Runs(self._job, self.spec, self.record, self._instances, self._directory, self._threads)
        ended = runs.ended() or (self._directory / _TRAINED).exists()
        if not ended:
            if self.stop_asked():
                self._begin_anew()
                runs.recall(self._on_point)  # what a killed program has said is all that it will say
                raise StopRequested
            if runs.begun():
                self.record.enter("Interrupted")
            self._download()
        outcome = Outcome(**self._once("train", lambda: self._train(runs)))
        # A step that was recorded before the machine went down, which empties a volume in memory, has left nothing.
        is_there = ended or runs.is_judged
        if is_there:
            runs.repeat_metrics(outcome)
        self._once("upload", lambda: self._upload(outcome) if is_there else _lost())
        return outcome

    def _take_possession(self) -> None:
        """Sees to it that the scratch space is this very job's, and not that of a deleted one of the same name."""
        mark, mine = self._directory / "row", str(self.record.row.seq)
        if mark.exists() and mark.read_text() == mine:
            return
        for path in self._directory.iterdir() if self._directory.exists() else ():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.endswith(".log") and not path.name.startswith("failpoint-"):
                path.unlink()
        self._directory.mkdir(parents=True, exist_ok=True)
        write_whole(mark, mine)

    def _download(self) -> None:
        """Brings in what the program needs; what an earlier attempt brought is not fetched again."""
        begun = self.record.row.state.get("TrainingStartTime") or clock.now()
        if self.spec.channels:
            self.record.enter("Downloading", TrainingStartTime=begun)
        else:
            self.record.note("Downloading")
        for instance in self._instances:
            instance.lay_out(self.spec)
            self._fetch(instance)
        for checkpoints in self._checkpoints:
            checkpoints.restore()

    def _fetch(self, instance: Instance) -> None:
        piped = training_images.piped(self.spec)
        for channel in self.spec.channels:
            if channel in piped or not instance.host.gets(channel):
                continue
            folder = instance.folders.channel(channel.name)
            if self._inputs is None:
                channels.fetch(self._job.objects, channel, folder, self._go_on)
            else:
                channels.share(self._job.objects, channel, folder, self._inputs, self._go_on, instance.host)
        if training_images.mode(self.spec) == "script":
            source.fetch(self._job.objects, self.spec, instance.folders)

    def _train(self, runs: Runs) -> dict[str, Any]:
        self._begin_anew()
        return asdict(runs.run(self.stop_asked, self._checkpoints, self._on_point))

    def _begin_anew(self) -> None:
        if self._on_begin is not None:
            self._on_begin()

    @cached_property
    def _checkpoints(self) -> list[Checkpoints]:
        """What keeps the checkpoints of each host, all at the one place that the job has for them.

        It is made once: it knows what it has restored, which is not to be sent back over what another host sends.
        """
        if self.spec.checkpoints is None:
            return []
        place, objects = self.spec.checkpoints[0], self._job.objects.keyed(self.spec.kms_key)
        return [
            Checkpoints(objects, place, each.folders.checkpoints(self.spec), each.directory / _RESTORED)
            for each in self._instances
        ]

    def _upload(self, outcome: Outcome) -> dict[str, Any]:
        """Brings model and output to S3: a failed program's output only, since its model is no model."""
        self.record.note("Uploading")
        folders = [instance.folders for instance in self._instances]
        if not all(each.base.exists() for each in folders):
            _lost()
        if outcome.status != "Failed":
            self._send([each.model for each in folders], "model", always=True)
        self._send([each.output_data for each in folders], "output", always=False)
        return {}

    def _send(self, folders: list[Path], name: str, *, always: bool) -> None:
        """Brings what the hosts have in `folders` to S3 as one."""
        folder, *others = folders
        left_out = hosts.gather(others, folder)
        if left_out:
            self._job.log(f"Several hosts wrote {', '.join(left_out[:_MOST_NAMED])} in {name}; the first one's counts.")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files and not always:
            return
        prefix, objects = self.spec.output_prefix, self._job.objects.keyed(self.spec.kms_key)
        if not self.spec.compressed:
            for path in files:
                objects.upload(path, f"{prefix}/{name}/{path.relative_to(folder).as_posix()}")
            return
        archive = self._directory / f"{name}.tar.gz"
        with archive.open("wb") as stream:  # scratch, so that it need not be on disk before it goes on
            pack.pack(folder, stream)
        objects.upload(archive, f"{prefix}/{name}.tar.gz")
        archive.unlink()

    def _finish(self, status: str, secondary: str, *, reason: str | None = None, seconds: float = 0.0) -> None:
        """Ends the row, and only then removes what whoever goes on after a crash would end it by."""
        also = self._closing() if self._closing is not None else {}
        self.record.finish(status, secondary, reason=reason, seconds=seconds, also=also)
        used = [instance.directory for instance in self._instances]
        for folder in (*used, self._directory / _INPUTS, *self._directory.glob("run-*")):
            shutil.rmtree(folder, ignore_errors=True)

    def _go_on(self) -> None:
        if self.stop_asked():
            raise StopRequested


def _lost() -> NoReturn:
    raise JobFailed(_LOST)


def _client_error(failure: JobFailed) -> str:
    """AWS says whose fault it was: the data's, as here, is the client's."""
    kind = "ClientError: " if isinstance(failure, DataError) else ""
    return f"{kind}{failure.message}"
