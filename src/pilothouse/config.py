"""Settings: everything that can be set, from `PILOTHOUSE_*` variables or the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pilothouse.errors import ConfigurationError


def _default_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "pilothouse"


def _default_slots() -> int:
    return max(1, len(os.sched_getaffinity(0)))


class Settings(BaseSettings):
    """One installation's settings. Each field is read from the variable `PILOTHOUSE_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="PILOTHOUSE_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=_default_home, description="The folder that holds all state.")
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8642, ge=0, le=65535, description="The port to listen on; 0 picks a free one.")
    host_names: str | None = Field(
        default=None, description="Names of this server, with commas; hosts of S3 addresses may be bucket.NAME."
    )
    region: str = Field(default="us-east-1", description="The AWS region that ARNs and signatures name.")
    account_id: str = Field(default="000000000000", pattern=r"^\d{12}$", description="The account id that ARNs name.")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite under the home.")
    s3_endpoint: str | None = Field(default=None, description="A real S3 to keep objects in, in place of the home.")
    master_keys: Path | None = Field(default=None, description="The folder of `master-keys.json`; default: the home.")
    volume_keys: Literal["honour", "strict", "record"] = Field(
        default="honour",
        description="KMS keys of volumes: honour; strict: refuse if memory may go to a plain swap; record: do no more.",
    )
    volumes: Path | None = Field(
        default=None,
        description="The folder of volumes with a key; default: the home if on an encrypted disk, else /dev/shm.",
    )
    slots: int = Field(default_factory=_default_slots, ge=1, description="Trials that run at the same time.")
    jobs: int = Field(default=2, ge=1, description="Jobs that run at the same time; more wait in order.")
    min_rows: int = Field(default=500, ge=2, description="Fewest usable training rows that an AutoML job accepts.")
    memory_fraction: float = Field(default=0.8, gt=0, le=1, description="Share of the machine's memory for trials.")
    stop_grace: float = Field(default=120, ge=0, description="Seconds from SIGTERM to SIGKILL of a training program.")
    launcher: Literal["local", "docker"] = Field(
        default="local",
        description="What runs training images: local processes; docker: Docker or Podman those that need a container.",
    )
    isolation: Literal["auto", "bubblewrap", "unshare", "process"] = Field(
        default="auto",
        description="How training programs are kept apart: bubblewrap, unshare, process; auto: the first that works.",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @classmethod
    def given(cls, **options: Any) -> Settings:
        """Settings with these in place of what variables say; `ConfigurationError` if one of either is wrong."""
        try:
            return cls(**options)
        except ValidationError as error:
            raise ConfigurationError(_sentences(error)) from error

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.home / 'pilothouse.sqlite'}"

    @property
    def objects_root(self) -> Path:
        """Where the directory object store keeps its buckets."""
        return self.home / "objects"

    @property
    def work_root(self) -> Path:
        """Scratch space of running jobs; anything in it can be made again."""
        return self.home / "work"

    @property
    def credentials_file(self) -> Path:
        """The access keys, readable by the owner only."""
        return self.home / "credentials.json"

    @property
    def master_keys_file(self) -> Path:
        """What encrypted objects in the home are encrypted under, readable by the owner only."""
        return (self.master_keys or self.home) / "master-keys.json"

    @property
    def default_bucket(self) -> str:
        """The bucket that the SageMaker SDK uses when it is given none."""
        return f"sagemaker-{self.region}-{self.account_id}"

    @property
    def role_arn(self) -> str:
        """A role ARN of the right form; roles are recorded and not interpreted."""
        return f"arn:aws:iam::{self.account_id}:role/PilothouseRole"


def _sentences(error: ValidationError) -> str:
    return " ".join(f"PILOTHOUSE_{str(part['loc'][0]).upper()} is wrong: {part['msg']}." for part in error.errors())
