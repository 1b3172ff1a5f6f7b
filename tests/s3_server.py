"""An S3 server on loopback, in a process of its own: moto's, which keeps everything in memory.

`python -m tests.s3_server` says its address and ends with its standard input.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from settings import PROJECT_ROOT

KEY_ID, SECRET, TOKEN = "AKIATESTTESTTESTTEST", "s3cret-of-the-bucket", "t0ken-of-the-session"


@dataclass(frozen=True)
class S3Server:
    """Its address, and what fsspec needs to find it."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def connect(self) -> Any:
        """A client that has nothing to do with fsspec."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def make_bucket(self) -> "Bucket":
        bucket = Bucket(self.connect(), f"bills-{uuid4().hex}")
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket


@dataclass(frozen=True)
class Bucket:
    """A bucket of a test's own."""

    client: Any
    name: str

    @property
    def storage_url(self) -> str:
        return f"s3://{self.name}/our/bills"

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def list_keys(self) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def list_uploads(self) -> list[str]:
        """The keys of uploads in parts that were begun and neither ended nor given up."""
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]


@contextmanager
def serve_s3() -> Generator[S3Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.s3_server"],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the S3 server did not start"
        yield S3Server(address)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    main()
