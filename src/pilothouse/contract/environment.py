"""The variables that a training program finds, as AWS's training toolkit makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pilothouse.catalog.training_jobs import ROOT, TrainingJob, decoded
from pilothouse.contract.hosts import ALONE, Host
from pilothouse.contract.opt_ml import HOME, NETWORK_INTERFACE, TEMPORARY, input_data_config, resource_config

_INFO = 20
_LONGEST_VARIABLE = 128 << 10


@dataclass(frozen=True)
class Surroundings:
    """What a program's variables say of its host. `root` is where it sees the folder that `OptMl` laid out."""

    root: str
    arn: str
    region: str
    cpus: int
    gpus: int = 0
    host: Host = ALONE


def variables(job: TrainingJob, around: Surroundings) -> dict[str, str]:
    """The contract's variables; those of the request's Environment win."""
    own = {
        "SAGEMAKER_BASE_DIR": around.root,
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": around.arn,
        "AWS_REGION": around.region,
        "SAGEMAKER_REGION": around.region,
        "SAGEMAKER_JOB_NAME": str(decoded(job.hyperparameters.get("sagemaker_job_name", job.name))),
        "CURRENT_HOST": around.host.name,
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": f"{around.root}/{TEMPORARY}",
        "HOME": f"{around.root}/{HOME}",
        **{f"SM_{name.upper()}": _text(value) for name, value in _toolkit(job, around).items()},
    }
    given = {name: located(value, around.root) for name, value in job.environment.items()}
    return {name: value for name, value in (own | given).items() if _possible(name, value)}


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Hyperparameters as a script's command line has them: `--name value`, sorted, one-letter names with one dash."""
    words = []
    for name in sorted(hyperparameters):
        words += [f"--{name}" if len(name) > 1 else f"-{name}", _word(hyperparameters[name])]
    return words


def located(text: str, root: str) -> str:
    """`text` with /opt/ml as it is called here."""
    return text if root == ROOT else text.replace(ROOT, root)


def _possible(name: str, value: str) -> bool:
    """Whether the kernel takes such a variable; hyperparameters can be called anything, and be long together."""
    return "=" not in name and len(name.encode()) + len(value.encode()) < _LONGEST_VARIABLE


def _toolkit(job: TrainingJob, around: Surroundings) -> dict[str, Any]:
    root, hyperparameters, host = around.root, job.user_hyperparameters, around.host
    resources, given = resource_config(job, host), [channel.name for channel in job.channels if host.gets(channel)]
    groups = {group["instance_group_name"]: group for group in resources["instance_groups"]}
    program = job.program
    level = decoded(job.hyperparameters.get("sagemaker_container_log_level", str(_INFO)))
    facts = {
        "hosts": host.names,
        "current_host": host.name,
        "current_instance_type": resources["current_instance_type"],
        "current_instance_group": resources["current_group_name"],
        "current_instance_group_hosts": groups[resources["current_group_name"]]["hosts"],
        "instance_groups": list(groups),
        "instance_groups_dict": groups,
        "is_hetero": len(groups) > 1,
        "network_interface_name": NETWORK_INTERFACE,
        "num_cpus": around.cpus,
        "num_gpus": around.gpus,
        "num_neurons": 0,
        "log_level": level,
        "hps": hyperparameters,
        "framework_params": _framework(job),
        "channels": sorted(given),
        "input_dir": f"{root}/input",
        "input_config_dir": f"{root}/input/config",
        "input_data_config": input_data_config(job, host),
        "resource_config": resources,
        "model_dir": f"{root}/model",
        "output_dir": f"{root}/output",
        "output_data_dir": f"{root}/output/data",
        "output_intermediate_dir": f"{root}/output/intermediate",
        "user_entry_point": program or "",
        "module_name": PurePosixPath(program).stem if program else "",
        "module_dir": job.submit_directory or f"{root}/code",
        "user_args": arguments(hyperparameters),
    }
    channels = {f"channel_{name}": f"{root}/input/data/{name}" for name in given}
    each = {f"hp_{name}": value for name, value in hyperparameters.items()}
    directories = {name: f"{root}/input/data/{name}" for name in given}
    training = {
        **facts,
        "job_name": job.name,
        "hyperparameters": hyperparameters,
        "channel_input_dirs": directories,
        "master_hostname": host.names[0],
        "is_master": host.number == 1,
    }
    return {**facts, **channels, **each, "training_env": training}


def _framework(job: TrainingJob) -> dict[str, Any]:
    known = ("program", "submit_directory", "enable_cloudwatch_metrics", "region", "container_log_level", "job_name")
    own = {f"sagemaker_{name}" for name in (*known, "s3_output")}
    mine = {k: v for k, v in job.hyperparameters.items() if k.startswith("sagemaker_") and k not in own}
    return {name: decoded(value) for name, value in mine.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ",".join(f"{name}={member}" for name, member in sorted(value.items()))
    return str(value)
