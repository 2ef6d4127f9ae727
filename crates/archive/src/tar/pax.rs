//! Extended headers: records `<length> <key>=<value>\n`.
//!
//! What must stay true: a record that does not have exactly this form fails the archive. Readers that shrug here are how one tar becomes two different
//! trees (CVE-2025-62518).
//!
//! Source: POSIX pax, "pax Extended Header".

use shipway_sys::path::Time;

/// Prefix of the keys that carry extended attributes as they are.
pub const XATTR: &[u8] = b"SCHILY.xattr.";

/// Key and value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits a header into its records, in order.
pub fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(10).position(|byte| *byte == b' ').ok_or("a PAX record has no length")?;
        let length = decimal(&bytes[..space]).ok_or("the length of a PAX record is not a number")? as usize;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err("a PAX record does not end where it says".to_owned());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or("a PAX record has no \"=\"")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("a PAX record has an empty key or a NUL in it".to_owned());
        }
        records.push((key, value));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Adds one record to `out`; the length counts itself.
pub fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A number of decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are cut off.
pub fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((text, &b""[..]), |dot| (&text[..dot], &text[dot + 1..]));
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0u32, |value, place| value * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_at_every_length_of_the_length() {
        for size in [0, 1, 80, 84, 85, 86, 90, 95, 96, 990, 991, 992, 993, 9_990, 100_000] {
            let (value, mut bytes) = (vec![b'v'; size], Vec::new());
            push_record(&mut bytes, b"path", &value);
            push_record(&mut bytes, b"k", b"a=b\nc");
            assert_eq!(records(&bytes), Ok(vec![(&b"path"[..], &value[..]), (b"k", b"a=b\nc")]), "{size}");
        }
    }

    #[test]
    fn malformed_records_are_errors() {
        for bytes in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"6 a=bx",
            b"x a=b\n",
            b" 6 a=b\n",
            b"6\ta=b\n",
            b"5 =b\n",
            b"6 a=b\n\0",
            b"4 a\n",
            b"-6 a=b\n",
            b"0 a=b\n",
        ] {
            assert!(records(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn times_are_rounded_towards_the_past() {
        let check = |text: &str, expected: Option<(i64, u32)>| {
            assert_eq!(time(text.as_bytes()), expected.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds }), "{text}");
        };
        check("0", Some((0, 0)));
        check("1350244992.023960108", Some((1_350_244_992, 23_960_108)));
        check("1.5", Some((1, 500_000_000)));
        check("-1.5", Some((-2, 500_000_000)));
        check("-1", Some((-1, 0)));
        check("1.0000000019", Some((1, 1)));
        check("253402300799", Some((253_402_300_799, 0)));
        for text in ["", "-", ".5", "1.x", "1e3", "99999999999999999999", "+1", " 1"] {
            check(text, None);
        }
    }
}
