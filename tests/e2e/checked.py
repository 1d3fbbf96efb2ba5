"""What `sidecar check` says of a real upstream."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.proxy.process import clean_environment

__all__ = ["checked"]


async def checked(upstream: str, folder: Path, **environment: str) -> str:
    """Its output; it has to end well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "check", "--upstream", upstream),
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**clean_environment(), "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return said.decode()
