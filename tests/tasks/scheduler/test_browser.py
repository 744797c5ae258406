"""The visualizer in a real browser: who logs in, what the buttons do, and what another site's page cannot."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from luigi.task_status import DISABLED, FAILED, PENDING, RUNNING
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.support.browsers import QUIET, chromium
from tests.support.crew import Crew
from tests.support.night import Night, next_run, wait_until
from tests.support.platforms import Platform
from tests.support.schedulers import Door, door, served

pytestmark = pytest.mark.endurance

PAGE = "/static/visualiser/index.html"
# A machine that is busy draws slowly.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield started
        started.close()


@dataclass
class Visitor:
    """One person with a window of their own."""

    page: Page
    said: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.text} ({message.location['url']})")

    def note(self, request: Request) -> None:
        self.answered.add(request.url.partition("?")[0])


@contextlib.contextmanager
def visiting(browser: Browser, way_in: Door, who: str, password: str = "") -> Iterator[Visitor]:
    """Open a window and log in with it, as soon as it is asked to."""
    login = {"username": who, "password": password or way_in.passwords[who]}
    context = browser.new_context(
        http_credentials=login,  # type: ignore[arg-type]
        viewport={"width": 1400, "height": 1000},
    )
    page = context.new_page()
    visitor = Visitor(page)
    page.on("console", visitor.hear)
    page.on("pageerror", lambda error: visitor.said.append(str(error)))
    page.on("requestfinished", visitor.note)
    try:
        yield visitor
    finally:
        context.close()


@pytest.fixture
def way_in(platform: Platform) -> Door:
    """The sandbox's own scheduler."""
    return door(platform)


def told_of(name: str) -> dict[str, Any]:
    """Return what a worker tells of a task, beside how it fared."""
    return {
        "task_id": name,
        "worker": "Worker(browser)",
        "family": "etl.LoadTable",
        "module": "tasks.etl",
        "params": {"source": "shop", "table": "item", "run": name},
        "runnable": True,
        "tracking_url": "/log/2030-01-01/x",
    }


def failed_task(way_in: Door) -> str:
    """Have a worker tell of a task that failed, and return its name."""
    name = f"etl.LoadTable_shop_{next_run().replace('-', '_')}"
    way_in.call("add_task", "worker", **told_of(name), status=RUNNING)
    way_in.call("set_task_status_message", "worker", task_id=name, status_message="<b>7 rows</b> & more")
    way_in.call("add_task", "worker", **told_of(name), status=FAILED, expl="the source <b>is away</b>")
    return name


def test_the_operator_finds_what_failed_and_forgives_it(
    browser: Browser, way_in: Door, tmp_path: Path
) -> None:
    name = failed_task(way_in)
    with visiting(browser, way_in, "operator") as visitor:
        page = visitor.page
        page.goto(f"{way_in.url}/")
        assert page.url.startswith(f"{way_in.url}{PAGE}")
        page.locator("#taskTable_filter input").fill(name)
        found = page.locator("#taskTable tbody tr", has_text=name)
        expect(found).to_contain_text("FAILED")
        found.locator(".showError").click()
        expect(page.locator("#errorModal pre").first).to_have_text("the source <b>is away</b>")
        page.screenshot(path=str(tmp_path / "error.png"))
        page.locator("#errorModal .modal-footer button").click()
        expect(page.locator("#errorModal")).to_be_hidden()
        found.locator(".statusMessage").click()
        expect(page.locator("#statusMessageModal pre")).to_have_text("<b>7 rows</b> & more")
        page.locator("#statusMessageModal .modal-footer button").click()
        expect(page.locator("#statusMessageModal")).to_be_hidden()
        assert (found.locator("a[title='Track Progress']").get_attribute("href")) == "/log/2030-01-01/x"
        assert way_in.tasks()[name]["status"] == FAILED
        found.locator(".forgiveFailures").click()
        wait_until(lambda: way_in.tasks()[name]["status"] == PENDING, "the failure is forgiven")
        # The other pages, and both graphs: nothing of them is kept back by what the browser was told.
        for fragment, there in (
            (f"#tab=graph&taskId={name}", "#graphPlaceholder svg a"),
            (f"#tab=graph&taskId={name}&visType=d3", "#mysvg .node"),
            ("#tab=workers", "#workerList .box"),
            ("#tab=resources", "#resourceList"),
        ):
            page.goto(f"{way_in.url}{PAGE}{fragment}")
            page.reload()
            expect(page.locator(there).first).to_be_attached()
        page.goto(f"{way_in.url}/history")
        expect(page.locator("h2")).to_have_text("Luigi Task History")
        # Luigi's pages would have fonts and scripts from elsewhere.
        assert {url for url in visitor.answered if not url.startswith(way_in.url)} == set()
        assert visitor.said == []


