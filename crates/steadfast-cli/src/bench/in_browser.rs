//! The page in a real browser, where one is installed.

mod browser;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;

use super::kind::Kind;
use super::ledger::Ledger;
use super::page;
use super::report::tests::{ledger, report};
use browser::Browser;

/// Narrow and wide, by day and by night.
const VIEWS: [(u32, &str); 4] = [(400, "light"), (400, "dark"), (1280, "light"), (1280, "dark")];

/// Words that are hard to read: text nodes whose colour is too near to the ground behind them, or that are too small. Pairs of
/// text and why.
const ILLEGIBLE: &str = r#"(() => {
    const parts = colour => colour.match(/[\d.]+/g).map(Number);
    const luminance = colour => {
        const [r, g, b] = parts(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (parts(colour)[3] !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const found = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const words = walker.currentNode.textContent.trim();
        const box = element.getBoundingClientRect();
        if (!words || element.tagName === "title" || box.width === 0) continue;
        seen += 1;
        const style = getComputedStyle(element);
        const colour = element.closest("svg") ? style.fill : style.color;
        const [one, other] = [luminance(colour), luminance(ground(element))].map(l => l + 0.05);
        const contrast = Math.max(one / other, other / one);
        if (contrast < 4.5) found.push([words, "contrast " + contrast.toFixed(2)]);
        // In an image what counts is the size in which it is shown.
        const svg = element.closest("svg");
        const shrunk = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        const size = parseFloat(style.fontSize) * shrunk;
        if (size < 12) found.push([words, "size " + size]);
    }
    return { seen, found };
})()"#;

/// Labels of a chart that are shown and overlap each other, or stick out of it.
const COLLIDING: &str = r#"(() => {
    const found = [];
    for (const svg of document.querySelectorAll("svg")) {
        const frame = svg.getBoundingClientRect();
        if (frame.width === 0) continue;
        const texts = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
        texts.forEach(([words, box], number) => {
            if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) found.push([words, "out"]);
            for (const [others, other] of texts.slice(number + 1)) {
                if (box.left < other.right && other.left < box.right && box.top + 3 < other.bottom && other.top + 3 < box.bottom) {
                    found.push([words, others]);
                }
            }
        });
    }
    return found;
})()"#;

/// Pages as they come, and as they may come: figures that span all decades, figures that are all the same, and long names from
/// outside.
fn pages() -> Vec<(&'static str, String)> {
    let of = |time: &dyn Fn(u32) -> Duration| {
        let mut ledger = Ledger::default();
        ledger.count_from_now_on();
        for (number, kind) in (0..).zip(Kind::all()) {
            ledger.add(kind, time(number));
            ledger.add(kind, time(number) * 3);
        }
        let mut report = report(&ledger);
        report.place.folder = "/long/".repeat(40);
        report.place.durable = Some(false);
        report.notes.push("A note.".to_owned());
        page::render(&report)
    };
    let mut missing = Ledger::default();
    missing.refuse(Kind::RandomCold, "not here, and that for a reason that takes a line or two to be told");
    vec![
        ("usual", page::render(&report(&ledger()))),
        ("decades", of(&|number| Duration::from_nanos(10_u64.pow(number % 9)))),
        ("turned", of(&|number| Duration::from_nanos(1000 * 10_u64.pow(8 - number % 9)))),
        ("same", of(&|_| Duration::from_micros(250))),
        ("missing", page::render(&report(&missing))),
    ]
}

#[test]
fn the_page_loads_nothing_and_is_legible_in_a_browser() {
    let Some(program) = browser::find() else {
        return eprintln!("not tested: no Chromium is installed here (Debian: apt-get install chromium)");
    };
    let (dir, profile) = (tempdir().unwrap(), tempdir().unwrap());
    let mut browser = Browser::start(&program, profile.path());
    for (name, text) in pages() {
        let page = dir.path().join(name).with_extension("html");
        fs::write(&page, &text).unwrap();
        let charts = text.matches("<svg").count() / 2;
        for (width, scheme) in VIEWS {
            let view = format!("{name}, {width}, {scheme}");
            browser.open(&page, width, scheme);
            assert_eq!(
                browser.requests,
                [format!("file://{}", page.display())],
                "nothing but the page itself"
            );
            let fits =
                browser.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
            assert_eq!(fits, json!(true), "{view}: it scrolls aside");
            let shown = "[...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0).length";
            assert_eq!(browser.ask(shown), json!(charts), "{view}: each chart is shown once");
            let legible = browser.ask(ILLEGIBLE);
            assert!(legible["seen"].as_u64().is_some_and(|seen| seen > 60), "{view}: {legible}");
            assert_eq!(legible["found"], json!([]), "{view}");
            assert_eq!(browser.ask(COLLIDING), json!([]), "{view}");
            let ground = browser.ask("getComputedStyle(document.body).backgroundColor");
            assert_eq!(ground == json!("rgb(255, 255, 255)"), scheme == "light", "{view}: {ground}");
            // For whoever wants to look.
            if let Some(pictures) = std::env::var_os("STEADFAST_PICTURES") {
                let path = Path::new(&pictures).join(format!("report-{name}-{width}-{scheme}.png"));
                fs::write(path, browser.picture()).unwrap();
            }
        }
    }
}

/// What the test above rests on: a page that loads something is noticed, and so is one that cannot be read.
#[test]
fn a_page_that_loads_something_or_is_illegible_is_noticed() {
    let Some(program) = browser::find() else {
        return eprintln!("not tested: no Chromium is installed here (Debian: apt-get install chromium)");
    };
    let (dir, profile) = (tempdir().unwrap(), tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut asked, _) = listener.accept().unwrap();
        let mut bytes = [0; 16];
        asked.read(&mut bytes).unwrap()
    });
    let page = dir.path().join("planted.html");
    fs::write(
        &page,
        format!(
            "<!DOCTYPE html><body style='background:#fff'><p style='color:#999'>pale</p><p style='font-size:9px'>small</p>\
             <div style='width:500px'>wide</div><svg viewBox='0 0 99 99'><text y='9'>one</text><text y='9'>two</text></svg>\
             <img src='{url}'/></body>"
        ),
    )
    .unwrap();
    let mut browser = Browser::start(&program, profile.path());
    browser.open(&page, 400, "light");
    assert!(browser.requests.contains(&url), "{:?}", browser.requests);
    assert!(server.join().unwrap() > 0, "and it was really asked for");
    let found = browser.ask(ILLEGIBLE)["found"].to_string();
    assert!(found.contains("pale") && found.contains("small"), "{found}");
    assert!(browser.ask(COLLIDING).to_string().contains("two"));
    assert_eq!(
        browser.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth"),
        json!(false)
    );
}
