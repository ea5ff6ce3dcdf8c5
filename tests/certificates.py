"""Certificates for tests, made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(folder: Path) -> Path:
    """Writes cert.pem (for localhost, its own authority) and key.pem -> the folder."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("certificates for the tests are made by the openssl command, which is not here")
    request = [
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-newkey",
        "ec",
        "-pkeyopt",
    ]
    options = ["ec_paramgen_curve:prime256v1", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([openssl, *request, *options, *files], check=True, capture_output=True)
    return folder
