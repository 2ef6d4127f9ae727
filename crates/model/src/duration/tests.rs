use super::*;

const SECOND: i64 = 1_000_000_000;

#[test]
fn texts_read_and_print() {
    for (text, nanoseconds, printed) in [
        ("0", 0, "0s"),
        ("1h30m", 5400 * SECOND, "1h30m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        (".5s", 500_000_000, "500ms"),
        ("5.s", 5 * SECOND, "5s"),
        ("-2m3.4s", -123_400_000_000, "-2m3.4s"),
        ("+5s", 5 * SECOND, "5s"),
        ("100ns", 100, "100ns"),
        ("1500ns", 1500, "1.5\u{b5}s"),
        ("1us", 1000, "1\u{b5}s"),
        ("1\u{3bc}s", 1000, "1\u{b5}s"),
        ("10ms20us", 10_020_000, "10.02ms"),
        ("0.0000000001h", 360, "360ns"),
        ("1m", 60 * SECOND, "1m0s"),
        ("24h", 86_400 * SECOND, "24h0m0s"),
        ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
        ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ("0.3333333333333333333333s", 333_333_333, "333.333333ms"),
    ] {
        let duration: GoDuration = text.parse().unwrap();
        assert_eq!(duration.0, nanoseconds, "{text}");
        if text != "0.3333333333333333333333s" {
            assert_eq!(duration.to_string(), printed, "{text}");
        }
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
}

#[test]
fn wrong_texts_in_gos_words() {
    for (text, message) in [
        ("", "time: invalid duration \"\""),
        ("10", "time: missing unit in duration \"10\""),
        ("3x", "time: unknown unit \"x\" in duration \"3x\""),
        ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        (".s", "time: invalid duration \".s\""),
        ("1..5s", "time: invalid duration \"1..5s\""),
        ("s", "time: invalid duration \"s\""),
        ("-", "time: invalid duration \"-\""),
        ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
        ("99999999999999999999h", "time: invalid duration \"99999999999999999999h\""),
        ("18446744073709551615h", "time: invalid duration \"18446744073709551615h\""),
    ] {
        assert_eq!(text.parse::<GoDuration>().unwrap_err().to_string(), message);
    }
}

#[test]
fn as_lists_say_it() {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    for (seconds, expected) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * MINUTE + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 29 * MINUTE, "About an hour"),
        (HOUR + 30 * MINUTE, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY + 23 * HOUR, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
        (1095 * DAY, "3 years"),
    ] {
        assert_eq!(human_duration(Duration::from_secs(seconds)), expected, "{seconds}");
    }
}

#[test]
fn json_is_nanoseconds() {
    assert_eq!(serde_json::to_string(&GoDuration(SECOND)).unwrap(), "1000000000");
    assert_eq!(GoDuration::from(Duration::MAX), GoDuration(i64::MAX));
    assert_eq!(GoDuration(-5).to_duration(), Duration::ZERO);
}
