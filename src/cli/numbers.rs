//! Numbers as people read them: no more digits than mean something. JSON has all of them.

/// The power of ten of a number's first digit, once it is rounded to so many digits.
fn exponent(x: f64, digits: usize) -> i32 {
    let text = format!("{:.*e}", digits.saturating_sub(1), x.abs());
    text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

/// A number of so many significant digits.
pub fn significant(x: f64, digits: usize) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    match exponent(x, digits) {
        e @ -4..7 => format!("{:.*}", (digits as i32 - 1 - e).max(0) as usize, x),
        _ => format!("{:.*e}", digits.saturating_sub(1), x),
    }
}

/// A share of 1 in percent, of three significant digits but no finer than a hundredth.
pub fn percent(share: f64) -> String {
    let decimals = (2 - exponent(100.0 * share, 3)).clamp(0, 2) as usize;
    format!("{:.decimals$} %", 100.0 * share)
}

/// A number and its error: the error of two significant digits, the number to the same place.
pub fn with_error(value: f64, error: f64) -> String {
    if !(value.is_finite() && error > 0.0 && error.is_finite()) {
        return format!("{} ± {error}", significant(value, 6));
    }
    let last = exponent(error, 2) - 1;
    let first = if value == 0.0 { last + 1 } else { exponent(value, 6).max(last + 1) };
    // A common power of ten, where zeros would stand before or behind all digits.
    if !(-4..7).contains(&first) {
        let (unit, decimals) = (10f64.powi(first), (first - last) as usize);
        return format!("({:.decimals$} ± {:.decimals$})e{first}", value / unit, error / unit);
    }
    if last > 0 {
        let round = |x: f64| (x / 10f64.powi(last)).round() * 10f64.powi(last);
        return format!("{:.0} ± {:.0}", round(value), round(error));
    }
    let decimals = -last as usize;
    format!("{value:.decimals$} ± {error:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_two_digits_and_numbers_end_where_they_do() {
        for (value, error, text) in [
            (11.5064, 0.5312, "11.51 ± 0.53"),
            (11.5064, 0.0996, "11.51 ± 0.10"),
            (-0.0412, 0.000_31, "-0.04120 ± 0.00031"),
            (12_345.0, 678.0, "12350 ± 680"),
            (638.2, 12.0, "638 ± 12"),
            (3.2e-7, 1e-8, "(3.20 ± 0.10)e-7"),
            (4.567e9, 2.5e7, "(4.567 ± 0.025)e9"),
            (1e-9, 1e-6, "(0.0 ± 1.0)e-6"),
            (0.0, 0.5, "0.00 ± 0.50"),
            (2.0, 0.0, "2.00000 ± 0"),
            (2.0, f64::NAN, "2.00000 ± NaN"),
            (f64::INFINITY, 1.0, "inf ± 1"),
        ] {
            assert_eq!(with_error(value, error), text);
        }
    }

    #[test]
    fn digits_are_significant_ones() {
        for (x, digits, text) in [
            (1.0 / 12.0, 2, "0.083"),
            (0.165_48, 4, "0.1655"),
            (-3.217, 3, "-3.22"),
            (9.999, 3, "10.0"),
            (106_119.0, 3, "106119"),
            (1.234e-6, 3, "1.23e-6"),
            (0.0, 3, "0"),
            (f64::NAN, 3, "NaN"),
        ] {
            assert_eq!(significant(x, digits), text);
        }
        assert_eq!(
            [0.9731, 0.051_23, 1.0, 0.000_12, 0.0].map(percent),
            ["97.3 %", "5.12 %", "100 %", "0.01 %", "0.00 %"]
        );
    }
}
