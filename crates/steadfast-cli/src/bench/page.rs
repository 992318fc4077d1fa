//! The report for a browser: one file, without scripts, and without anything that is loaded from elsewhere.
//!
//! It is written as XML that is HTML as well, so that any reader of either can take it apart.

use std::fmt::Write;

use super::chart::{self, Dot, Look, Series, Unit, WIDTHS};
use super::kind::{Group, Kind, PAGES};
use super::report::{self, Report, Row};
use super::words::{command_line, escaped};
use crate::duration;
use crate::output::counted;

const STYLE: &str = include_str!("page.css");
const MIB: f64 = 1_048_576.0;

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    // Nothing may be loaded, and a browser is told so: what slips in from outside is dead as well.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>What mapped files cost in {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escaped(&report.place.folder)
    );
    head(&mut page, report);
    for (group, heading, beside, about) in [
        (
            Group::Durable,
            "Changes made durable",
            "× limit",
            "How long a program waits until a change would survive a power cut, and how many times the limit that is (median by median).",
        ),
        (
            Group::Open,
            "Opening",
            "× limit",
            "How long a program waits for an atomic map; closing is not counted.",
        ),
        (
            Group::Read,
            "Reading",
            "rate",
            "Cold: no page of the file was in memory, which was checked before each pass. Warm: every page was.",
        ),
    ] {
        let _ = writeln!(page, "<section>\n<h2>{heading}</h2>\n<p>{about}</p>");
        figure(&mut page, report, group);
        table(&mut page, report, group, beside);
        page.push_str("</section>\n");
    }
    foot(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let place = &report.place;
    let _ = write!(
        page,
        "<header>\n<h1>What mapped files cost here</h1>\n<p class=\"quiet\"><code>{}</code>, {}, {}</p>\n</header>\n",
        escaped(&place.folder),
        escaped(&place.file_system),
        escaped(&report.date)
    );
    for warning in report.warnings() {
        let _ = writeln!(page, "<p class=\"warning\" role=\"note\">{}</p>", escaped(&warning));
    }
    page.push_str("<div class=\"lead\">\n");
    for sentence in report.summary() {
        let _ = writeln!(page, "<p>{}</p>", escaped(&sentence));
    }
    page.push_str("</div>\n");
}

/// The chart of a group, if there is anything to draw.
fn figure(page: &mut String, report: &Report, group: Group) {
    let caption = match group {
        Group::Durable => {
            "Medians; a whisker ends at the 99th percentile. The dotted line is the limit: the faster of two \
             ways to append 4 KiB and have them durable, measured in the same rounds."
        }
        Group::Open => "Medians, beside the limit; a whisker ends at the 99th percentile.",
        Group::Read => {
            "The rate that the median makes, in MiB of 1,048,576 bytes; a whisker ends at the rate of the 99th percentile, the slow end."
        }
    };
    let mut drawn = String::new();
    for (class, width) in WIDTHS {
        let svg = match group {
            Group::Durable => durable(report, width),
            Group::Open => opened(report, width),
            Group::Read => read(report, width),
        };
        if let Some(svg) = svg {
            let _ = writeln!(drawn, "<div class=\"{class}\">\n{svg}</div>");
        }
    }
    if !drawn.is_empty() {
        let _ = writeln!(page, "<figure>\n{drawn}<figcaption>{caption}</figcaption>\n</figure>");
    }
}

fn durable(report: &Report, width: f64) -> Option<String> {
    let series = |name, look, of: fn(u64) -> Kind| {
        let points = PAGES.into_iter().filter_map(|pages| {
            let row = report.row(of(pages))?;
            Some((pages as f64, row.p50_us?, row.p99_us?))
        });
        Series { name, look, points: points.collect() }
    };
    let all: Vec<Series> = [
        series("msync, which a crash can tear", Look::Triangle, Kind::Sync),
        series("commit of plain stores", Look::Square, Kind::Plain),
        series("commit of declared edits", Look::Circle, Kind::Declared),
    ]
    .into_iter()
    .filter(|series| !series.points.is_empty())
    .collect();
    (!all.is_empty()).then(|| chart::lines("Time to make changes durable", width, &all, report.limit_us))
}

fn opened(report: &Report, width: f64) -> Option<String> {
    let dot = |row: &Row, label: String| {
        let (median, far) = (row.p50_us?, row.p99_us?);
        Some(Dot { label, value: duration::show(median), median, far })
    };
    let rows = report.in_group(Group::Open).filter_map(|row| dot(row, row.kind.label(report.file_bytes)));
    let mut dots: Vec<Dot> = rows.collect();
    if dots.is_empty() {
        return None;
    }
    let limit = [Kind::Append, Kind::AppendDirect].into_iter().filter_map(|kind| report.row(kind));
    let limit =
        limit.filter(|row| row.p50_us == report.limit_us).find_map(|row| dot(row, "the limit".to_owned()));
    dots.extend(limit);
    Some(chart::dots("Time to open an atomic map", width, &dots, Unit::Time))
}

fn read(report: &Report, width: f64) -> Option<String> {
    let dots: Vec<Dot> = report
        .in_group(Group::Read)
        .filter_map(|row| {
            let (median, far) = (row.p50_bytes_per_second?, row.p99_bytes_per_second?);
            let label = row.kind.label(report.file_bytes);
            Some(Dot { label, value: report::rate(median), median: median / MIB, far: far / MIB })
        })
        .collect();
    (!dots.is_empty()).then(|| chart::dots("Rate of reads", width, &dots, Unit::Rate))
}

