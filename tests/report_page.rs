//! What a browser does with the pages of a run: zoom, crosshair, switches, printing.

#[path = "support/program.rs"]
mod program;

use std::path::Path;
use std::process::Command;

use program::Bench;

/// Drags over the first chart over time, moves, switches a line off, and prints; what comes of it is written
/// into the page.
const HANDS: &str = r#"
<script>
  const said = {};
  const figure = document.querySelector('#response');
  const field = figure.querySelector('.catch');
  const plots = () => [...document.querySelectorAll('figure[data-along="seconds"] .plot')].map((plot) => plot.getAttribute('viewBox'));
  const box = field.getBoundingClientRect();
  const at = (share) => ({ clientX: box.left + share * box.width, clientY: box.top + box.height / 2,
    pointerId: 1, pointerType: 'mouse', bubbles: true });
  const all = plots();
  said.charts = all.length;
  field.dispatchEvent(new PointerEvent('pointermove', at(0.5)));
  said.crosshair = figure.querySelector('output').textContent;
  field.dispatchEvent(new PointerEvent('pointerdown', at(0.25)));
  field.dispatchEvent(new PointerEvent('pointermove', at(0.5)));
  said.picked = Number(figure.querySelector('.picked').getAttribute('width')) > 0;
  field.dispatchEvent(new PointerEvent('pointerup', at(0.75)));
  const width = (view) => Number(view.split(' ')[2]);
  said.zoomed = plots().map((view, index) => (width(view) / width(all[index])).toFixed(2));
  field.dispatchEvent(new MouseEvent('dblclick', at(0.5)));
  said.back = plots().every((view, index) => view === all[index]);
  // A click is no zoom.
  field.dispatchEvent(new PointerEvent('pointerdown', at(0.5)));
  field.dispatchEvent(new PointerEvent('pointerup', at(0.5)));
  said.clicked = plots().every((view, index) => view === all[index]);
  const button = figure.querySelector('.legend button');
  button.click();
  const line = figure.querySelector(`g[data-group="${button.dataset.line}"]`);
  said.off = line.style.display;
  button.click();
  said.on = line.style.display;
  const folded = () => document.querySelectorAll('details:not([open])').length;
  const before = folded();
  window.dispatchEvent(new Event('beforeprint'));
  said.printed = folded();
  window.dispatchEvent(new Event('afterprint'));
  said.folded = before > 5 && folded() === before;
  document.body.dataset.said = JSON.stringify(said);
</script>
"#;

fn dom(bench: &Bench, page: &Path) -> (String, String) {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.arg(format!("--user-data-dir={}", bench.path().join("profile").display()));
    command.args(["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]);
    command.arg(format!("file://{}", page.display()));
    let output = command.output().expect("the package chromium");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn dragging_zooms_all_charts_over_time_and_printing_unfolds_every_table() {
    let bench = Bench::new();
    let yaml = "name: page\nrecords: { range: 1..10000, source: template }\nmapping: { into: none }\n\
                load: { stages: [ { hold: 100, duration: 4s } ] }\n";
    let ended = bench.run(yaml, &[]);
    ended.assert_code(0);
    let page = ended.file("report.html").replace("</body>", &format!("{HANDS}</body>"));
    let (dom, console) = dom(&bench, &bench.file("page.html", &page));
    let said = dom.split_once("data-said=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (said, _) = said.unwrap_or_else(|| panic!("the script of the test ended early: {console}"));
    let said: serde_json::Value = serde_json::from_str(&said.replace("&quot;", "\"")).expect("JSON");
    let charts = said["charts"].as_u64().expect("a number") as usize;
    assert!(charts >= 5, "{said}");
    assert!(
        said["crosshair"].as_str().is_some_and(|text| text.contains("p50 ") && text.contains("max ")),
        "{said}"
    );
    // Half of the chart was dragged over, and all charts over time show that half.
    assert_eq!(said["zoomed"], serde_json::json!(vec!["0.50"; charts]), "{said}");
    assert_eq!(
        (&said["picked"], &said["back"], &said["clicked"]),
        (&true.into(), &true.into(), &true.into())
    );
    assert_eq!((&said["off"], &said["on"]), (&"none".into(), &"".into()));
    assert_eq!((&said["printed"], &said["folded"]), (&0.into(), &true.into()));
}
