"""S3's requests told apart and its answers written, with botocore's own parser as the judge."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.parsers import create_parser

from pilothouse.errors import S3Error, UnknownOperation
from pilothouse.operations import s3_conditions
from pilothouse.wire import models, restxml

COPY = {"x-amz-copy-source": "b/k"}


def name_of(method: str, path: str, query: str, headers: dict[str, str]) -> str:
    return restxml.operation(restxml.incoming(method, path.encode(), query.encode(), headers.items())).name


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "name"),
    [
        ("GET", "/", "", {}, "ListBuckets"),
        ("PUT", "/b", "", {}, "CreateBucket"),
        ("PUT", "/b/", "", {}, "CreateBucket"),
        ("GET", "/b", "", {}, "ListObjects"),
        ("GET", "/b", "list-type=2&prefix=x", {}, "ListObjectsV2"),
        ("GET", "/b", "location", {}, "GetBucketLocation"),
        ("GET", "/b", "uploads=", {}, "ListMultipartUploads"),
        ("GET", "/b", "acl", {}, "GetBucketAcl"),
        ("POST", "/b", "delete", {}, "DeleteObjects"),
        ("GET", "/b/k/l", "x-id=GetObject", {}, "GetObject"),
        ("GET", "/b/k", "uploadId=1", {}, "ListParts"),
        ("PUT", "/b/k", "", {}, "PutObject"),
        ("PUT", "/b/k", "", COPY, "CopyObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=1", {}, "UploadPart"),
        ("PUT", "/b/k", "partNumber=1&uploadId=1", COPY, "UploadPartCopy"),
        ("PUT", "/b/k", "tagging", {}, "PutObjectTagging"),
        ("GET", "/b/k", "attributes", {}, "GetObjectAttributes"),
        ("POST", "/b/k", "uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=1", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k", "uploadId=1", {}, "AbortMultipartUpload"),
        ("DELETE", "/b/k", "", {}, "DeleteObject"),
    ],
)
def test_an_operation_is_told_by_what_only_it_demands(
    method: str, path: str, query: str, headers: dict[str, str], name: str
) -> None:
    assert name_of(method, path, query, headers) == name


def test_headers_in_the_query_of_a_presigned_url_are_headers() -> None:
    request = restxml.incoming(
        "PUT", b"/b/k", b"X-Amz-Meta-A=1&x-amz-tagging=t%3D1&prefix=x", {"X-Amz-Meta-A": "2"}.items()
    )
    assert request.headers == {"x-amz-meta-a": "2", "x-amz-tagging": "t=1"}


def test_a_list_may_come_in_several_headers_of_one_name() -> None:
    headers = [("x-amz-object-attributes", "ETag"), ("X-Amz-Object-Attributes", "ObjectSize, StorageClass")]
    members = restxml.parse(
        models.operation("s3", "GetObjectAttributes"), restxml.incoming("GET", b"/b/k", b"attributes", headers)
    )
    assert members["ObjectAttributes"] == ["ETag", "ObjectSize", "StorageClass"]


def test_a_method_that_no_operation_has_is_refused() -> None:
    with pytest.raises(UnknownOperation):
        name_of("PATCH", "/b/k", "", {})


def test_keys_are_decoded_once_and_kept_as_they_are() -> None:
    request = restxml.incoming("GET", b"/b//a%2Fb%2520/../%C3%BC", b"", ())
    assert (request.bucket, request.key) == ("b", "/a/b%20/../ü")
    with pytest.raises(S3Error, match="UTF-8"):
        restxml.incoming("GET", b"/b/%FF", b"", ())


def test_members_are_read_from_where_the_model_says() -> None:
    headers = {
        "X-Amz-Meta-Owner": "me",
        "Content-Type": "text/csv",
        "If-Modified-Since": "Thu, 01 Jan 1970 00:00:09 GMT",
    }
    request = restxml.incoming("GET", b"/b/k", b"partNumber=3", headers.items())
    members = restxml.parse(models.operation("s3", "GetObject"), request)
    assert members == {"Bucket": "b", "Key": "k", "PartNumber": 3, "IfModifiedSince": 9.0}
    put = restxml.parse(models.operation("s3", "PutObject"), request)
    assert (put["Metadata"], put["ContentType"]) == ({"owner": "me"}, "text/csv")
    with pytest.raises(S3Error, match="partNumber"):
        restxml.parse(models.operation("s3", "GetObject"), restxml.incoming("GET", b"/b/k", b"partNumber=x", ()))


def test_an_xml_body_is_read_by_the_model() -> None:
    body = b"<Delete xmlns='x'><Object><Key>a&amp;b</Key></Object><Object><Key/></Object><Quiet>true</Quiet></Delete>"
    model = models.operation("s3", "DeleteObjects")
    members = restxml.parse(model, restxml.incoming("POST", b"/b", b"delete", ()), body)
    assert members["Delete"] == {"Objects": [{"Key": "a&b"}, {"Key": ""}], "Quiet": True}


def test_a_document_may_be_called_by_its_shape_as_early_sdks_for_javascript_do() -> None:
    model, request = models.operation("s3", "CompleteMultipartUpload"), restxml.incoming("POST", b"/b/k", b"", ())
    for root in ("CompleteMultipartUpload", "CompletedMultipartUpload"):
        body = f"<{root} xmlns='x'><Part><PartNumber>1</PartNumber></Part></{root}>".encode()
        assert restxml.parse(model, request, body)["MultipartUpload"] == {"Parts": [{"PartNumber": 1}]}
    with pytest.raises(S3Error, match="XML"):
        restxml.parse(model, request, b"<MultipartUpload><Part><PartNumber>1</PartNumber></Part></MultipartUpload>")


def test_botocore_reads_back_what_is_answered() -> None:
    model = models.operation("s3", "ListObjectsV2")
    row = {"Key": "a<&>\rb\r\nc", "Size": 3, "ETag": '"e"', "LastModified": 1.5, "ChecksumAlgorithm": ["CRC32"]}
    result = {"IsTruncated": False, "Contents": [row], "CommonPrefixes": [{"Prefix": "p/"}], "Delimiter": None}
    sent = restxml.answer(model, result)
    parsed = create_parser("rest-xml").parse(
        {"status_code": sent.status, "headers": sent.headers, "body": sent.body}, model.output_shape
    )
    parsed.pop("ResponseMetadata")
    moment = datetime.fromtimestamp(1.5, UTC)
    assert parsed == {
        "IsTruncated": False,
        "Contents": [{**row, "LastModified": moment}],
        "CommonPrefixes": [{"Prefix": "p/"}],
    }


def test_a_text_of_many_lines_is_read_whole() -> None:
    lines = "a\nb\n" * 300_000
    assert restxml.read(f"<Tag><Key>{lines}</Key></Tag>".encode()).children[0].text == lines


def test_a_value_that_cannot_be_a_header_is_refused() -> None:
    with pytest.raises(S3Error, match="header"):
        restxml.answer(models.operation("s3", "HeadObject"), {"ContentType": "a\r\nSet-Cookie: x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 8)),
        ("bytes=-4", (6, 4)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 5)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
    ],
)
def test_a_range_header_is_understood_or_ignored(text: str | None, expected: tuple[int, int] | None) -> None:
    assert s3_conditions.span(text, 10) == expected


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_the_object_is_refused(text: str) -> None:
    with pytest.raises(S3Error) as error:
        s3_conditions.span(text, 10)
    assert (error.value.code, error.value.status) == ("InvalidRange", 416)


@pytest.mark.parametrize(
    "document",
    [
        b"<a " + b" ".join(b"a%d=''" % n for n in range(6_000)) + b"/>",
        b"<a " + b" ".join(b"a%d='>'" % n for n in range(6_000)) + b"/>",
        b"<a>" + b"".join(b"<b a%d='' b%d=''/>" % (n, n) for n in range(10_001)) + b"</a>",
        b"<a>" + b"".join(b"<b xmlns:a%d='u' xmlns:b%d='u'/>" % (n, n) for n in range(10_001)) + b"</a>",
        b"<a><" + b"b" * (64 << 10) + b"/></a>",
        b"<a><!--" + b"b" * (64 << 10) + b"--></a>",
    ],
    ids=["attributes", "attributes with brackets", "attributes of many", "namespaces of many", "name", "comment"],
)
def test_a_tag_is_no_larger_and_has_no_more_attributes_than_any_client_says(document: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        restxml.read(document)
    assert caught.value.code == "MalformedXML"


@pytest.mark.parametrize("size", [0, 1, (16 << 10) - 7, (16 << 10) - 6, 16 << 10, 100_000, 5 << 20])
def test_a_text_is_as_long_as_it_likes(size: int) -> None:
    assert restxml.read(b"<a>%s</a>" % (b"b" * size)).text == "b" * size
    assert restxml.read(b"<a><![CDATA[%s]]></a>" % (b"<" * size)).text == "<" * size
    assert restxml.read(b"<a>%s</a>" % (b"&lt;" * (size // 4))).text == "<" * (size // 4)


def test_tags_of_some_size_are_taken_wherever_they_lie() -> None:
    part = b"<b a='%s' xmlns:c='d'>x</b>" % (b"b" * 12_000)
    assert len(restxml.read(b"<a>" + part * 40 + b"</a>").children) == 40
