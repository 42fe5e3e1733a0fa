"""Signed URLs of a CloudFront distribution in front of the bucket.

Its cache and origin policies must pass `response-content-type`, `response-content-disposition` and
`response-cache-control` on to S3.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key


class CloudFront:
    """Signs with a key pair that the distribution trusts; canned policy: one URL, until it expires."""

    def __init__(self, base_url: str, key_pair_id: str, private_key_pem: str) -> None:
        key = load_pem_private_key(private_key_pem.encode(), None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError("CloudFront's URLs are signed by an RSA key")
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._signer = CloudFrontSigner(key_pair_id, self._sign)

    async def url(self, key: str, query: str, seconds: int) -> str:
        """URL of an object that is good for `seconds` from now; `query` is encoded."""
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        url = f"{self._base_url}/{key}?{query}"
        signed: str = await asyncio.to_thread(self._signer.generate_presigned_url, url, date_less_than=ends)
        return signed

    def _sign(self, policy: bytes) -> bytes:
        return self._key.sign(policy, PKCS1v15(), SHA1())  # noqa: S303 - CloudFront takes no other hash
