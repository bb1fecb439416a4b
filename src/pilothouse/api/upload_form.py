"""S3's uploads by form: a browser's POST of multipart/form-data to a bucket, without any header that signs it.

The form's fields carry a policy, its signature, the key and what else a put has in headers; `wire.post_policy` says
what of it the signer allows. The file streams into a put like any other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pilothouse.api import bucket, content
from pilothouse.errors import RequestTimeout, S3Error, UnknownOperation
from pilothouse.operations import s3_objects, s3_terms
from pilothouse.operations.context import Context
from pilothouse.wire import models, post_policy, restxml, sigv4
from pilothouse.wire.faults import xml_text
from pilothouse.wire.multipart import Form
from pilothouse.wire.post_policy import Policy
from pilothouse.wire.sigv4 import Keys

FIELDS_PATIENCE = 30.0
"""Seconds in which all fields of a form must have come: until then nobody knows who sends it."""

_WEB_ADDRESS = re.compile(r"https?://[^\s#]+")
_FILENAME = "${filename}"
_SIGNATURE = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_AS_HEADERS = {"acl": "x-amz-acl"}
_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")


async def handle(request: Request, context: Context, keys: Keys) -> Response:
    """Store the file of a form. Errors are raised."""
    address = bucket.asked(request, context)
    if not address.bucket or address.key:
        raise UnknownOperation("The specified method is not allowed against this resource.")
    form = Form(request.stream(), request.headers.get("content-type", ""))
    fields = await _fields(form)
    policy = _allowed(fields, keys, context.settings.region)
    if "key" not in fields:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'key', before the file.", 400)
    fields["key"] = fields["key"].replace(_FILENAME, form.filename)
    policy.check({**fields, "bucket": address.bucket}, datetime.now(UTC))
    model = models.operation("s3", "PutObject")
    put = restxml.Incoming("PUT", address.bucket, fields["key"], {}, _headers(fields))
    members = restxml.parse(model, put)
    s3_terms.check(context, members)
    members["_checksums"] = bucket.checksums_of(put.headers)
    members["Body"] = _file(content.pulled(content.portions(form)), policy)
    stored, _ = await content.storing.run(bucket.performed, s3_objects.put_object, context, members)
    return _answer(request, fields, address.bucket, stored["ETag"])


async def _fields(form: Form) -> dict[str, str]:
    try:
        async with asyncio.timeout(FIELDS_PATIENCE):
            return await form.fields()
    except TimeoutError as error:
        raise RequestTimeout(
            f"The fields of the form did not arrive within {FIELDS_PATIENCE:g} seconds. Send the request again."
        ) from error


def _allowed(fields: Mapping[str, str], keys: Keys, region: str) -> Policy:
    """The form's policy, whose signature holds."""
    if "policy" not in fields:
        raise S3Error("AccessDenied", "Access Denied: a form needs a policy and its signature.", 403)
    if "awsaccesskeyid" in fields:
        raise sigv4.version_2()
    missing = [name for name in _SIGNATURE if not fields.get(name)]
    if missing:
        raise S3Error(
            "InvalidArgument", f"Bucket POST must contain a field named '{missing[0]}', before the file.", 400
        )
    algorithm, credential, stamp, signature = (fields[name] for name in _SIGNATURE)
    sigv4.verify_text(fields["policy"], algorithm, credential, stamp, signature, keys, region=region)
    return post_policy.read(fields["policy"])


def _headers(fields: Mapping[str, str]) -> dict[str, str]:
    """What a put with the same meaning has in its headers."""
    named = {_AS_HEADERS.get(name, name): value for name, value in fields.items()}
    headers = {
        name: restxml.header_value(value.encode().decode("latin-1"))  # as a header's bytes come in
        for name, value in named.items()
        if name in _HEADERS or name.startswith("x-amz-")
    }
    if fields.get("tagging"):
        model, nowhere = models.operation("s3", "PutObjectTagging"), restxml.Incoming("PUT", "", "", {}, {})
        tags = restxml.parse(model, nowhere, fields["tagging"].encode())["Tagging"]["TagSet"]
        headers["x-amz-tagging"] = urlencode([(tag["Key"], tag["Value"]) for tag in tags])
    return headers


def _file(arriving: Generator[bytes, None, None], policy: Policy) -> Generator[bytes, None, None]:
    """The file's bytes, if they are as many as the policy allows."""
    most = s3_objects.LARGEST_PUT if policy.most is None else min(policy.most, s3_objects.LARGEST_PUT)
    seen = 0
    with closing(arriving):
        for piece in content.bounded(arriving, most):
            seen += len(piece)
            yield piece
    if seen < policy.least:
        raise S3Error(
            "EntityTooSmall",
            f"Your proposed upload is smaller than the minimum allowed size of {policy.least} bytes.",
            400,
            MinSizeAllowed=str(policy.least),
        )


def _answer(request: Request, fields: Mapping[str, str], bucket_name: str, etag: str) -> Response:
    """A redirection where the form asks for one that makes sense, else an empty answer, or with 201 an XML document."""
    back = fields.get("success_action_redirect", fields.get("redirect", ""))
    if _WEB_ADDRESS.fullmatch(back):
        query = urlencode({"bucket": bucket_name, "key": fields["key"], "etag": etag})
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}{query}", 303)
    where = f"{request.scope['scheme']}://{request.headers.get('host', '')}{request.scope['path']}"
    location = f"{where.rstrip('/')}/{quote(fields['key'], safe='/~')}"
    headers = {"ETag": etag, "Location": location}
    status = fields.get("success_action_status")
    if status != "201":
        return Response(status_code=200 if status == "200" else 204, headers=headers)
    told = {"Location": location, "Bucket": bucket_name, "Key": fields["key"], "ETag": etag}
    rows = "".join(f"<{name}>{xml_text(value)}</{name}>" for name, value in told.items())
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{rows}</PostResponse>'
    return Response(document, 201, headers, media_type="application/xml")
