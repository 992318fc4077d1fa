//! The charts: plain SVG that takes its colours from the page around it.
//!
//! Each is drawn for a wide and for a narrow page, in the size in which it is shown, so that its letters have the size of the
//! page's own.

use std::fmt::Write;

use super::scale::Scale;
use super::words::escaped;
use crate::duration;

/// Widths of the two drawings.
pub(super) const WIDTHS: [(&str, f64); 2] = [("wide", 880.0), ("narrow", 340.0)];

/// How a series looks: never by its colour alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Circle,
    Square,
    Triangle,
}

/// Times over numbers of pages.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) look: Look,
    /// Pages, median, 99th percentile.
    pub(super) points: Vec<(f64, f64, f64)>,
}

/// A figure on a line of its own.
pub(super) struct Dot {
    pub(super) label: String,
    /// The figure in words.
    pub(super) value: String,
    pub(super) median: f64,
    /// What one of a hundred exceeds.
    pub(super) far: f64,
}

/// What an axis counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// Microseconds.
    Time,
    /// MiB a second.
    Rate,
}

impl Unit {
    fn tick(self, figure: f64) -> String {
        match self {
            // A power of ten, in the unit in which it is 1, 10 or 100.
            Unit::Time => duration::show(figure).replace(".00", "").replace(".0", ""),
            Unit::Rate if figure < 1.0 => figure.to_string(),
            Unit::Rate if figure < 999.5 => format!("{figure:.0}"),
            Unit::Rate if figure < 999_999.5 => format!("{:.0} 000", figure / 1e3),
            Unit::Rate => format!("{:.0}M", figure / 1e6),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Unit::Time => "time, logarithmic",
            Unit::Rate => "MiB a second, logarithmic",
        }
    }
}

const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;
const LINE: f64 = 22.0;

