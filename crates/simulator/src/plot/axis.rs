//! An axis of time with ticks at round numbers.

/// From zero to a reach in seconds, on a span of pixels.
pub(super) struct Axis {
    reach: f64,
    span: (f64, f64),
    /// Seconds in the unit that is shown.
    unit: f64,
}

/// Units of time and the reach from which each is shown.
const UNITS: [(f64, f64, &str); 4] = [
    (0.001, 0.0, "milliseconds"),
    (1.0, 1.0, "seconds"),
    (60.0, 600.0, "minutes"),
    (3600.0, 36_000.0, "hours"),
];
const TICKS_MAX: f64 = 10.0;

impl Axis {
    pub(super) fn new(reach: f64, span: (f64, f64)) -> Self {
        let reach = if reach > 0.0 { reach } else { 1.0 };
        let (unit, ..) = UNITS[UNITS.partition_point(|unit| unit.1 <= reach) - 1];
        Self { reach, span, unit }
    }

    /// The name of the unit that the ticks count.
    pub(super) fn unit(&self) -> &'static str {
        UNITS
            .iter()
            .find(|unit| unit.0 >= self.unit)
            .map_or("seconds", |unit| unit.2)
    }

    /// Where `seconds` are drawn.
    pub(super) fn place(&self, seconds: f64) -> f64 {
        self.span.0 + (self.span.1 - self.span.0) * seconds / self.reach
    }

    /// At most ten round numbers and where they are drawn.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let most = self.reach / self.unit;
        let decade = 10_f64.powf((most / TICKS_MAX).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|times| times * decade)
            .into_iter()
            .find(|step| most / step <= TICKS_MAX)
            .unwrap_or(10.0 * decade);
        let digits = if step < 0.1 {
            2
        } else {
            usize::from(step < 1.0)
        };
        (0..=10)
            .map(|tick| f64::from(tick) * step)
            .take_while(|at| *at <= most)
            .map(|at| (self.place(at * self.unit), format!("{at:.digits$}")))
            .collect()
    }
}

/// A count with its thousands apart: `10,000`.
pub(super) fn number(count: usize) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(reach: f64) -> String {
        let axis = Axis::new(reach, (0.0, 100.0));
        let ticks: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        format!("{} {}", ticks.join(" "), axis.unit())
    }

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks(11.2), "0 2 4 6 8 10 seconds");
        assert_eq!(
            ticks(1.0),
            "0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0 seconds"
        );
        assert_eq!(ticks(0.25), "0 50 100 150 200 250 milliseconds");
        assert_eq!(ticks(700.0), "0 2 4 6 8 10 minutes");
        assert_eq!(ticks(0.0), ticks(1.0));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
