//! The charts: plain SVG on a white ground, so that they can be read on a dark page too.

use std::fmt::Write;

use super::figures::{Figures, proper};

const COLOURS: [&str; 18] = [
    "#999999", "#777777", "#bbbbbb", "#555555", "#d7191c", "#fd8d3c", "#e7298a", "#b8860b", "#1f78b4",
    "#33a02c", "#6a3d9a", "#a6cee3", "#b2df8a", "#cab2d6", "#0b7285", "#5f3dc4", "#2b8a3e", "#862e9c",
];

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// How to draw the figures of one file system.
pub(crate) type Draw = fn(&Figures) -> String;

/// The benchmarks that have a chart.
pub(crate) const CHARTS: [(&str, Draw); 2] = [("commit", commit), ("sustained", sustained)];

/// Commit latency by pages, both on a logarithmic scale, a line for each system.
fn commit(figures: &Figures) -> String {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in figures.of("commit") {
        let (Some(system), Some(pages), Some(p50)) = (
            row["system"].as_str(),
            row["pages"].as_f64(),
            row.get("p50_us").and_then(serde_json::Value::as_f64),
        ) else {
            continue;
        };
        match lines.iter_mut().find(|(name, _)| name == system) {
            Some((_, points)) => points.push((pages, p50)),
            None => lines.push((system.to_owned(), vec![(pages, p50)])),
        }
    }
    let points = || lines.iter().flat_map(|(_, points)| points);
    let pages_max = points().map(|point| point.0).fold(2.0, f64::max);
    let p50_min = points().map(|point| point.1).fold(f64::MAX, f64::min).max(1.0);
    let p50_max = points().map(|point| point.1).fold(10.0, f64::max);
    // Whole decades, so that the grid begins and ends with a round figure.
    let (low, high) = (p50_min.log10().floor(), p50_max.log10().ceil());
    let x = |pages: f64| LEFT + pages.log2() / pages_max.log2() * (WIDTH - LEFT - RIGHT);
    let y = |p50: f64| HEIGHT - BOTTOM - (p50.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let title = format!("One commit on {}: median, by changed pages", proper(&figures.file_system));
    let mut svg = begin(&title, HEIGHT);
    for decade in low as i32..=high as i32 {
        let (at, label) = (y(10f64.powi(decade)), duration(10f64.powi(decade)));
        rule(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, LEFT - 8.0, at + 4.0, "end", "#222222", &label);
    }
    let mut ticks: Vec<f64> = points().map(|point| point.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for pages in ticks {
        rule(&mut svg, (x(pages), TOP), (x(pages), HEIGHT - BOTTOM));
        text(&mut svg, x(pages), HEIGHT - BOTTOM + 20.0, "middle", "#222222", &pages.to_string());
    }
    text(
        &mut svg,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 16.0,
        "middle",
        "#222222",
        "pages with one store of 8 bytes each",
    );
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|(pages, p50)| format!("{:.1},{:.1}", x(*pages), y(*p50))).collect();
        let wide = if name.starts_with("steadfast") { 3 } else { 1 };
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{wide}"/>"#,
            path.join(" ")
        );
        for (pages, p50) in points {
            let _ =
                writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x(*pages), y(*p50));
        }
        let at = TOP + 10.0 + 22.0 * index as f64;
        let from = WIDTH - RIGHT + 20.0;
        let _ = writeln!(
            svg,
            r#"<line x1="{from}" y1="{at}" x2="{}" y2="{at}" stroke="{colour}" stroke-width="{wide}"/>"#,
            from + 24.0
        );
        text(&mut svg, from + 32.0, at + 4.0, "start", "#222222", name);
    }
    end(svg)
}

/// Commits a second, a bar for each system, a group for each count of pages.
fn sustained(figures: &Figures) -> String {
    let mut bars: Vec<(u64, String, f64)> = Vec::new();
    for row in figures.of("sustained") {
        if let (Some(pages), Some(system), Some(rate)) = (
            row["pages"].as_u64(),
            row["system"].as_str(),
            row.get("commits_per_s").and_then(serde_json::Value::as_f64),
        ) {
            bars.push((pages, system.to_owned(), rate));
        }
    }
    const BAR: f64 = 24.0;
    let groups = bars.windows(2).filter(|pair| pair[0].0 != pair[1].0).count() + 1;
    let height = TOP + 40.0 * groups as f64 + BAR * bars.len() as f64 + 10.0;
    let title =
        format!("Sustained on {}: commits a second, checkpoints included", proper(&figures.file_system));
    let mut svg = begin(&title, height);
    let (from, room) = (LEFT + 110.0, WIDTH - LEFT - 230.0);
    let mut at = TOP;
    let mut group = None;
    for (pages, system, rate) in &bars {
        if group != Some(*pages) {
            group = Some(*pages);
            at += 28.0;
            text(&mut svg, from, at, "start", "#222222", &format!("{pages} pages a commit"));
            at += 12.0;
        }
        // Bars compare within their group.
        let most = bars.iter().filter(|bar| bar.0 == *pages).map(|bar| bar.2).fold(1.0, f64::max);
        let colour = if system.starts_with("steadfast") { "#d7191c" } else { "#1f78b4" };
        let _ = writeln!(
            svg,
            r#"<rect x="{from}" y="{at}" width="{:.1}" height="{:.1}" fill="{colour}"/>"#,
            rate / most * room,
            BAR - 6.0
        );
        text(&mut svg, from - 8.0, at + 13.0, "end", "#222222", system);
        text(&mut svg, from + rate / most * room + 6.0, at + 13.0, "start", "#222222", &format!("{rate:.0}"));
        at += BAR;
    }
    end(svg)
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let _ = writeln!(svg, r##"<text x="{LEFT}" y="28" font-size="17" fill="#222222">{title}</text>"##);
    svg
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#dddddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let _ =
        writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#);
}

/// A time in the unit in which it is a round figure.
fn duration(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us} µs"),
        us if us < 1e6 => format!("{} ms", us / 1e3),
        us => format!("{} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_are_in_the_unit_in_which_they_are_round() {
        assert_eq!([duration(10.0), duration(1e4), duration(1e6)], ["10 µs", "10 ms", "1 s"]);
    }
}