/// A line for each series, and one for the limit.
pub(super) fn lines(title: &str, width: f64, series: &[Series], limit: Option<f64>) -> String {
    let left = 64.0;
    let legend = TOP + LINE * (series.len() + usize::from(limit.is_some())) as f64;
    let (top, bottom) = (legend + 40.0, legend + 340.0);
    let figures =
        series.iter().flat_map(|one| one.points.iter().flat_map(|point| [point.1, point.2])).chain(limit);
    let y = Scale::over(figures, bottom, top);
    let pages: Vec<f64> = match series.iter().max_by_key(|one| one.points.len()) {
        Some(longest) => longest.points.iter().map(|point| point.0).collect(),
        None => Vec::new(),
    };
    let most = pages.iter().copied().fold(2.0, f64::max);
    let inset = 30.0;
    let x = |pages: f64| {
        left + inset + pages.max(1.0).log2() / most.log2() * (width - RIGHT - left - 2.0 * inset)
    };

    let mut said: Vec<String> =
        limit.map(|limit| format!("the limit {}", duration::show(limit))).into_iter().collect();
    for one in series {
        let points = one.points.iter().map(|(pages, p50, _)| format!("{pages:.0}: {}", duration::show(*p50)));
        said.push(format!("{}, by pages, {}", one.name, points.collect::<Vec<_>>().join(", ")));
    }
    let mut svg = begin(title, &said, width, bottom + 56.0);
    for at in y.between() {
        rule(&mut svg, "fine", (left, y.place(at)), (width - RIGHT, y.place(at)));
    }
    for at in y.decades() {
        rule(&mut svg, "grid", (left, y.place(at)), (width - RIGHT, y.place(at)));
        text(&mut svg, "", "end", left - 8.0, y.place(at) + 5.0, &Unit::Time.tick(at));
    }
    text(&mut svg, "quiet", "start", 0.0, top - 14.0, Unit::Time.title());
    for at in pages {
        rule(&mut svg, "grid", (x(at), bottom), (x(at), bottom + 6.0));
        text(&mut svg, "", "middle", x(at), bottom + 24.0, &format!("{at:.0}"));
    }
    text(
        &mut svg,
        "quiet",
        "middle",
        (left + width - RIGHT) / 2.0,
        bottom + 46.0,
        "pages changed at once, logarithmic",
    );

    let mut key = TOP + 8.0;
    if let Some(limit) = limit {
        rule(&mut svg, "limit", (left, y.place(limit)), (width - RIGHT, y.place(limit)));
        rule(&mut svg, "limit", (0.0, key), (36.0, key));
        text(&mut svg, "", "start", 46.0, key + 5.0, &format!("the limit: {}", duration::show(limit)));
        key += LINE;
    }
    for (number, one) in series.iter().enumerate() {
        // Beside each other: whiskers would hide whiskers.
        let aside = 9.0 * (number as f64 - (series.len() as f64 - 1.0) / 2.0);
        let at: Vec<String> = one
            .points
            .iter()
            .map(|(pages, p50, _)| format!("{:.1},{:.1}", x(*pages) + aside, y.place(*p50)))
            .collect();
        let _ = writeln!(svg, r#"<polyline class="{}" points="{}"/>"#, class(one.look), at.join(" "));
        for (pages, p50, p99) in &one.points {
            let at = x(*pages) + aside;
            whisker(&mut svg, one.look, (at, y.place(*p50)), (at, y.place(*p99)));
            mark(&mut svg, one.look, at, y.place(*p50));
        }
        let _ = writeln!(svg, r#"<polyline class="{}" points="0,{key} 36,{key}"/>"#, class(one.look));
        mark(&mut svg, one.look, 18.0, key);
        text(&mut svg, "", "start", 46.0, key + 5.0, one.name);
        key += LINE;
    }
    end(svg)
}

/// A line for each figure: a dot at the median, a whisker to what one of a hundred exceeds.
pub(super) fn dots(title: &str, width: f64, dots: &[Dot], unit: Unit) -> String {
    const ROW: f64 = 54.0;
    /// Half of the longest label of a tick hangs over each end, and none touches its neighbour.
    const MARGIN: f64 = 38.0;
    const LABEL: f64 = 64.0;
    let bottom = TOP + ROW * dots.len() as f64 + 4.0;
    let x = Scale::over(dots.iter().flat_map(|dot| [dot.median, dot.far]), MARGIN, width - MARGIN);
    let said: Vec<String> = dots.iter().map(|dot| format!("{} {}", dot.label, dot.value)).collect();
    let mut svg = begin(title, &said, width, bottom + 52.0);
    // Where there are many decades, not each has a label.
    let labels_max = ((width - 2.0 * MARGIN) / LABEL) as usize + 1;
    let step = x.decades().count().div_ceil(labels_max);
    for (number, at) in x.decades().enumerate() {
        rule(&mut svg, "grid", (x.place(at), TOP), (x.place(at), bottom));
        if number % step == 0 {
            text(&mut svg, "", "middle", x.place(at), bottom + 20.0, &unit.tick(at));
        }
    }
    text(&mut svg, "quiet", "middle", width / 2.0, bottom + 44.0, unit.title());
    for (number, dot) in dots.iter().enumerate() {
        let row = TOP + ROW * number as f64;
        let track = row + 34.0;
        let words = format!("{}: {}", dot.label, dot.value);
        // The grid must not strike through the words.
        let _ = writeln!(
            svg,
            r#"<rect class="under" x="0" y="{:.1}" width="{:.1}" height="20"/>"#,
            row + 3.0,
            words.chars().count() as f64 * 8.0
        );
        text(&mut svg, "", "start", 0.0, row + 18.0, &words);
        rule(&mut svg, "fine", (MARGIN, track), (width - MARGIN, track));
        whisker(&mut svg, Look::Circle, (x.place(dot.median), track), (x.place(dot.far), track));
        mark(&mut svg, Look::Circle, x.place(dot.median), track);
    }
    end(svg)
}

fn class(look: Look) -> &'static str {
    match look {
        Look::Circle => "one",
        Look::Square => "two",
        Look::Triangle => "three",
    }
}

/// An image to whoever cannot see it: title and figures are its name.
fn begin(title: &str, said: &[String], width: f64, height: f64) -> String {
    let name = escaped(&format!("{title}: {}", said.join("; ")));
    format!(
        "<svg role=\"img\" aria-label=\"{name}\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" height=\"{height:.0}\">\n\
         <title>{}</title>\n",
        escaped(title)
    )
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

// Writing to a string cannot fail.

fn rule(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn whisker(svg: &mut String, look: Look, from: (f64, f64), to: (f64, f64)) {
    let class = class(look);
    rule(svg, &format!("{class} whisker"), from, to);
    // Its end stands across.
    let (across, along) = if from.0 == to.0 { (4.0, 0.0) } else { (0.0, 4.0) };
    rule(svg, &format!("{class} whisker"), (to.0 - across, to.1 - along), (to.0 + across, to.1 + along));
}

fn mark(svg: &mut String, look: Look, x: f64, y: f64) {
    let class = class(look);
    let _ = match look {
        Look::Circle => writeln!(svg, r#"<circle class="{class} mark" cx="{x:.1}" cy="{y:.1}" r="5"/>"#),
        Look::Square => writeln!(
            svg,
            r#"<rect class="{class} mark" x="{:.1}" y="{:.1}" width="9" height="9"/>"#,
            x - 4.5,
            y - 4.5
        ),
        Look::Triangle => writeln!(
            svg,
            r#"<polygon class="{class} mark" points="{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}"/>"#,
            x,
            y - 6.0,
            x + 6.0,
            y + 5.0,
            x - 6.0,
            y + 5.0
        ),
    };
}

fn text(svg: &mut String, class: &str, anchor: &str, x: f64, y: f64, words: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(
        svg,
        r#"<text{class} x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escaped(words)
    );
}

#[cfg(test)]
mod tests {
    use super::Unit;

    #[test]
    fn ticks_are_round_and_have_units() {
        let ticks: Vec<String> = [0.1, 1.0, 10.0, 1e3, 1e5, 1e6].map(|figure| Unit::Time.tick(figure)).into();
        assert_eq!(ticks, ["100 ns", "1 µs", "10 µs", "1 ms", "100 ms", "1 s"]);
        let ticks: Vec<String> =
            [0.01, 1.0, 100.0, 1e3, 1e5, 1e7].map(|figure| Unit::Rate.tick(figure)).into();
        assert_eq!(ticks, ["0.01", "1", "100", "1 000", "100 000", "10M"]);
    }
}
