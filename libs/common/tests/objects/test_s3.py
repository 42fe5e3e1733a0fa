"""What moto takes without looking: held against what was signed instead. And CloudFront."""

import asyncio
import hashlib
import json
import time
from base64 import b64decode, b64encode
from urllib.parse import parse_qs, urlsplit

import aiobotocore.httpsession
import pytest
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from common.objects import FolderFileStore, ObjectMissingError, ObjectStoreUnavailableError, Part, open_store
from common.objects.cloudfront import CloudFront
from common.objects.s3 import S3Place, S3Store

from .conftest import REGION
from .test_contract import KEY, SERVED, signed_put

KMS = "arn:aws:kms:eu-central-1:123456789012:key/k"
ENCRYPTION = {
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
}


def signed_query(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def signed_headers(url):
    return set(signed_query(url)["X-Amz-SignedHeaders"].split(";"))


@pytest.fixture
async def aws(monkeypatch):
    """A store as on AWS, which must ask nothing of the network to sign."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

    async def send(*_):
        raise AssertionError("signing asked the network")

    monkeypatch.setattr(aiobotocore.httpsession.AIOHTTPSession, "send", send)
    async with S3Store.opened(S3Place("bucket", REGION, None, KMS)) as store:
        yield store


async def test_size_hash_and_that_nothing_is_there_yet_are_signed_into_a_put(aws):
    digest = hashlib.sha256(b"data").digest()
    signed = await aws.sign_put(KEY, 4, digest, 77)
    named = {"content-length", "host", "if-none-match", "x-amz-checksum-sha256"}
    assert signed_headers(signed.url) == named | ENCRYPTION
    assert signed.headers["x-amz-checksum-sha256"] == b64encode(digest).decode()
    assert signed.headers["If-None-Match"] == "*"
    assert {name.lower() for name in signed.headers} | {"host", "content-length"} == signed_headers(signed.url)
    assert signed_query(signed.url)["X-Amz-Expires"] == "77"


async def test_each_value_changes_the_signature_of_a_put(aws, monkeypatch):
    async def signature(key=KEY, size=4, digest=bytes(32)):
        return signed_query((await aws.sign_put(key, size, digest, 60)).url)["X-Amz-Signature"]

    first = await signature()
    for changed in ({"key": "files/w/g"}, {"size": 5}, {"digest": bytes(31) + b"\1"}):
        assert await signature(**changed) != first


async def test_upload_number_and_size_are_signed_into_a_part(aws):
    signed = await aws.sign_part(KEY, "the-upload", 7, 5, 60)
    query = signed_query(signed.url)
    assert (query["uploadId"], query["partNumber"]) == ("the-upload", "7")
    assert signed_headers(signed.url) == {"content-length", "host"}
    assert signed.headers == {}


async def test_urls_go_to_the_bucket_in_its_region(aws):
    for url in ((await aws.sign_put(KEY, 1, bytes(32), 60)).url, await aws.sign_get(KEY, SERVED, 60)):
        assert urlsplit(url).netloc == f"bucket.s3.{REGION}.amazonaws.com"
        assert urlsplit(url).path == f"/{KEY}"


async def test_method_object_and_answer_are_signed_into_a_download(aws):
    get, put = await aws.sign_get(KEY, SERVED, 60), (await aws.sign_put(KEY, 0, bytes(32), 60)).url
    other = await aws.sign_get("files/w/g", SERVED, 60)
    query = signed_query(get)
    assert len({signed_query(url)["X-Amz-Signature"] for url in (get, put, other)}) == 3
    assert query["response-content-type"] == SERVED.content_type
    assert query["response-content-disposition"] == SERVED.disposition
    assert query["X-Amz-Expires"] == "60"


async def test_signing_many_does_not_hold_up_the_loop(aws):
    began = time.perf_counter()
    for _ in range(50):
        await aws.sign_get(KEY, SERVED, 60)
    assert (time.perf_counter() - began) / 50 < 0.02


async def test_every_write_is_encrypted_with_the_key(s3):
    await s3.store.put("a/b", b"data")
    await s3.send(await signed_put(s3, b"data"), b"data")
    upload = await s3.store.begin("a/c")
    await s3.send(await s3.store.sign_part("a/c", upload, 1, 4, 60), b"data")
    await s3.store.complete("a/c", upload, await s3.store.parts("a/c", upload))
    for key in ("a/b", KEY, "a/c"):
        head = await s3.store._client.head_object(Bucket=s3.store._bucket, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KMS)


async def test_without_a_key_the_bucket_decides(moto):
    async with S3Store.opened(S3Place("bucket", REGION, moto)) as store:
        assert not ENCRYPTION & signed_headers((await store.sign_put(KEY, 1, bytes(32), 60)).url)


async def test_an_upload_demands_no_checksum_of_parts_which_a_url_could_not_carry(s3):
    sent = []
    s3.store._client.meta.events.register(
        "before-send.s3.CreateMultipartUpload", lambda request, **_: sent.extend(request.headers)
    )
    await s3.store.begin(KEY)
    assert sent
    assert not [name for name in sent if "checksum" in name.lower()]


async def test_a_completion_whose_answer_was_lost_counts(s3, monkeypatch):
    async def unknown(**_):
        raise ClientError({"Error": {"Code": "NoSuchUpload"}}, "CompleteMultipartUpload")

    monkeypatch.setattr(s3.store._client, "complete_multipart_upload", unknown)
    parts = [Part(1, 4, '"x"')]
    with pytest.raises(ObjectMissingError):
        await s3.store.complete(KEY, "u", parts)
    await s3.store.put(KEY, b"data")
    await s3.store.complete(KEY, "u", parts)


async def test_listing_goes_on_behind_the_first_page(s3):
    for number in range(7):
        await s3.store.put(f"a/{number}", b"x")
        await s3.store.begin(f"a/{number}")
    client = s3.store._client
    client.meta.events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3))
    client.meta.events.register(
        "before-parameter-build.s3.ListMultipartUploads", lambda params, **_: params.update(MaxUploads=3)
    )
    assert len([one async for one in s3.store.listed("a/")]) == 7
    assert len([one async for one in s3.store.unfinished("a/")]) == 7


async def test_a_bucket_that_is_not_there_is_no_missing_object(moto):
    async with S3Store.opened(S3Place("no-such-bucket", REGION, moto)) as store:
        with pytest.raises(ObjectStoreUnavailableError):
            await store.get(KEY)
        with pytest.raises(ObjectStoreUnavailableError):
            await store.put(KEY, b"data")


async def test_a_body_that_ends_early_is_not_taken_for_whole(monkeypatch):
    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with S3Store.opened(S3Place("bucket", REGION, f"http://127.0.0.1:{port}")) as store:
            with pytest.raises(ObjectStoreUnavailableError):
                await store.get(KEY)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(65537, 2048)


async def test_a_cloudfront_url_is_signed_for_one_object_and_time(key):
    url = await CloudFront("https://cdn.example/", "K1", pem(key)).url(KEY, "response-content-type=text%2Fplain", 60)
    resource, _, rest = url.partition("&Expires=")
    query = signed_query(url)
    assert resource == f"https://cdn.example/{KEY}?response-content-type=text%2Fplain"
    assert (query["Key-Pair-Id"], rest.partition("&")[0]) == ("K1", query["Expires"])
    assert 50 < int(query["Expires"]) - time.time() <= 60
    signature = b64decode(query["Signature"].translate(str.maketrans("-_~", "+=/")))

    def check(resource, expires):
        condition = {"DateLessThan": {"AWS:EpochTime": expires}}
        policy = json.dumps({"Statement": [{"Resource": resource, "Condition": condition}]}, separators=(",", ":"))
        key.public_key().verify(signature, policy.encode(), PKCS1v15(), hashes.SHA1())

    check(resource, int(query["Expires"]))
    for other in ((resource.replace("files", "other"), int(query["Expires"])), (resource, int(query["Expires"]) + 1)):
        with pytest.raises(InvalidSignature):
            check(*other)


async def test_downloads_go_through_cloudfront_where_there_is_one(moto, key):
    front = CloudFront("https://cdn.example", "K1", pem(key))
    async with S3Store.opened(S3Place("bucket", REGION, moto), front) as store:
        url = await store.sign_get(KEY, SERVED, 60)
        assert url.startswith(f"https://cdn.example/{KEY}?response-content-type=text%2Fplain%3B%20charset%3Dutf-8&")
        assert signed_query(url)["response-content-disposition"] == SERVED.disposition
        assert (await store.sign_put(KEY, 1, bytes(32), 60)).url.startswith(moto)


def test_cloudfront_takes_rsa_only():
    with pytest.raises(TypeError, match="RSA"):
        CloudFront("https://cdn.example", "K1", pem(ec.generate_private_key(ec.SECP256R1())))


async def test_the_settings_choose_the_store(tmp_path, moto, key):
    async with open_store("folder", folder=tmp_path, signed_base_url="http://x", url_keys=[b"k" * 32]) as store:
        assert isinstance(store, FolderFileStore)
        assert (await store.sign_get(KEY, SERVED, 60)).startswith("http://x/")
    named = {"cloudfront_url": "https://cdn.example", "cloudfront_key_pair_id": "K1"}
    async with open_store(
        "s3", bucket="b", region=REGION, endpoint_url=moto, **named, cloudfront_private_key=pem(key)
    ) as store:
        assert isinstance(store, S3Store)
        assert (await store.sign_get(KEY, SERVED, 60)).startswith("https://cdn.example/")
    with pytest.raises(ValueError, match="not named"):
        async with open_store("folder"):
            pass
