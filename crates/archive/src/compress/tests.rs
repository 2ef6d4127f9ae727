use super::*;
use std::process::{Command, Stdio};

/// Bytes that compress, but not by copying alone.
fn sample(length: usize) -> Vec<u8> {
    let mut seed = 12345u32;
    (0..length)
        .map(|at| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 7 < 4 { b"shipway "[at % 8] } else { (seed >> 27) as u8 }
        })
        .collect()
}

/// Runs a compressor of the system.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take().expect("stdin");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().ok().filter(|output| output.status.success()).map(|output| output.stdout)
    })
}

fn decode(bytes: &[u8]) -> Result<(Format, Vec<u8>), Error> {
    let (format, mut reader) = decoder(bytes, &Limits::default())?;
    let mut out = Vec::new();
    reader.read_to_end(&mut out).map_err(Error::reading)?;
    Ok((format, out))
}

fn check(format: Format, compressed: &[u8], content: &[u8]) {
    let (found, out) = decode(compressed).expect("decode");
    assert_eq!(found, format);
    assert!(out == content, "{format:?}: {} bytes, not {}", out.len(), content.len());
}

#[test]
fn every_format_is_recognised_and_decoded() {
    for length in [0, 1, 1000, 3_000_000] {
        let content = sample(length);
        for (program, format) in [("gzip", Format::Gzip), ("bzip2", Format::Bzip2), ("xz", Format::Xz), ("zstd", Format::Zstd)] {
            // Not every machine has every program; gzip is everywhere.
            match through(program, &["-c"], &content) {
                Some(compressed) => check(format, &compressed, &content),
                None => assert_ne!(program, "gzip"),
            }
        }
        check(Format::Plain, &content, &content);
    }
}

/// Bytes that nothing makes smaller: their blocks are larger than what is in them.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn bzip2_of_every_kind_is_decoded() {
    let bzip2 = |content: &[u8], level: i32| {
        let script = format!("import bz2,sys;sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read(),{level}))");
        through("python3", &["-c", &script], content).expect("python3")
    };
    for level in [1, 9] {
        for content in
            [sample(1_000_000), noise(2_000_000), vec![7; 1_000_000], (0..=255).collect(), b"aaaa".to_vec(), b"aaaaa".to_vec(), Vec::new()]
        {
            check(Format::Bzip2, &bzip2(&content, level), &content);
        }
    }
    let (one, other) = (noise(150_000), sample(250_000));
    let streams = [bzip2(&one, 1), bzip2(&[], 9), bzip2(&other, 9)].concat();
    check(Format::Bzip2, &streams, &[one, other].concat());
}

#[test]
fn damaged_bzip2_is_an_error_and_never_a_panic() {
    let content = noise(200);
    let whole = through("python3", &["-c", "import bz2,sys;sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))"], &content)
        .expect("python3");
    for at in 0..whole.len() {
        assert!(at < 4 || decode(&whole[..at]).is_err(), "cut at {at}");
        for bit in [0, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            // Not every bit says something of the content: how large blocks may be does not, nor what fills the last byte.
            if let Ok((Format::Bzip2, out)) = decode(&damaged) {
                assert!(out == content, "bit {bit} of byte {at}");
            }
        }
    }
    assert!(decode(&[&whole[..], b"garbage"].concat()).is_err());
}

#[test]
fn xz_of_every_kind_is_decoded() {
    let content = sample(400_000);
    let python = |code: &str| {
        let script = format!("import lzma,sys;d=sys.stdin.buffer.read();sys.stdout.buffer.write({code})");
        through("python3", &["-c", &script], &content).expect("python3")
    };
    for code in [
        "lzma.compress(d,check=lzma.CHECK_NONE,preset=0)",
        "lzma.compress(d,check=lzma.CHECK_CRC32,preset=9)",
        "lzma.compress(d,check=lzma.CHECK_SHA256)",
        "lzma.compress(d,filters=[{'id':lzma.FILTER_LZMA2,'lc':0,'lp':4,'pb':4,'dict_size':4096}])",
        "lzma.compress(d[:1000])+lzma.compress(d[1000:2000])+b'\\0'*8+lzma.compress(d[2000:])",
    ] {
        check(Format::Xz, &python(code), &content);
    }
    let random = python("lzma.compress(bytes((i*i*7919>>7)&255 for i in range(200000)))");
    assert_eq!(decode(&random).expect("decode").1.len(), 200_000);
}

#[test]
fn damaged_xz_is_an_error_and_never_a_panic() {
    let content = sample(20_000);
    let compressed =
        through("python3", &["-c", "import lzma,sys;sys.stdout.buffer.write(lzma.compress(sys.stdin.buffer.read()))"], &content)
            .expect("python3");
    for at in 0..compressed.len() {
        let mut damaged = compressed.clone();
        damaged[at] ^= 0x10;
        assert!(at < 6 || decode(&damaged).is_err(), "byte {at}");
    }
    for length in (6..compressed.len()).step_by(97) {
        assert!(decode(&compressed[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn gzip_blocks_are_the_same_for_any_number_of_threads() {
    for length in [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, 3 * BLOCK_SIZE + 5] {
        let content = sample(length);
        let compress = |threads, step: usize| {
            let mut out = GzipBlocks::new(Vec::new(), 6, threads);
            content.chunks(step).for_each(|chunk| out.write_all(chunk).expect("write"));
            out.finish().expect("finish")
        };
        let one = compress(1, 1 << 20);
        assert_eq!(one, compress(4, 77_777));
        check(Format::Gzip, &one, &content);
        assert_eq!(through("gzip", &["-dc"], &one).expect("gzip"), content);
    }
}

const BLOCK_SIZE: usize = 1 << 20;

#[test]
fn gzip_with_trailing_zeros_is_read_and_with_garbage_is_not() {
    let mut compressed = through("gzip", &["-c"], b"hello").expect("gzip");
    compressed.extend([0; 1000]);
    check(Format::Gzip, &compressed, b"hello");
    compressed.extend(b"x");
    assert!(decode(&compressed).is_err());
}

#[test]
fn zstd_frames_follow_each_other_and_skippable_ones_are_skipped() {
    let frame = |bytes: &[u8]| {
        let mut encoder = zstd_encoder(Vec::new(), 3).expect("encoder");
        encoder.write_all(bytes).expect("write");
        encoder.finish().expect("finish")
    };
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    check(Format::Zstd, &[skippable, frame(b"one "), frame(b"two")].concat(), b"one two");
}

#[test]
fn bombs_stop_at_the_ratio_and_at_the_sum() {
    let zeros = vec![0u8; 80 << 20];
    let mut encoder = zstd_encoder(Vec::new(), 3).expect("encoder");
    encoder.write_all(&zeros).expect("write");
    let bomb = encoder.finish().expect("finish");
    let error = decode(&bomb).expect_err("ratio");
    assert!(matches!(error, Error::Limit { limit: 1000, .. }), "{error}");
    let limits = Limits { total_bytes: 1 << 20, ..Limits::default() };
    let (_, mut reader) = decoder(&zeros[..4 << 20], &limits).expect("decoder");
    let error = Error::reading(io::copy(&mut reader, &mut io::sink()).expect_err("sum"));
    assert!(matches!(error, Error::Limit { limit: 1_048_576, .. }), "{error}");
}

#[test]
fn a_window_that_is_too_large_is_refused() {
    // A frame header that declares a window of 2^31 bytes.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert!(decode(&frame).is_err());
}