fn table(page: &mut String, report: &Report, group: Group, beside: &str) {
    let _ = write!(
        page,
        "<table>\n<thead><tr><th scope=\"col\">what</th><th scope=\"col\" class=\"number\">median</th>\
         <th scope=\"col\" class=\"number\">99th</th><th scope=\"col\" class=\"number\">{beside}</th>\
         <th scope=\"col\" class=\"number samples\">samples</th></tr></thead>\n"
    );
    for row in report.in_group(group) {
        let label = escaped(&row.kind.label(report.file_bytes));
        let _ = write!(page, "<tbody>\n<tr id=\"{}\"><th scope=\"row\">{label}</th>", anchor(row));
        match &row.not_measured {
            Some(why) => {
                let _ = write!(page, "<td colspan=\"4\">not measured: {}</td>", escaped(why));
            }
            None => {
                let figures = row.figures();
                for (class, cell) in [
                    ("number", figures.p50),
                    ("number", figures.p99),
                    ("number", figures.beside),
                    ("number samples", figures.samples),
                ] {
                    let _ = write!(page, "<td class=\"{class}\">{}</td>", escaped(&cell));
                }
            }
        }
        // A narrow page has no room for their column.
        let samples = match row.samples {
            0 => String::new(),
            count => format!("<span class=\"few\">{}. </span>", counted(count as u64, "sample")),
        };
        let sentence = format!("{samples}{}", escaped(&row.kind.sentence()));
        let _ = write!(page, "</tr>\n<tr class=\"about\"><td colspan=\"5\">{sentence}</td></tr>\n</tbody>\n");
    }
    page.push_str("</table>\n");
}

fn anchor(row: &Row) -> String {
    match row.pages {
        Some(pages) => format!("{}-{pages}", row.id),
        None => row.id.to_owned(),
    }
}

fn foot(page: &mut String, report: &Report) {
    page.push_str("<section>\n<h2>Where and how</h2>\n");
    for note in &report.notes {
        let _ = writeln!(page, "<p>{}</p>", escaped(note));
    }
    page.push_str(
        "<p>Everything takes turns: in each round each row gets a burst, and the one that begins moves on, so whatever else the machine \
         did fell on all of them alike. The first round is thrown away. Between turns the file system is synced, outside the timing. \
         Figures move from machine to machine and from hour to hour; ratios move less.</p>\n<table class=\"facts\">\n<tbody>\n",
    );
    let command = command_line(&report.command);
    for (name, value) in report.facts() {
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escaped(&value));
    }
    let _ = write!(
        page,
        "<tr><th scope=\"row\">command</th><td><code>{}</code></td></tr>\n</tbody>\n</table>\n</section>\n",
        escaped(&command)
    );
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{ledger, report};
    use super::*;

    /// WCAG 2: contrast of two colours, from 1 to 21.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| {
            let part = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        (one / other).max(other / one)
    }

    #[test]
    fn every_colour_of_words_and_lines_stands_out_in_light_dark_and_print() {
        let palettes: Vec<&str> =
            STYLE.split(":root{").skip(1).map(|part| part.split('}').next().unwrap()).collect();
        assert_eq!(palettes.len(), 3);
        for palette in palettes {
            let colour = |name: &str| {
                let (_, after) = palette.split_once(&format!("--{name}:")).unwrap();
                after.get(..7).unwrap().to_owned()
            };
            for name in ["ink", "quiet", "one", "two", "three", "limit"] {
                let reached = contrast(&colour(name), &colour("ground"));
                assert!(reached >= 4.5, "{name} {} on {}: {reached:.2}", colour(name), colour("ground"));
            }
            assert!(contrast(&colour("warn"), &colour("warn-ground")) >= 4.5);
        }
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    }

    #[test]
    fn the_page_is_well_formed_and_loads_nothing_whatever_stands_in_paths() {
        let mut ledger = ledger();
        ledger.note("<note>");
        let mut report = report(&ledger);
        report.rows[3].not_measured = Some("</td><img src=\"x\">".to_owned());
        report.place.durable = Some(false);
        let page = render(&report);
        let document = roxmltree::Document::parse_with_options(
            &page,
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
        )
        .unwrap();
        let known = [
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "header",
            "h1",
            "h2",
            "p",
            "code",
            "span",
            "div",
            "section",
            "figure",
            "figcaption",
            "svg",
            "line",
            "polyline",
            "polygon",
            "circle",
            "rect",
            "text",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        ];
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            assert!(known.contains(&node.tag_name().name()), "{:?}", node.tag_name());
            for attribute in node.attributes() {
                assert!(!["src", "href", "style"].contains(&attribute.name()), "{attribute:?}");
                assert!(!attribute.name().starts_with("on"), "{attribute:?}");
            }
        }
        for part in ["http:", "https:", "url(", "src=\"", "<script", "<link", "@import", "\u{1b}", "\u{202e}"]
        {
            assert!(!page.contains(part), "{part:?}");
        }
        assert!(page.contains("/a &lt;script&gt;&amp;&quot;&#39;\\u{1b}[31m\\u{202e}"));
        let images: Vec<_> = document.descendants().filter(|node| node.has_tag_name("svg")).collect();
        assert_eq!(images.len(), 6, "three charts, each for two widths");
        for image in images {
            assert_eq!(image.attribute("role"), Some("img"));
            assert!(image.attribute("aria-label").is_some_and(|label| label.contains(": ")));
            assert!(image.first_element_child().is_some_and(|child| child.has_tag_name("title")));
        }
    }

    #[test]
    fn a_page_without_figures_has_no_charts_and_says_why() {
        let page = render(&report(&Default::default()));
        assert!(!page.contains("<svg"));
        assert!(page.contains("not measured: it was interrupted before"));
    }
}
