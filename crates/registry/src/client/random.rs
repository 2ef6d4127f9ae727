//! Numbers nobody can guess: ids of name queries, and the spread of pauses.

/// Sixteen random bits of the kernel's.
pub(super) fn random_u16() -> u16 {
    let mut bytes = [0_u8; 2];
    loop {
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(2) => return u16::from_ne_bytes(bytes),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // getrandom(2) without flags fails on no kernel we run on; a fixed number weakens a defence but breaks nothing.
            Err(error) => {
                tracing::error!(%error, "getrandom failed");
                return 0x5a17;
            }
        }
    }
}