def test_a_failure_is_red_named_and_its_error_one_click_away(
    browser: Browser, way_in: Door, tmp_path: Path
) -> None:
    """The graph is where an alert's link leads; the list shows the newest failure first."""
    old, new = failed_task(way_in), failed_task(way_in)
    with visiting(browser, way_in, "operator") as visitor:
        page = visitor.page
        page.goto(f"{way_in.url}{PAGE}")
        expect(page.locator("#taskTable tbody tr").first).to_contain_text(new)
        rows = page.locator("#taskTable tbody tr").all_inner_texts()
        places = [next(place for place, row in enumerate(rows) if name in row) for name in (new, old)]
        assert places == sorted(places)
        way_in.call("add_task", "worker", **told_of(new), status=FAILED, expl="the source is away")
        assert way_in.tasks()[new]["status"] == DISABLED
        page.goto("about:blank")
        page.goto(f"{way_in.url}{PAGE}#tab=graph&taskId={new}&hideDone=1")
        box = page.locator("#graphPlaceholder svg g", has=page.locator("a"))
        expect(box.locator("text")).to_have_text("LoadTable shop.item")
        expect(box.locator("circle")).to_have_attribute("fill", "#AA0000")
        page.screenshot(path=str(tmp_path / "graph.png"))
        box.locator("a").click()
        expect(page.locator("#errorModal pre").first).to_contain_text("the source is away")
        assert visitor.said == []


def test_the_button_runs_what_failed(browser: Browser, shop: Night, tmp_path: Path) -> None:
    """From the failed step and its log to the whole night done, by the mouse alone."""
    run, reader = next_run(), shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON purchase FROM {reader}")
    with served(shop.platform, tmp_path) as scheduler:
        crew = Crew(shop, scheduler, {"retry_delay": "1"})
        try:
            there = scheduler.start()
            crew.start("worker")
            assert crew.start("run", "etl", "--run", run).wait(120) == 3, crew.logs()
            with visiting(browser, there, "operator") as visitor:
                page = visitor.page
                page.goto(f"{there.url}{PAGE}#statuses=%5B%22DISABLED%22%5D")
                failed = page.locator("#taskTable tbody tr", has_text="etl.ExtractTable")
                expect(failed).to_contain_text("DISABLED")
                failed.locator(".showError").click()
                expect(page.locator("#errorModal pre").first).to_contain_text("may not read")
                expect(page.locator("#errorModal .modal-dialog")).to_have_css(
                    "transform", "matrix(1, 0, 0, 1, 0, 0)"
                )
                page.screenshot(path=str(tmp_path / "failed.png"))
                page.locator("#errorModal .modal-footer button").click()
                expect(page.locator("#errorModal")).to_be_hidden()
                with page.expect_popup() as log:
                    failed.locator("a[title='Track Progress']").click()
                expect(log.value.locator("body")).to_contain_text("may not read")
                log.value.screenshot(path=str(tmp_path / "log.png"))

                shop.ask("shop", f"GRANT SELECT ON purchase TO {reader}")
                failed.locator(".re-enable-button").click()
                # The page would go on showing what is disabled alone.
                page.goto("about:blank")
                page.goto(f"{there.url}{PAGE}#search__search=LoadWarehouse")
                root = page.locator("#taskTable tbody tr", has_text="LoadWarehouse")

                def done() -> bool:
                    page.reload()
                    page.wait_for_load_state("networkidle")
                    return root.count() == 1 and "DONE" in root.inner_text()

                wait_until(done, "the visualizer shows the night as done", 120)
                page.screenshot(path=str(tmp_path / "done.png"))
            assert shop.differing("shop") == []
        finally:
            crew.close()


def test_a_reader_looks_and_the_buttons_do_nothing(browser: Browser, way_in: Door) -> None:
    name = failed_task(way_in)
    with visiting(browser, way_in, "reader") as visitor:
        page = visitor.page
        page.goto(f"{way_in.url}{PAGE}")
        page.locator("#taskTable_filter input").fill(name)
        found = page.locator("#taskTable tbody tr", has_text=name)
        expect(found).to_contain_text("FAILED")
        with page.expect_response("**/api/forgive_failures*") as answer:
            found.locator(".forgiveFailures").click()
        assert answer.value.status == 403
    assert way_in.tasks()[name]["status"] == FAILED


def test_without_the_right_password_there_is_no_page(browser: Browser, way_in: Door) -> None:
    with visiting(browser, way_in, "operator", "a wrong one") as visitor:
        answer = visitor.page.goto(f"{way_in.url}{PAGE}")
        assert answer
        assert answer.status == 401
        assert "Luigi" not in visitor.page.content()


def test_a_page_of_another_site_presses_no_button(browser: Browser, way_in: Door, tmp_path: Path) -> None:
    """The operator is logged in, and opens a page somewhere else that would have the scheduler pause."""
    pause = f"{way_in.url}/api/pause"
    (tmp_path / "index.html").write_text(
        f'<title>elsewhere</title><img src="{pause}"><a href="{pause}">a prize</a>'
        f'<form method="post" action="{pause}"><button>another</button></form>'
    )
    with (
        elsewhere(tmp_path) as address,
        visiting(browser, way_in, "operator") as visitor,
    ):
        page = visitor.page
        page.goto(f"{way_in.url}{PAGE}")
        with page.expect_event("requestfailed", lambda request: request.url == pause) as picture:
            page.goto(address)
        # Not even that there is a login is told.
        assert picture.value.failure == "net::ERR_BLOCKED_BY_RESPONSE.NotSameOrigin"
        for button in ("a", "button"):
            page.goto(address)
            with page.expect_navigation() as answer:
                page.locator(button).click()
            assert answer.value.status == 403
            assert "another site" in page.content()
    assert way_in.call("is_paused") == {"paused": False}


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[str]:
    """Serve a folder as another site, and yield its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
