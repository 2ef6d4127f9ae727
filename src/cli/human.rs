//! Numbers and times as docker's tables show them: the model's printing, with this machine's clock and time zone.

use super::exit::{Failure, Outcome};
use jiff::tz::TimeZone;
use shipway_model::{ByteSize, GoDuration, Timestamp};
use std::time::SystemTime;

/// `1.982MB`.
pub(crate) fn size(bytes: i64) -> String {
    ByteSize(bytes.max(0).unsigned_abs()).human()
}

/// `1.98MB`, for narrow columns.
pub(crate) fn short_size(bytes: i64) -> String {
    ByteSize(bytes.max(0).unsigned_abs()).human_short()
}

/// `23.54GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    ByteSize(bytes.max(0).unsigned_abs()).human_binary()
}

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is the command line's only clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// `3 minutes ago` for seconds since the epoch; empty for Go's zero time and for nothing.
pub(crate) fn ago(unix: i64) -> String {
    if unix <= 0 { String::new() } else { Timestamp::from_unix(unix, 0).ago(now()) }
}

/// As [`ago`], for RFC 3339 text.
pub(crate) fn text_ago(text: &str) -> String {
    parse(text).map(|moment| ago(moment.unix_seconds())).unwrap_or_default()
}

/// A moment in RFC 3339.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `2026-11-21 10:32:38 +0000 UTC` in local time, as Go prints a time of whole seconds.
pub(crate) fn local(unix: i64) -> String {
    in_zone(Timestamp::from_unix(unix, 0), "%Y-%m-%d %H:%M:%S %z %Z")
}

/// `2026-11-21 10:32:33.476702322 +0000 UTC`: RFC 3339 text as Go prints a parsed time.
pub(crate) fn go_time(text: &str) -> String {
    let Some(moment) = parse(text) else { return text.to_owned() };
    let fraction = format!(".{:09}", moment.subsecond_nanoseconds());
    let seconds = Timestamp::from_unix(moment.unix_seconds(), 0).to_rfc3339();
    format!("{}{} +0000 UTC", seconds.trim_end_matches('Z').replace('T', " "), fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// RFC 3339 in local time with all nine digits, as `docker events` begins its lines.
pub(crate) fn local_nanoseconds(nanoseconds: i64) -> String {
    in_zone(Timestamp::from_nanoseconds(nanoseconds), "%Y-%m-%dT%H:%M:%S.%9f%:z").replace("+00:00", "Z")
}

/// RFC 3339 in local time, to the second.
pub(crate) fn local_seconds(unix: i64) -> String {
    in_zone(Timestamp::from_unix(unix, 0), "%Y-%m-%dT%H:%M:%S%:z").replace("+00:00", "Z")
}

fn in_zone(moment: Timestamp, pattern: &str) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(moment.nanoseconds())) {
        Ok(moment) => moment.to_zoned(TimeZone::system()).strftime(pattern).to_string(),
        Err(_) => moment.to_string(),
    }
}

/// What `--since` and `--until` send: seconds and nanoseconds since the epoch. `10m` counts back from now.
///
/// # Errors
/// When the text names no moment.
pub(crate) fn moment(text: &str) -> Outcome<String> {
    let moment = shipway_model::time::parse_since_in(text, now(), &TimeZone::system()).map_err(|error| Failure::classified(&error))?;
    Ok(format!("{}.{:09}", moment.unix_seconds(), moment.subsecond_nanoseconds()))
}

/// Nanoseconds of a Go duration such as `1h30m`.
///
/// # Errors
/// When the text is none.
pub(crate) fn duration(text: &str) -> Outcome<i64> {
    text.parse::<GoDuration>().map(|duration| duration.0).map_err(|error| Failure::classified(&error))
}

/// Bytes of a size such as `64m`.
///
/// # Errors
/// When the text is none.
pub(crate) fn bytes(text: &str) -> Outcome<u64> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|error| Failure::classified(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(go_time("2026-11-21T10:32:33.476702322Z"), "2026-11-21 10:32:33.476702322 +0000 UTC");
        assert_eq!(go_time("2026-11-21T10:32:33Z"), "2026-11-21 10:32:33 +0000 UTC");
        assert_eq!(moment("1795257157").unwrap(), "1795257157.000000000");
        assert!(moment("yesterday").is_err());
        assert_eq!(ago(0), "");
    }
}
