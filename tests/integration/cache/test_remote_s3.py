"""The second tier in the protocol of S3: by s3fs, against the server of moto, if they are there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fastsa.cache.remote import Remote, Unreachable

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto is not installed")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    settings = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ.update(settings)
    try:
        import boto3

        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        boto3.client("s3").create_bucket(Bucket="plans")
        yield "s3://plans/team"
    finally:
        server.kill()
        server.wait()
        for name in settings:
            del os.environ[name]


def test_there_and_back(bucket: str) -> None:
    remote = Remote(bucket, 60.0)
    assert remote.entries("a/b") == []
    remote.put("a/b/1-x", b"data")
    assert remote.finish() == 1
    assert [(each.name, each.bytes) for each in remote.entries("a/b")] == [("1-x", 4)]
    assert remote.folders("a") == ["b"]
    assert Remote(bucket, 60.0).get("a/b/1-x", 4) == b"data"


def test_a_bucket_is_never_made(bucket: str) -> None:
    remote = Remote("s3://slip-of-the-pen/team", 60.0)
    remote.put("a/b/1-x", b"data")
    with pytest.raises(Unreachable, match="bucket does not exist"):
        remote.finish()
