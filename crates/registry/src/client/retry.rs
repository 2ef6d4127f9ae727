//! When to ask again.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::random::random_u16;
use crate::error::{Error, Retry};

/// How persistent to be.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Attempts after the first.
    pub count: u32,
    /// The pause before the first of them; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, ours or by a server's wish. A server that wishes for more has its answer passed on at once.
    pub longest_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { count: 3, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(60) }
    }
}

impl Retries {
    /// How long to pause before retry number `number` (0 is the first) after `error`; `None` when asking again is useless.
    pub(super) fn pause(&self, number: u32, error: &Error) -> Option<Duration> {
        if number >= self.count {
            return None;
        }
        match error.retry() {
            Retry::Never => None,
            Retry::After(wish) => (wish <= self.longest_pause).then_some(wish),
            Retry::Soon => {
                let pause = self.first_pause.saturating_mul(2_u32.saturating_pow(number)).min(self.longest_pause);
                // Between half and all of it, so that many who failed together do not return together.
                Some(pause.mul_f64(0.5 + 0.5 * f64::from(random_u16()) / f64::from(u16::MAX)))
            }
        }
    }
}

/// The pause a server asks for: seconds, or a moment, measured from the server's own idea of now.
///
/// # Source
/// RFC 9110, section 10.2.3.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::{Retries, retry_after};
    use crate::Error;

    fn status(code: u16, after: Option<u64>) -> Error {
        Error::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: after.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_grow_and_end() {
        let retries = Retries::default();
        let broken = Error::Broken { host: String::new(), reason: String::new() };
        for (number, longest) in [(0, 500), (1, 1000), (2, 2000)] {
            let pause = retries.pause(number, &broken).unwrap().as_millis();
            assert!((longest / 2..=longest).contains(&pause), "{number}: {pause}");
        }
        assert_eq!(retries.pause(3, &broken), None);
    }

    #[test]
    fn a_server_may_ask_for_a_minute_but_not_more() {
        let retries = Retries::default();
        assert_eq!(retries.pause(0, &status(429, Some(60))), Some(Duration::from_secs(60)));
        assert_eq!(retries.pause(0, &status(503, Some(61))), None);
        assert_eq!(retries.pause(0, &status(404, Some(1))), None);
        assert!(retries.pause(0, &status(502, None)).is_some());
    }

    #[test]
    fn both_forms_of_the_wish_are_read() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            retry_after(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect::<HeaderMap>())
        };
        let date = ("date", "Sat, 21 Nov 2026 10:00:00 GMT");
        assert_eq!(read(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(read(&[("retry-after", "Sat, 21 Nov 2026 10:00:09 GMT"), date]), Some(Duration::from_secs(9)));
        assert_eq!(read(&[("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT"), date]), Some(Duration::ZERO));
        assert_eq!(read(&[("retry-after", "Sat, 21 Nov 2026 10:00:09 GMT")]), None);
        assert_eq!(read(&[("retry-after", "99999999999999999999999")]), None);
        assert_eq!(read(&[]), None);
    }
}
