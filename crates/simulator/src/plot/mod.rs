//! A picture of a run: how many hosts are complete, over time, against the bound.
//!
//! One self-contained SVG of a few kilobytes: no script, no font, no outside reference, colours that follow the reader's
//! light or dark mode. A curve of 10,000 hosts is thinned to what a screen can show.

mod axis;

use std::fmt::Write;

use types::Moment;

use crate::{
    bound::Bound,
    report::{HostEnd, HostResult, shown},
};
use axis::{Axis, number};

/// The picture's size, and the part of it that is the plot.
const WIDTH: f64 = 880.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 28.0;
const PLOT_HEIGHT: f64 = 320.0;
/// Room above the plot: title, subtitle, and the names over the bound's lines. The legend comes on top of it.
const HEAD: f64 = 96.0;
const FOOT: f64 = 56.0;
const LEGEND_ROW: f64 = 22.0;
/// Curves beyond this many share colours.
const COLOURS: usize = 6;

/// Plain classes instead of variables: viewers outside browsers know no `var()`. Those that know no media query show the
/// light colours.
const STYLE: &str = "<style>
text{font:12px system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif;fill:#5b6675}
.title{font-size:18px;font-weight:600;fill:#1c2430}.name{font-size:13px;fill:#1c2430}.m{text-anchor:middle}
.e{text-anchor:end}.paper{fill:#fff}.g{stroke:#e6e9ee;fill:none}.axis{stroke:#5b6675;fill:none}
.bound{stroke:#64748b;stroke-width:1.5;stroke-dasharray:5 4}.fill{fill:#64748b;opacity:.14}
.curve{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
.end{stroke:#fff;stroke-width:2}
.s0{stroke:#2563eb}.f0{fill:#2563eb}.s1{stroke:#e8590c}.f1{fill:#e8590c}.s2{stroke:#0d9488}.f2{fill:#0d9488}
.s3{stroke:#9333ea}.f3{fill:#9333ea}.s4{stroke:#ca8a04}.f4{fill:#ca8a04}.s5{stroke:#db2777}.f5{fill:#db2777}
@media(prefers-color-scheme:dark){text{fill:#9aa6b5}.title,.name{fill:#e8ecf2}.paper{fill:#12161c}.g{stroke:#262d37}
.axis{stroke:#9aa6b5}.bound{stroke:#94a3b8}.fill{fill:#94a3b8}.end{stroke:#12161c}
.s0{stroke:#6ea8ff}.f0{fill:#6ea8ff}.s1{stroke:#ff9a5c}.f1{fill:#ff9a5c}.s2{stroke:#3fd0bf}.f2{fill:#3fd0bf}
.s3{stroke:#c792ff}.f3{fill:#c792ff}.s4{stroke:#f0c34e}.f4{fill:#f0c34e}.s5{stroke:#ff85b8}.f5{fill:#ff85b8}}
</style>";

/// What the picture shows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The line on top.
    pub title: String,
    /// The line below: what was distributed, to whom.
    pub subtitle: String,
    /// The bound, from the start of time.
    pub bound: Bound,
    /// One for each run that is compared.
    pub curves: Vec<Curve>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its receiving hosts.
    pub hosts: Vec<HostResult>,
}

impl Curve {
    /// Moments of completion in seconds, ascending.
    fn ends(&self) -> Vec<f64> {
        let mut ends: Vec<f64> = (self.hosts.iter())
            .filter_map(|host| match host.end {
                HostEnd::Complete(at) => Some(at.since(Moment::ZERO).as_secs_f64()),
                HostEnd::Killed | HostEnd::Unfinished => None,
            })
            .collect();
        ends.sort_by(f64::total_cmp);
        ends
    }
}

/// Where things are drawn.
struct Canvas {
    time: Axis,
    top: f64,
    svg: String,
}

impl Picture {
    /// The picture as an SVG document.
    pub fn to_svg(&self) -> String {
        let ends: Vec<Vec<f64>> = self.curves.iter().map(Curve::ends).collect();
        let last = ends
            .iter()
            .filter_map(|ends| ends.last())
            .copied()
            .fold(0.0, f64::max);
        let bound = self.bound.with_fill().as_secs_f64();
        // A bound that never ends, or far beyond the curves, must not squeeze them into a corner.
        let reach = if bound < 20.0 * last || last == 0.0 {
            last.max(bound)
        } else {
            last
        };
        #[expect(clippy::cast_precision_loss, reason = "a handful of curves")]
        let top = HEAD + LEGEND_ROW * self.curves.len() as f64;
        let mut canvas = Canvas {
            time: Axis::new(if reach < 1e9 { reach * 1.04 } else { 1.0 }, (LEFT, RIGHT)),
            top,
            svg: String::with_capacity(16 << 10),
        };
        canvas.open(&self.title, &self.subtitle);
        canvas.grid();
        canvas.bound(&self.bound);
        for (number, (curve, ends)) in self.curves.iter().zip(&ends).enumerate() {
            canvas.curve(number, ends, curve.hosts.len());
            canvas.legend(number, curve, ends.last().map(|last| (*last, bound)));
        }
        canvas.svg.push_str("</svg>\n");
        canvas.svg
    }
}

impl Canvas {
    fn put(&mut self, part: std::fmt::Arguments<'_>) {
        self.svg.write_fmt(part).expect("a string takes everything");
        self.svg.push('\n');
    }

    /// The height at which `part` of the hosts is drawn.
    fn height(&self, part: f64) -> f64 {
        self.top + PLOT_HEIGHT * (1.0 - part)
    }

    fn open(&mut self, title: &str, subtitle: &str) {
        let height = self.top + PLOT_HEIGHT + FOOT;
        let (title, subtitle) = (escaped(title), escaped(subtitle));
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\"><title>{title}</title>"
        ));
        self.put(format_args!("{STYLE}"));
        self.put(format_args!(
            "<rect width=\"100%\" height=\"100%\" class=\"paper\"/>"
        ));
        self.put(format_args!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"36\">{title}</text>"
        ));
        self.put(format_args!(
            "<text x=\"{LEFT}\" y=\"57\">{subtitle}</text>"
        ));
    }

    fn grid(&mut self) {
        let (top, floor) = (self.top, self.height(0.0));
        for percent in [0, 25, 50, 75, 100] {
            let y = self.height(f64::from(percent) / 100.0);
            let x = LEFT - 10.0;
            self.put(format_args!(
                "<path class=\"g\" d=\"M{LEFT} {y}H{RIGHT}\"/>"
            ));
            self.put(format_args!(
                "<text class=\"e\" x=\"{x}\" y=\"{:.1}\">{percent} %</text>",
                y + 4.0
            ));
        }
        for (x, label) in self.time.ticks() {
            self.put(format_args!(
                "<path class=\"g\" d=\"M{x:.1} {top}V{floor}\"/>"
            ));
            self.put(format_args!(
                "<text class=\"m\" x=\"{x:.1}\" y=\"{}\">{label}</text>",
                floor + 20.0
            ));
        }
        self.put(format_args!(
            "<path class=\"axis\" d=\"M{LEFT} {floor}H{RIGHT}\"/>"
        ));
        let (middle, below) = (f64::midpoint(LEFT, RIGHT), floor + 43.0);
        self.put(format_args!(
            "<text class=\"m\" x=\"{middle}\" y=\"{below}\">time in {}</text>",
            self.time.unit()
        ));
        self.put(format_args!(
            "<text x=\"20\" y=\"{}\">hosts complete</text>",
            top - 14.0
        ));
    }

    /// The band between the fluid bound and the one with fill, and its label on the side with more room.
    fn bound(&mut self, bound: &Bound) {
        let (fluid, full) = (bound.fluid.as_secs_f64(), bound.with_fill().as_secs_f64());
        let (top, floor) = (self.top, self.height(0.0));
        let from = self.time.place(fluid);
        let to = self.time.place(full).min(RIGHT);
        if from > RIGHT {
            return;
        }
        let (wide, tall) = (to - from, floor - top);
        self.put(format_args!(
            "<rect class=\"fill\" x=\"{from:.1}\" y=\"{top}\" width=\"{wide:.1}\" height=\"{tall}\"/>"
        ));
        for x in [from, to] {
            self.put(format_args!(
                "<path class=\"bound\" d=\"M{x:.1} {}V{floor}\"/>",
                top - 6.0
            ));
        }
        let (side, x) = if from > f64::midpoint(LEFT, RIGHT) {
            ("e", to)
        } else {
            ("", from)
        };
        let y = top - 14.0;
        self.put(format_args!(
            "<text class=\"{side}\" x=\"{x:.1}\" y=\"{y}\">bound {}, with fill {} · {}</text>",
            shown(fluid),
            shown(full),
            bound.binding
        ));
    }

    /// Steps up by one host at each end; steps closer than half a pixel are one.
    fn curve(&mut self, number: usize, ends: &[f64], hosts: usize) {
        let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else {
            return;
        };
        let floor = self.height(0.0);
        let mut path = format!("M{:.1} {floor}", self.time.place(first));
        let mut drawn = f64::NEG_INFINITY;
        for (before, &end) in ends.iter().enumerate() {
            let x = self.time.place(end);
            if x - drawn >= 0.5 {
                let y = self.height(part(before, hosts));
                write!(path, "V{y:.1}H{x:.1}").expect("a string takes everything");
                drawn = x;
            }
        }
        let (x, y) = (self.time.place(last), self.height(part(ends.len(), hosts)));
        write!(path, "H{x:.1}V{y:.1}").expect("a string takes everything");
        let colour = number % COLOURS;
        self.put(format_args!(
            "<path class=\"curve s{colour}\" d=\"{path}\"/>"
        ));
        self.put(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" class=\"end f{colour}\"/>"
        ));
    }

    fn legend(&mut self, row: usize, curve: &Curve, last: Option<(f64, f64)>) {
        #[expect(clippy::cast_precision_loss, reason = "a handful of curves")]
        let y = 84.0 + LEGEND_ROW * row as f64;
        let complete = curve.ends().len();
        let mut told = format!(
            "{} of {} hosts",
            number(complete),
            number(curve.hosts.len())
        );
        if let Some((last, bound)) = last {
            write!(told, ", the last at {}", shown(last)).expect("a string takes everything");
            if bound > 0.0 && bound < 1e9 {
                write!(told, ", {:.3} × bound", last / bound).expect("a string takes everything");
            }
        }
        let (colour, end, text) = (row % COLOURS, LEFT + 18.0, LEFT + 28.0);
        self.put(format_args!(
            "<path class=\"curve s{colour}\" d=\"M{LEFT} {:.1}H{end}\"/>",
            y - 4.0
        ));
        self.put(format_args!(
            "<text x=\"{text}\" y=\"{y}\"><tspan class=\"name\">{}</tspan><tspan dx=\"10\">{told}</tspan></text>",
            escaped(&curve.name)
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "hosts are counted in thousands")]
fn part(some: usize, of: usize) -> f64 {
    some as f64 / of.max(1) as f64
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bound::BindingTerm;

    fn picture(hosts: usize) -> Picture {
        let curve = |name: &str, late: f64| Curve {
            name: name.to_owned(),
            hosts: (0..hosts)
                .map(|n| {
                    // An S between 9.4 s and its end.
                    let part = (n as f64 + 0.5) / hosts as f64;
                    let seconds = 10.4 + late + 0.16 * (part / (1.0 - part)).ln().clamp(-6.0, 6.0);
                    HostResult {
                        arrived: Moment::ZERO,
                        end: HostEnd::Complete(Moment((seconds * 1e9) as u64)),
                    }
                })
                .collect(),
        };
        Picture {
            title: "1,000 hosts & <one> origin".to_owned(),
            subtitle: "1.25 GiB in 320 pieces, 1 Gbit/s up and down, messages take 0.1 p"
                .to_owned(),
            bound: Bound {
                fluid: Duration::from_secs(10),
                binding: BindingTerm::SlowestDownload,
                fill: Duration::from_millis(350),
            },
            curves: vec![curve("no faults", 0.0), curve("5 % killed at 5 s", 1.3)],
        }
    }

    #[test]
    fn it_is_one_document_without_outside_references() {
        let svg = picture(10_000).to_svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("1,000 hosts &amp; &lt;one&gt; origin"));
        assert!(!svg.contains("href") && !svg.contains("url("));
        assert!(svg.len() < 32 << 10, "{} bytes", svg.len());
    }

    #[test]
    fn a_run_without_ends_and_a_bound_that_never_comes_are_drawn_too() {
        let mut picture = picture(3);
        picture.bound.fluid = Duration::MAX;
        for host in &mut picture.curves[0].hosts {
            host.end = HostEnd::Unfinished;
        }
        let svg = picture.to_svg();
        assert!(svg.contains("0 of 3 hosts"));
        picture.curves.clear();
        for svg in [svg, picture.to_svg()] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
