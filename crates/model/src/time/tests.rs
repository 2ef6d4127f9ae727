use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn texts_read_and_print() {
    for (text, seconds, nanoseconds, printed) in [
        ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z"),
        ("2026-11-21T10:00:00.123456789Z", 1_795_255_200, 123_456_789, "2026-11-21T10:00:00.123456789Z"),
        ("2026-11-21T10:00:00.120Z", 1_795_255_200, 120_000_000, "2026-11-21T10:00:00.12Z"),
        ("2026-11-21T10:00:00.0000000019Z", 1_795_255_200, 1, "2026-11-21T10:00:00.000000001Z"),
        ("2026-11-21t10:00:00.000z", 1_795_255_200, 0, "2026-11-21T10:00:00Z"),
        ("2015-09-21T20:15:47+02:00", 1_442_859_347, 0, "2015-09-21T18:15:47Z"),
        ("2015-12-31T23:30:00-01:30", 1_451_610_000, 0, "2016-01-01T01:00:00Z"),
        ("2000-02-29T00:00:00Z", 951_782_400, 0, "2000-02-29T00:00:00Z"),
        ("1969-12-31T23:59:59.5Z", -1, 500_000_000, "1969-12-31T23:59:59.5Z"),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", 253_402_300_799, 0, "9999-12-31T23:59:59Z"),
    ] {
        let timestamp = at(text);
        assert_eq!((timestamp.unix_seconds(), timestamp.subsecond_nanoseconds()), (seconds, nanoseconds), "{text}");
        assert_eq!(timestamp.to_rfc3339_nano(), printed, "{text}");
        assert_eq!(at(printed), timestamp);
    }
    assert_eq!(at("0001-01-01T00:00:00Z"), Timestamp::GO_ZERO);
    assert_eq!(at("2026-11-21T10:00:00.5Z").to_rfc3339_nano_fixed(), "2026-11-21T10:00:00.500000000Z");
    assert_eq!(at("2026-11-21T10:00:00.5Z").to_rfc3339(), "2026-11-21T10:00:00Z");
}

#[test]
fn every_day_of_four_centuries_is_itself() {
    // The same days as jiff has, an independent calendar.
    for day in 0..146_097_i64 {
        let seconds = (day - 200 * 365) * SECONDS_PER_DAY + 12_345;
        let ours = Timestamp::from_unix(seconds, 0);
        assert_eq!(ours.to_string(), jiff::Timestamp::from_second(seconds).unwrap().to_string());
        assert_eq!(at(&ours.to_string()), ours);
    }
}

#[test]
fn wrong_texts_say_where() {
    for (text, position) in [
        ("", 0),
        ("2026", 4),
        ("2026-13-01T00:00:00Z", 5),
        ("2025-02-29T00:00:00Z", 8),
        ("2026-11-21 10:00:00Z", 10),
        ("2026-11-21T24:00:00Z", 11),
        ("2026-11-21T10:00:60Z", 17),
        ("2026-11-21T10:00:00", 19),
        ("2026-11-21T10:00:00.Z", 20),
        ("2026-11-21T10:00:00Zx", 20),
        ("2026-11-21T10:00:00+0100", 22),
        ("0000-01-01T00:00:00+00:01", 25),
        ("２026-11-21T10:00:00Z", 0),
    ] {
        assert_eq!(text.parse::<Timestamp>().unwrap_err().position, position, "{text}");
    }
}

#[test]
fn arithmetic_carries_and_never_runs_off() {
    let one = at("2026-11-21T10:00:00.9Z");
    assert_eq!(one + Duration::from_millis(200), at("2026-11-21T10:00:01.1Z"));
    assert_eq!(at("2026-11-21T10:00:01.1Z") - Duration::from_millis(200), one);
    assert_eq!(at("2026-11-21T10:00:01.1Z").since(one), Duration::from_millis(200));
    assert_eq!(one.since(at("2026-11-21T10:00:01.1Z")), Duration::ZERO);
    assert_eq!(one + Duration::MAX, Timestamp::from_unix(i64::MAX, 0));
    assert_eq!((one - Duration::MAX).to_string(), "0000-01-01T00:00:00Z");
    assert_eq!(Timestamp::from_nanoseconds(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
    assert_eq!(Timestamp::from_nanoseconds(i64::MAX).nanoseconds(), i64::MAX);
    assert_eq!(Timestamp::GO_ZERO.nanoseconds(), i64::MIN);
    for moment in [one, Timestamp::from_nanoseconds(-1), Timestamp::default()] {
        assert_eq!(Timestamp::from_system(moment.into()), moment);
    }
}

#[test]
fn how_long_ago() {
    let now = at("2026-11-21T10:00:00Z");
    assert_eq!(at("2026-11-21T09:59:57Z").ago(now), "3 seconds ago");
    assert_eq!(at("2026-11-21T11:00:00Z").ago(now), "Less than a second ago");
}

#[test]
fn since_means_a_moment() {
    let now = at("2026-11-21T10:00:00Z");
    for (text, expected) in [
        ("10m", "2026-11-21T09:50:00Z"),
        ("1h30m", "2026-11-21T08:30:00Z"),
        ("-10s", "2026-11-21T10:00:10Z"),
        ("0", "1970-01-01T00:00:00Z"),
        ("1763719200", "2025-11-21T10:00:00Z"),
        ("1763719200.5", "2025-11-21T10:00:00.5Z"),
        ("1763719200.000000001", "2025-11-21T10:00:00.000000001Z"),
        ("2026-11-21", "2026-11-21T00:00:00Z"),
        ("2026-11-21Z", "2026-11-21T00:00:00Z"),
        ("2026-11-21T08", "2026-11-21T08:00:00Z"),
        ("2026-11-21T08:30", "2026-11-21T08:30:00Z"),
        ("2026-11-21T08:30:01.25", "2026-11-21T08:30:01.25Z"),
        ("2026-11-21T08:30:01+02:00", "2026-11-21T06:30:01Z"),
    ] {
        assert_eq!(parse_since(text, now), Ok(at(expected)), "{text}");
    }
    for text in ["", "yesterday", "10", "2026-11", "2026-11-21x", "2026-02-30", "1.", "1.0000000001", "--5s", "é026-11-21", "2026-11-2é"]
    {
        let parsed = parse_since(text, now);
        // A bare number is seconds since 1970, however small.
        assert_eq!(parsed.is_ok(), text == "10", "{text}");
    }
}

#[test]
fn a_date_without_a_zone_is_in_the_readers() {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
    let now = Timestamp::default();
    assert_eq!(parse_since_in("2026-11-21T08:30", now, &zone), Ok(at("2026-11-21T06:30:00Z")));
    assert_eq!(parse_since_in("2026-11-21T08:30Z", now, &zone), Ok(at("2026-11-21T08:30:00Z")));
}

#[test]
fn json_is_the_text() {
    let moment = at("2026-11-21T10:00:00.5Z");
    let text = serde_json::to_string(&moment).unwrap();
    assert_eq!(text, "\"2026-11-21T10:00:00.5Z\"");
    assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
    assert!(serde_json::from_str::<Timestamp>("\"soon\"").is_err());
}
