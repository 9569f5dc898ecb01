"""`daalu loadtests csv` is the file that REST serves, byte for byte."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import httpx2
from sqlmodel import Session

from control_plane.store import Store
from control_plane.store.load_test_tables import LoadTest, LoadTestStep
from tests.support.control_plane import initialised, serving
from tests.support.economy import add_economy


def _add_test(session: Session) -> None:
    add_economy(session)
    session.add(
        LoadTest(
            id="lt-1", tenant_id="ten-provider", agent_id="agt-provider", model_id="tiny",
            api_key_id="key-provider", actor="operator", sweep='{"concurrencies": [4]}',
            started_unix_ms=1, lease_unix_ms=1, ended_unix_ms=2,
        )
    )  # fmt: skip
    session.flush()
    names = (f"{measure}_p{share}_ms" for measure in ("ttft", "itl") for share in (50, 90, 99))
    figures = dict.fromkeys(names, 1.5)
    session.add(
        LoadTestStep(
            load_test_id="lt-1", concurrency=4, completed=15, failed=1, error="=1+1, said the client",
            duration_s=2.5, requests_per_s=6.0, output_tokens_per_s=96.0, **figures,
        )
    )  # fmt: skip


def test_the_file_is_printed_as_it_came(tmp_path: Path) -> None:
    plane = initialised(tmp_path / "data")
    store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
    store.write_now(_add_test)
    store.close()
    with serving(plane):
        headers = {"authorization": f"Bearer {plane.token}"}
        served = httpx2.get(f"{plane.plain_url}/api/v1/loadtests/lt-1/csv", headers=headers)
        program = "from control_plane.cli import main; main()"
        command = [sys.executable, "-c", program, "loadtests", "csv", "lt-1", "--data", str(plane.data)]
        printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        unknown = plane.daalu("loadtests", "csv", "lt-2")
    assert served.status_code == 200
    assert printed == served.content
    (row,) = csv.DictReader(io.StringIO(printed.decode(), newline=""))
    # What a spreadsheet would take for a formula is none any more.
    assert (row["concurrency"], row["error"]) == ("4", "'=1+1, said the client")
    assert (unknown.returncode, unknown.stdout) == (1, "")
