"""The instances of a training job: its hosts, and where each has its /opt/ml on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pilothouse.catalog import training_images
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.contract import hosts
from pilothouse.contract.hosts import Host
from pilothouse.contract.opt_ml import OptMl


@dataclass(frozen=True)
class Instance:
    """A host with its scratch space, a folder `directory` of its own."""

    host: Host
    directory: Path

    @property
    def folders(self) -> OptMl:
        """What its program finds at /opt/ml."""
        return OptMl(self.directory / "ml")

    @property
    def table(self) -> Path:
        """What its program finds at /etc/hosts, if it is one of several."""
        return self.directory / "hosts"

    def lay_out(self, job: TrainingJob) -> None:
        """Makes its folders, and its files but for what is fetched."""
        self.folders.lay_out(job, self.host)
        if not self.host.is_alone:
            self.table.write_text(self.host.table())


def instances(job: TrainingJob, arn: str, directory: Path) -> tuple[Instance, ...]:
    """Those of a job, below `directory`."""
    found = hosts.hosts(training_images.hosts(job), arn)
    return tuple(Instance(host, directory / host.name) for host in found)
