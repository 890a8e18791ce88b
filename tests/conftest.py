from __future__ import annotations

import gc
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import forking
from support.seeding import seed
from support.skips import grouped

from ppcls_compress.deploy import fresh

for variable in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(variable, None)  # what a test prints is not for the terminal that it is started from


class FileHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path.partition("?")[0].removeprefix("/cut"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/cut") else content)

    def log_message(self, *args):
        pass


def pytest_collection_finish():
    """What the tests are made of stays to the end; the garbage collector need not look through it each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    seed(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    seed(item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def _forked_processes():
    """What exports and benchmarks start is forked, which spares loading Paddle each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh, "command", forking.command)
        yield


@pytest.fixture
def started_processes(monkeypatch):
    """As users have them, each loads what it needs."""
    monkeypatch.setattr(fresh, "command", forking.started)


@pytest.fixture
def small_classifiers(monkeypatch):
    """AlexNet and VGG with few units in their linear layers, for small images: of the same structure, in no time."""
    from ppcls_compress.models import alexnet, vgg

    for module, places in ((alexnet, 1), (vgg, 2)):
        monkeypatch.setattr(module, "_SIDE", places)
        monkeypatch.setattr(module, "_WIDE", 512)


@pytest.fixture
def file_server(tmp_path, monkeypatch):
    """A local web server of `files` and an empty cache folder; a path that starts with /cut breaks off half-way."""
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")  # a proxy of this machine's does not know the server
    server = ThreadingHTTPServer(("127.0.0.1", 0), FileHandler)
    server.files, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def pytest_terminal_summary(terminalreporter):
    """One line for each reason to skip, instead of one for each place."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    if reasons:
        terminalreporter.section(f"{len(reasons)} skipped")
        for line in grouped(reasons):
            terminalreporter.write_line(line)
