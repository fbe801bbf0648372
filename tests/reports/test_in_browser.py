"""Reports of FRA, PCL and LAFS in headless Chromium: nothing leaves the page, nothing fails, faces can be looked at."""

import shutil

import pytest
import tiny_runs

from facejax import report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: pip install -e '.[browser]'")
# A pixel of the map at which a face lies, and its position there.
PLACE_OF_A_FACE = """(map) => {
  const view = Object.values(Bokeh.index.roots).find(view => document.querySelector(map).contains(view.el))
  const { x, y } = view.model.renderers[0].data_source.data
  const { left, top } = view.el.getBoundingClientRect()
  const at = face => [left + view.frame.x_scale.compute(x[face]), top + view.frame.y_scale.compute(y[face])]
  const apart = face => Math.min(...Array.from(x, (_, other) => other === face ? 1e9
    : Math.hypot(at(face)[0] - at(other)[0], at(face)[1] - at(other)[1])))
  const face = Array.from(x, (_, face) => face).sort((one, other) => apart(other) - apart(one))[0]
  return [...at(face), face]
}"""
COLORS = "() => Array.from(Object.values(Bokeh.index.roots)[0].model.renderers[0].data_source.data.color)"
TOOLTIP = ".face-tooltip"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium: playwright's own, or the system's."""
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as started:
        try:
            launched = started.chromium.launch(executable_path=installed)
        except playwright.Error as error:
            pytest.skip(f"no browser: playwright install chromium, or apt-get install chromium ({error.message[:60]})")
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory, quick_compilation, short_networks):
    """The report of three runs."""
    folder = tmp_path_factory.mktemp("browser")
    tiny_runs.write_faces(folder / "faces")
    for method in tiny_runs.ENCODERS:
        tiny_runs.write_run(folder / method, method, folder / "faces")
    return report.write([folder / method for method in tiny_runs.ENCODERS], folder / "report.html")


@pytest.fixture
def opened(browser, path):
    """Function that opens the report; what the page asks for and complains of is in `opened.told`."""
    contexts = []

    def open_page(width, scheme, **settings):
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: None if request.url.startswith("data:") else told.append(request.url))
        page.on("console", lambda line: told.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]")
        return page

    told = open_page.told = []
    yield open_page
    for context in contexts:
        context.close()


def test_page_at_a_desk(opened, path):
    page = opened(1280, "light")
    assert page.locator("canvas").count() >= 5  # three maps, two curves
    for position in range(3):
        place = f".map[data-map='{position}']"
        page.locator(place).scroll_into_view_if_needed()
        x, y, face = page.evaluate(PLACE_OF_A_FACE, place)
        page.mouse.move(x - 40, y)
        page.mouse.move(x, y)
        shown = page.locator(TOOLTIP).last
        shown.wait_for()
        assert shown.locator("img").first.get_attribute("src").startswith("data:image/jpeg;base64,")
        assert f"identity: {face // 3}" in shown.inner_text()
        page.mouse.move(5, 5)
    by_identity = page.evaluate(COLORS)
    assert len(set(by_identity)) == 4
    page.select_option("#label", "expression")
    assert page.evaluate(COLORS) != by_identity
    assert tiny_runs.EVIL in page.locator("#legend").inner_text()
    page.select_option("#label", "pose yaw")
    assert page.locator("#legend .ramp").is_visible()
    page.select_option(".kind[data-map='1']", "pose")
    assert page.evaluate("window.hacked") is None
    assert opened.told == [path.as_uri()]  # the page itself, and nothing else


def test_page_on_a_phone(opened, path):
    page = opened(390, "dark", has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, background.removeprefix("rgb(").rstrip(")").split(","))) < 100
    place = ".map[data-map='0']"
    page.locator(place).scroll_into_view_if_needed()
    x, y, face = page.evaluate(PLACE_OF_A_FACE, place)
    page.touchscreen.tap(x, y)
    touched = page.locator(".touched[data-map='0']")
    touched.locator("img").wait_for()
    assert f"identity: {face // 3}" in touched.inner_text()
    assert opened.told == [path.as_uri()]
