use super::*;

#[test]
fn texts_are_powers_of_1024() {
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("1.5g", 3 << 29),
        ("10kB", 10 << 10),
        ("10 KiB", 10 << 10),
        ("5b", 5),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        ("0.1k", 102),
        ("1.k", 1024),
        ("9223372036854775807", i64::MAX as u64),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    assert_eq!(ByteSize::parse_decimal("20m"), Ok(ByteSize(20_000_000)));
    assert_eq!(ByteSize::parse_decimal("1.5kB"), Ok(ByteSize(1500)));
}

#[test]
fn wrong_texts() {
    for (text, message) in [
        ("", "invalid size: ''"),
        ("m", "invalid size: 'm'"),
        ("-1", "invalid size: '-1'"),
        ("1.2.3k", "invalid size: '1.2.3k'"),
        ("5 ", "invalid size: '5 '"),
        ("5x", "invalid suffix: 'x'"),
        ("5bb", "invalid suffix: 'bb'"),
        ("5kk", "invalid suffix: 'kk'"),
        ("5 \u{212a}", "invalid suffix: '\u{212a}'"),
        ("9223372036854775808", "size \"9223372036854775808\" is too large"),
        ("99999999999999999999999p", "size \"99999999999999999999999p\" is too large"),
        ("16384p", "size \"16384p\" is too large"),
    ] {
        assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), message);
    }
}

#[test]
fn as_docker_prints_it() {
    for (bytes, four, three, binary) in [
        (0, "0B", "0B", "0B"),
        (999, "999B", "999B", "999B"),
        (1000, "1kB", "1kB", "1000B"),
        (1024, "1.024kB", "1.02kB", "1KiB"),
        (2048, "2.048kB", "2.05kB", "2KiB"),
        (6_030_900, "6.031MB", "6.03MB", "5.752MiB"),
        (77_800_000, "77.8MB", "77.8MB", "74.2MiB"),
        (999_960, "1MB", "1MB", "976.5KiB"),
        (999_900, "999.9kB", "1MB", "976.5KiB"),
        (2_087_354_368, "2.087GB", "2.09GB", "1.944GiB"),
        (67_108_864, "67.11MB", "67.1MB", "64MiB"),
        (u64::MAX, "18.45EB", "18.4EB", "16EiB"),
    ] {
        let size = ByteSize(bytes);
        assert_eq!((size.human(), size.human_short(), size.human_binary()), (four.into(), three.into(), binary.into()), "{bytes}");
    }
    assert_eq!(format!("[{:>8}]", ByteSize(1000)), "[     1kB]");
}
