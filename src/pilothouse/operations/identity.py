"""Who the caller is and what roles may do: roles are recorded by their users, not interpreted: they may do anything."""

from __future__ import annotations

from typing import Any

from pilothouse import names
from pilothouse.operations.context import Context
from pilothouse.wire import paging

_SESSION = "pilothouse"
_MOST_RESULTS = 100


def get_caller_identity(context: Context, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """GetCallerIdentity: a session of the installation's role, so that the SageMaker SDK finds its execution role."""
    account, role = context.settings.account_id, context.settings.role_arn.rpartition("/")[2]
    return {
        "UserId": f"{_role_id(role)}:{_SESSION}",
        "Account": account,
        "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{_SESSION}",
    }


def get_role(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """GetRole: every name is a role, made at the epoch, that SageMaker may assume."""
    name = request["RoleName"]
    return {
        "Role": {
            "Path": "/",
            "RoleName": name,
            "RoleId": _role_id(name),
            "Arn": f"arn:aws:iam::{context.settings.account_id}:role/{name}",
            "CreateDate": 0.0,
            "MaxSessionDuration": 3600,
        }
    }


def simulate_principal_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """SimulatePrincipalPolicy: every action is allowed, on each resource that the request names; page by page."""
    results = [
        {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
        for action in request["ActionNames"]
        for resource in request.get("ResourceArns", ["*"])
    ]
    renamed = {"Marker": "NextToken", "MaxItems": "MaxResults"}
    asked = {renamed.get(name, name): value for name, value in request.items()}
    numbered = list(enumerate(results))
    page, marker = paging.slice(numbered, asked, lambda one: (one[0],), default_limit=_MOST_RESULTS)
    return {"EvaluationResults": [result for _, result in page], "IsTruncated": marker is not None, "Marker": marker}


def _role_id(name: str) -> str:
    return "AROA" + names.digest(name, 17).upper()
