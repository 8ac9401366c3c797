//! The date for chat templates that ask for it (`strftime_now`), in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The time now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Formats a time by C's directives; the `Err` names one that isn't known.
pub fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = ((days + 4) % 7) as usize;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let padded = directive != Some('-');
        if !padded {
            directive = chars.next();
        }
        let two = |n: u64| {
            if padded { format!("{n:02}") } else { n.to_string() }
        };
        let name = |all: &[&str], i: usize| all.get(i).copied().unwrap_or_default().to_string();
        let text = match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('B') => name(&MONTHS, month as usize - 1),
            Some('b') => name(&MONTHS, month as usize - 1).chars().take(3).collect(),
            Some('A') => name(&DAYS, weekday),
            Some('a') => name(&DAYS, weekday).chars().take(3).collect(),
            Some('H') => two(hour),
            Some('I') => two((hour + 11) % 12 + 1),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).into(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".into(),
            Some('%') => "%".into(),
            other => {
                let found: String = other.into_iter().collect();
                return Err(format!("strftime_now doesn't know %{found}"));
            }
        };
        out.push_str(&text);
    }
    Ok(out)
}

/// Year, month (1 to 12) and day (1 to 31) of a day since 1970, by eras of 400 years that begin
/// on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let date = |s| strftime("%d %b %Y", s).unwrap();
        assert_eq!(date(0), "01 Jan 1970");
        assert_eq!(date(951_782_400), "29 Feb 2000");
        assert_eq!(date(1_709_164_799), "28 Feb 2024");
        let all = strftime("%A %-d %B %y, %I:%M:%S %p %F %T%%", 1_709_202_930).unwrap();
        assert_eq!(all, "Thursday 29 February 24, 10:35:30 AM 2024-02-29 10:35:30%");
        assert!(strftime("%Q", 0).unwrap_err().contains("%Q"));
        assert!(strftime("%", 0).is_err());
    }
}
