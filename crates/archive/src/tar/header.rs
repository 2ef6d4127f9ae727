//! One header block of 512 bytes.
//!
//! ```text
//!   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 type 1 | 157 link 100
//! 257 magic 6 | 263 version 2 | 265 uname 32 | 297 gname 32 | 329 major 8 | 337 minor 8 | 345 prefix 155          (ustar)
//! 257 "ustar  \0"             |                                                    386 sparse 4 x 24 | 482 more 1 | 483 real size 12   (GNU)
//! ```
//! What must stay true: a number that is not exactly octal text or base-256 is an error, never a guess.
//!
//! Source: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use super::BLOCK;

/// Which dialect the magic tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// No magic: the tar of 1979.
    V7,
    /// POSIX.
    Ustar,
    /// GNU before POSIX.
    Gnu,
}

/// A header block whose checksum has been verified.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block whose checksum is right; the sum of signed bytes, which some old tars wrote, is accepted too.
    pub fn new(block: &'a [u8; BLOCK]) -> Result<Header<'a>, String> {
        let stored = octal(&block[148..156]).ok_or("the checksum is not a number")?;
        // The field itself counts as spaces. Without a test for each byte the compiler adds many at once.
        let unsigned = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let signed = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte as i8)).sum::<i64>();
        let stored = i64::try_from(stored).map_err(|_| "the checksum is not a number")? - 8 * 32;
        let (before, after) = (&block[..148], &block[156..]);
        let matches = stored == unsigned(before) + unsigned(after) || stored == signed(before) + signed(after);
        if matches { Ok(Header(block)) } else { Err("the checksum does not match".to_owned()) }
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        match &self.0[257..263] {
            b"ustar\0" => Dialect::Ustar,
            b"ustar " => Dialect::Gnu,
            _ => Dialect::V7,
        }
    }

    /// The type byte.
    pub fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix that POSIX headers may carry.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if self.dialect() == Dialect::Ustar { text(&self.0[345..500]) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    /// The link target.
    pub fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    /// Name of the owner.
    pub fn uname(&self) -> &'a [u8] {
        if self.dialect() == Dialect::V7 { &[] } else { text(&self.0[265..297]) }
    }

    /// Name of the group.
    pub fn gname(&self) -> &'a [u8] {
        if self.dialect() == Dialect::V7 { &[] } else { text(&self.0[297..329]) }
    }

    /// The mode field as it stands, type bits included if somebody wrote them.
    pub fn mode(&self) -> Result<u64, String> {
        unsigned(&self.0[100..108], "mode")
    }

    /// The owner.
    pub fn uid(&self) -> Result<u64, String> {
        unsigned(&self.0[108..116], "uid")
    }

    /// The group.
    pub fn gid(&self) -> Result<u64, String> {
        unsigned(&self.0[116..124], "gid")
    }

    /// The size field: bytes of body in the archive.
    pub fn size(&self) -> Result<u64, String> {
        unsigned(&self.0[124..136], "size")
    }

    /// Seconds since 1970, negative before.
    pub fn mtime(&self) -> Result<i64, String> {
        number(&self.0[136..148]).and_then(|value| i64::try_from(value).ok()).ok_or_else(|| bad("mtime"))
    }

    /// Major and minor device number.
    pub fn device(&self) -> Result<(u32, u32), String> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        let part = |field: &[u8]| unsigned(field, "device number").and_then(|n| u32::try_from(n).map_err(|_| bad("device number")));
        Ok((part(&self.0[329..337])?, part(&self.0[337..345])?))
    }

    /// The four sparse slots, whether more follow, and the logical size (GNU type `S`).
    pub fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64), String> {
        Ok((&self.0[386..482], self.0[482] != 0, unsigned(&self.0[483..495], "real size")?))
    }
}

/// Bytes up to the first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number that must not be negative.
pub fn unsigned(field: &[u8], what: &str) -> Result<u64, String> {
    number(field).and_then(|value| u64::try_from(value).ok()).ok_or_else(|| bad(what))
}

fn bad(what: &str) -> String {
    format!("the {what} is not a number in range")
}

/// Octal text or, with the top bit set, a big-endian two's complement number (GNU base-256). A blank field is 0, as GNU tar and Go read it.
fn number(field: &[u8]) -> Option<i128> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field).map(i128::from);
    }
    // Bit 6 of the first byte is the sign; the fields are at most 12 bytes, so 95 bits fit easily.
    let mut value = i128::from(first & 0x3f) - if first & 0x40 == 0 { 0 } else { 0x40 };
    for byte in rest {
        value = (value << 8) | i128::from(*byte);
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<u64> {
    let field = text(field).trim_ascii();
    let mut value: u64 = 0;
    for digit in field {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let check = |field: &[u8], value: Option<i128>| assert_eq!(number(field), value, "{field:?}");
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"        ", Some(0));
        check(b"77777777", Some(0o77777777));
        check(b"12 34\0\0\0", None);
        check(b"-000001\0", None);
        check(b"0000008\0", None);
        check(b"\x80\0\0\0\0\0\x01\x00", Some(256));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
        check(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", Some(1 << 63));
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut block = [0u8; BLOCK];
        block[0] = b'a';
        block[148..156].copy_from_slice(b"0000541\0");
        assert!(Header::new(&block).is_ok());
        block[0] = b'b';
        assert!(Header::new(&block).is_err());
    }
}
